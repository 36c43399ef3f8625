"""Heads and the discriminator that joins them with a trunk."""

import pytest
import torch
from torch import nn

from saddle.errors import InputError
from saddle.networks.discriminator import Discriminator
from saddle.networks.heads import Linear, Projection


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(5, 7), torch.tensor([0, 2, 1, 2, 0])


def test_linear_is_one_layer_that_ignores_labels(batch):
    features, labels = batch
    head = Linear(7, 3)
    expected = [sum(head.linear.weight[0, k] * row[k] for k in range(7)) + head.linear.bias[0] for row in features]
    torch.testing.assert_close(head(features, labels), torch.stack(expected))
    assert torch.equal(head(features, labels), head(features, labels.flip(0)))
    assert sum(p.numel() for p in head.parameters()) == 8
    assert not head.needs_labels
    assert head.loss(None) is None


@pytest.mark.parametrize("norm", ["none", "spectral", "batch"])
def test_projection_formula(batch, norm):
    features, labels = batch
    head = Projection(7, 3, norm=norm)
    weight, bias, table = head.linear.weight[0], head.linear.bias[0], head.embedding.weight
    expected = [weight.dot(row) + bias + table[label].dot(row) for row, label in zip(features, labels, strict=True)]
    torch.testing.assert_close(head(features, labels), torch.stack(expected))
    assert head.needs_labels


def test_spectral_norm_covers_both_parts_of_the_projection():
    torch.manual_seed(0)
    head = Projection(7, 3, norm="spectral", init="normal02")  # raw singular values are far from 1
    for weight in (head.linear.weight, head.embedding.weight):
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-3)
    plain = Projection(7, 3, norm="layer", init="normal02")
    assert torch.linalg.matrix_norm(plain.embedding.weight, 2).item() < 0.5


def test_head_that_needs_labels_refuses_data_without():
    with pytest.raises(InputError, match="model/head=projection needs data with labels"):
        Projection(7, 0)
    Linear(7, 0)


def test_discriminator_gives_logits_and_the_features_behind_them(batch):
    _, labels = batch
    images = torch.randn(5, 1, 2, 2)
    trunk, head = nn.Flatten(), Projection(4, 3)
    logits, features = verdict = Discriminator(trunk, head)(images, labels)
    assert torch.equal(features, images.flatten(1))
    assert torch.equal(logits, head(features, labels))
    assert verdict.logits is logits and logits.shape == (5,)
