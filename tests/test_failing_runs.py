"""Runs that are made to fail in the known ways, and the warning that each must end with in results.json."""

import json
from pathlib import Path

import pytest
from faults import Runs

SHORT = [
    *["data=digits", "data.batch_size=32", "model.width=8", "iterations=150", "precision=32", "logger=none"],
    *["metrics=none", "evaluation.every=0", "samples.every=0", "log_every=5", "callbacks.health.every=10"],
]
#: What makes a run fail so, as docs/reliability.md lists it.
FAILING = {
    "mode collapse": "model=dcgan model.g_lr=1e-2 model.d_lr=1e-5",
    "vanishing gradients": "model=dcgan loss=minimax model.d_steps=3 model.g_lr=1e-6 model.d_lr=2e-3",
    "dead discriminator": "model=sngan model.d_lr=3e-2",
    "exploding gradients": "model=wgan penalty=none model.d_norm=none model.d_lr=1e-2 model.d_steps=2",
    "growing weights": "model=wgan penalty=none model.optimizer=sgd model.d_lr=1.0 model.d_steps=2 model.d_norm=batch",
}


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILING)
def test_a_failing_run_is_warned_of(tmp_path: Path, failure: str) -> None:
    assert Runs(tmp_path).run(*SHORT, *FAILING[failure].split(), f"hydra.run.dir={tmp_path}/run") == 0
    warnings = json.loads((tmp_path / "run" / "results.json").read_text())["warnings"]
    assert any(f": {failure}: " in warning for warning in warnings), warnings
    header = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"health/diversity", "train/g_grad_norm", "train/d_grad_norm", "train/d_accuracy_real"} <= {*header}
    for player in ("generator", "discriminator"):  # of a layer with fewer outputs than three, what there is
        largest = [name for name in header if name.startswith(f"spectrum/{player}/")]
        assert sum(name.endswith("/2") for name in largest) >= 3, largest
