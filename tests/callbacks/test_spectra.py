"""The recorded singular values are those of the weights that the forward pass uses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from saddle.callbacks.spectra import Spectra, spectra
from saddle.networks.norm import spectral_norm


def test_spectra_of_every_kind_of_layer():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 5, 2), nn.Linear(6, 4))
    found = dict(spectra(network))
    matrices = {
        "0": network[0].weight.detach().numpy().reshape(3, 18),
        # a transposed convolution keeps its outputs on the second axis
        "2": network[2].weight.detach().numpy().transpose(1, 0, 2, 3).reshape(5, 12),
        "3": network[3].weight.detach().numpy(),
    }
    assert list(found) == list(matrices)
    for name, matrix in matrices.items():
        np.testing.assert_allclose(found[name].numpy(), np.sqrt(np.linalg.eigvalsh(matrix @ matrix.T))[::-1], rtol=1e-4)


def test_under_spectral_norm_the_largest_is_one():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(20, 10))
    ((_, values),) = spectra(layer)
    assert values[0].item() == pytest.approx(1, abs=0.05) and (values[1:] < values[0]).all()


def test_records_at_the_start_at_intervals_and_at_the_end(tmp_path):
    lines = []
    logger = SimpleNamespace(log_metrics=lambda scalars, step: lines.append((step, scalars)))
    model = SimpleNamespace(discriminator=nn.Linear(4, 3), generator=nn.Linear(2, 2), iteration=0, scores={})
    trainer = SimpleNamespace(is_global_zero=True, loggers=[logger], lightning_module=model, callback_metrics={})
    callback = Spectra(every=2, folder=str(tmp_path))
    callback.on_train_start(trainer, model)
    for model.iteration in range(1, 6):
        callback.on_train_batch_end(trainer, model, None, None, 0)
    callback.on_train_end(trainer, model)
    assert [step for step, _ in lines] == [0, 2, 4, 5]
    assert sorted(p.stem for p in (tmp_path / "spectra").iterdir()) == ["00000000", "00000002", "00000004", "00000005"]
    saved = np.load(tmp_path / "spectra" / "00000005.npz")
    assert {name: saved[name].shape for name in saved.files} == {"discriminator/": (3,), "generator/": (2,)}
    assert lines[-1][1]["spectrum/discriminator//0"] == pytest.approx(float(saved["discriminator/"][0]))
