"""Named initialisations."""

import math

import pytest
import torch
from torch import nn

from saddle.errors import InputError
from saddle.networks.blocks import Conv3x3
from saddle.networks.init import initialise
from saddle.networks.norm import BatchNorm, spectral_norm


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 10, 3), nn.Conv2d(2, 30, 3), nn.Linear(7, 5), nn.Linear(5, 7), nn.Embedding(6, 9)]
)
def test_orthogonal_rows_or_columns(layer):
    torch.manual_seed(0)
    initialise(layer, "orthogonal")
    matrix = layer.weight.detach().flatten(1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-5, rtol=0)


def test_orthogonal_under_spectral_norm_follows_the_new_weight():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(5, 40))
    before = layer.parametrizations.weight.original.detach().clone()
    assert initialise(layer, "orthogonal") is layer
    raw = layer.parametrizations.weight.original.detach()
    assert not torch.equal(raw, before)
    torch.testing.assert_close(raw.T @ raw, torch.eye(5), atol=1e-5, rtol=0)
    # all singular values are 1, so the norm changes nothing, if its vectors were brought up to date
    torch.testing.assert_close(layer.weight.detach(), raw, atol=1e-5, rtol=1e-5)


def test_normal02_moments():
    torch.manual_seed(0)
    layer = initialise(nn.ConvTranspose2d(64, 64, 4), "normal02")
    assert abs(layer.weight.std().item() - 0.02) < 3e-4
    assert abs(layer.weight.mean().item()) < 3e-4


def test_xavier_bounds_and_gain():
    torch.manual_seed(0)
    shortcut, path = initialise(nn.Conv2d(16, 32, 1), "xavier"), initialise(Conv3x3(16, 32), "xavier")
    for layer, gain, area in ((shortcut, 1, 1), (path, math.sqrt(2), 9)):
        bound = gain * math.sqrt(6 / (area * (16 + 32)))
        assert 0.95 * bound < layer.weight.abs().max().item() <= bound


def test_biases_are_zero_and_batch_norm_is_left_alone():
    network = initialise(nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm(4)), "normal02")
    assert not network[0].bias.any()
    assert torch.equal(network[1].weight, torch.ones(4))


def test_unknown_name_is_refused():
    with pytest.raises(InputError, match="model.init=he.*orthogonal"):
        initialise(nn.Linear(2, 2), "he")


@pytest.mark.parametrize("name", ["orthogonal", "normal02", "xavier"])
def test_meta_device(name):
    with torch.device("meta"):
        layer = initialise(nn.Sequential(spectral_norm(nn.Linear(5, 3)), nn.Embedding(3, 5)), name)
    assert all(p.is_meta for p in layer.parameters())
