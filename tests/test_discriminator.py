"""What surrounds trunk and head: packing and minibatch features."""

import pytest
import torch
from torch import nn

from saddle.discriminator import Discriminator, MinibatchFeatures
from saddle.heads import LinearHead


class Flatten(nn.Flatten):
    """A trunk whose features are the pixels it reads."""

    independent = True


def test_packed_images_are_stacked_along_the_channels_and_get_one_logit():
    torch.manual_seed(0)
    images, labels = torch.randn(6, 2, 3, 3), torch.zeros(6, dtype=torch.long)
    head = LinearHead(3 * 2 * 9, 0)
    verdict = Discriminator(Flatten(), head, packing=3)(images, labels)
    assert verdict.logits.shape == (2,) and verdict.features.shape == (2, 54)
    by_hand = [torch.cat([images[3 * i + k] for k in range(3)]).flatten() for i in range(2)]
    torch.testing.assert_close(verdict.features, torch.stack(by_hand))
    torch.testing.assert_close(verdict.logits, torch.stack([head.linear(x)[0] for x in by_hand]))


def test_minibatch_features_are_sums_over_the_other_images():
    torch.manual_seed(0)
    layer = MinibatchFeatures(4, kernels=3, dims=2).double()
    features = 10 * torch.randn(5, 4, dtype=torch.float64)
    matrices = (features @ layer.tensor.weight.T).reshape(5, 3, 2)
    for i in range(5):
        for b in range(3):
            others = (torch.exp(-(matrices[i, b] - matrices[j, b]).abs().sum()) for j in range(5) if j != i)
            assert layer(features)[i, b].item() == pytest.approx(sum(others).item(), abs=1e-12)


def test_minibatch_features_tell_a_collapsed_batch_and_make_samples_depend_on_each_other():
    torch.manual_seed(0)
    layer = MinibatchFeatures(4, kernels=3)
    same = layer(torch.ones(5, 4))
    torch.testing.assert_close(same, torch.full((5, 3), 4.0))  # four others at distance 0
    assert (layer(100 * torch.randn(5, 4)) < same).all()
    assert not Discriminator(Flatten(), LinearHead(7, 0), minibatch=layer).independent
    assert Discriminator(Flatten(), LinearHead(4, 0)).independent
