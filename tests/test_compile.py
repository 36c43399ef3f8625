"""compile=true: the compiled networks train as the plain ones do, with penalties that differentiate twice too."""

import pytest
import torch
from tiny import train

SMALL = [
    "data.resolution=8",
    "data.channels=1",
    "model.width=4",
    "data.batch_size=4",
    "precision=32",
    "model.d_norm=none",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["penalty=[r1]", "penalty.r1.every=2"], ["penalty=[r2,gradient_penalty,dragan,path_length]"], ["penalty=[lecam]"]],
    ids=" ".join,
)
def test_compiled_networks_train_as_plain_ones(words):
    models = [train(3, "model=dcgan", *SMALL, *words, f"compile={compile}")[0] for compile in ("false", "true")]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
