"""R3GAN: the published presets, blocks by hand, initial variances, conditioning."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saddle.errors import InputError
from saddle.heads.r3gan import LabelProjection, UnbiasedHead
from saddle.networks.r3gan import Generator, ResidualBlock, Trunk, widths

PRESETS = {  # resolution, width, full sizes, classes; the published widths and groups
    "CIFAR-10": (32, 768, 4, 0, [768] * 4, [96] * 4),
    "FFHQ-64": (64, 768, 4, 0, [768] * 4 + [384], [96] * 4 + [48]),
    "FFHQ-256": (256, 768, 4, 0, [768] * 4 + [384, 192, 96], [96] * 4 + [48, 24, 12]),
    "ImageNet-32": (32, 1536, 4, 1000, [1536] * 4, [192] * 4),
    "ImageNet-64": (64, 1536, 5, 1000, [1536] * 5, [192] * 5),
}


def near(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def blocks(network):
    return [m for m in network.modules() if isinstance(m, ResidualBlock)]


def counted(channels, latent, classes):
    """The parameters of G and D from the published description, by arithmetic alone."""
    both = sum(2 * (2 * c * c + 2 * c * 16 * 9 + 2 * c * c + 2 * 2 * c) for c in channels)
    both += sum(a * b for a, b in zip(channels, channels[1:], strict=False) if a != b) + 3 * channels[-1]
    c = channels[0]
    inputs = 2 * latent if classes else latent
    generator = both + inputs * c + 16 * c + (classes * latent if classes else 0)
    head = c * c + classes * c if classes else c
    return generator, both + 16 * c + head


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    resolution, width, full, classes, channels, groups = PRESETS[name]
    with torch.device("meta"):
        generator = Generator(64, width, resolution, 3, full, classes=classes)
        trunk = Trunk(width, resolution, 3, full)
        head = (LabelProjection if classes else UnbiasedHead)(trunk.features, classes)
    assert widths(resolution, width, full) == channels
    for network, order in ((generator, 1), (trunk, -1)):
        layers = blocks(network)[::order]
        assert [b.convolution1.in_channels for b in layers] == [c for c in channels for _ in range(2)]
        assert [b.convolution2.groups for b in layers] == [g for g in groups for _ in range(2)]
    assert (parameters(generator), parameters(trunk, head)) == counted(channels, 64, classes)
    labels = torch.zeros(2, dtype=torch.long, device="meta")
    images = generator(torch.empty(2, 64, device="meta"), labels)
    assert images.shape == (2, 3, resolution, resolution)
    assert head(trunk(images), labels, images).shape == (2,)


def test_both_networks_are_of_one_size_at_256():
    """About as many as StyleGAN2 has at 256 pixels with half its channels, as the description demands: 23 M each."""
    with torch.device("meta"):
        generator, trunk = Generator(64, 768, 256, 3), Trunk(768, 256, 3)
    assert parameters(generator) / 1e6 == pytest.approx(23.06, abs=0.01)
    assert parameters(trunk, UnbiasedHead(768, 0)) / 1e6 == pytest.approx(23.01, abs=0.01)


def test_block_by_hand():
    torch.manual_seed(0)
    block, x = ResidualBlock(16, 1.3).double(), torch.randn(2, 16, 4, 4).double()
    near(block(x), x)  # the last convolution starts at zero
    for p in (block.convolution3.weight, block.convolution1.bias, block.convolution2.bias):
        nn.init.normal_(p)
    h = F.leaky_relu(F.conv2d(x, block.convolution1.weight, block.convolution1.bias), 0.2)
    parts = []
    for group in range(2):
        part = slice(16 * group, 16 * group + 16)
        parts.append(F.conv2d(h[:, part], block.convolution2.weight[part], padding=1))
    h = F.leaky_relu(torch.cat(parts, 1) + block.convolution2.bias[:, None, None], 0.2)
    near(block(x), x + F.conv2d(h, block.convolution3.weight))
    assert block.convolution3.bias is None


def test_initial_weights():
    torch.manual_seed(0)
    generator, trunk = Generator(64, 128, 32, 3, 3, classes=10), Trunk(128, 32, 3, 3)
    gain = math.sqrt(2 / 1.04) * 8 ** (-1 / 4)  # eight blocks in all
    for network in (generator, trunk):
        for b in blocks(network):
            width = b.convolution1.in_channels
            assert b.convolution1.weight.std().item() == pytest.approx(gain / math.sqrt(width), rel=0.03)
            assert b.convolution2.weight.std().item() == pytest.approx(gain / math.sqrt(16 * 9), rel=0.03)
            assert not any(p.any() for p in (b.convolution3.weight, b.convolution1.bias, b.convolution2.bias))
    assert generator.linear.weight.std().item() == pytest.approx(1 / math.sqrt(128), rel=0.03)
    assert generator.embedding.weight.std().item() == pytest.approx(1 / math.sqrt(10), rel=0.1)
    assert generator.basis.std().item() == pytest.approx(1, rel=0.05)
    assert trunk.layers[-2].weight.std().item() == pytest.approx(1 / 4, rel=0.05)
    head = LabelProjection(128, 10)
    assert head.linear.weight.std().item() == pytest.approx(1 / math.sqrt(128), rel=0.03)
    assert head.embedding.weight.std().item() == pytest.approx(1 / math.sqrt(1280), rel=0.06)
    assert UnbiasedHead(4096, 0).linear.weight.std().item() == pytest.approx(1 / 64, rel=0.05)


def tiny(classes=0):
    torch.manual_seed(0)
    generator, trunk = Generator(5, 16, 16, 2, 2, 1, classes).double(), Trunk(16, 16, 2, 2, 1).double()
    for network in (generator, trunk):
        for b in blocks(network):
            nn.init.normal_(b.convolution3.weight, std=0.1)
    return generator, trunk


def up(x):
    kernel = torch.tensor([1.0, 3, 3, 1]).double() / 8
    kernel = 4 * torch.outer(kernel, kernel)[None, None]
    y = F.conv_transpose2d(x.flatten(0, 1)[:, None], kernel, stride=2, padding=1)
    return y[:, 0].unflatten(0, x.shape[:2])


def down(x):
    kernel = torch.tensor([1.0, 3, 3, 1]).double() / 8
    return F.conv2d(x, torch.outer(kernel, kernel).expand(x.shape[1], 1, 4, 4), stride=2, padding=1, groups=x.shape[1])


def test_networks_by_hand():
    generator, trunk = tiny()
    assert widths(16, 16, 2) == [16, 16, 8]
    first, second, third = blocks(generator)
    narrow, to_image = (m for m in generator.layers if isinstance(m, nn.Conv2d))
    z, labels = torch.randn(3, 5).double(), torch.zeros(3).long()
    x = second(up(first(generator.basis[None] * (z @ generator.linear.weight.T)[:, :, None, None])))
    images = F.conv2d(third(up(F.conv2d(x, narrow.weight))), to_image.weight)  # 1x1 first when going up
    near(generator(z, labels), images)

    first, second, third = blocks(trunk)
    from_image, widen, basis = (m for m in trunk.layers if isinstance(m, nn.Conv2d))
    x = second(F.conv2d(down(first(F.conv2d(images, from_image.weight))), widen.weight))  # resampling first going down
    near(trunk(images), (third(down(x)) * basis.weight[:, 0]).sum((2, 3)))


def test_labels_condition_only_where_asked():
    z, first, second = torch.randn(3, 5).double(), torch.tensor([0, 1, 2]), torch.tensor([0, 1, 0])
    for classes in (0, 3):
        generator = tiny(classes)[0]
        changed = (generator(z, first) != generator(z, second)).flatten(1).any(1)
        assert changed.tolist() == [False, False, bool(classes)]
    head, features = LabelProjection(4, 3), torch.randn(3, 4)
    logits = [sum(head.embedding.weight[y, i] * (head.linear.weight[i] @ f) for i in range(4))
              for y, f in zip(first, features, strict=True)]  # fmt: skip
    torch.testing.assert_close(head(features, first, features), torch.stack(logits))
    with pytest.raises(InputError, match="labels"):
        LabelProjection(4, 0)


def test_gradients_reach_every_parameter_and_samples_are_independent():
    generator, trunk = tiny(3)
    images = generator(torch.randn(4, 5).double(), torch.tensor([0, 1, 2, 0]))
    features = trunk(images)
    features.square().sum().backward()
    for network in (generator, trunk):
        assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert trunk.independent
    near(trunk(images[:1]), features[:1])


def test_penalties_can_differentiate_twice():
    _, trunk = tiny()
    x = torch.randn(1, 2, 16, 16).double().requires_grad_()
    (gradient,) = torch.autograd.grad(trunk(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert blocks(trunk)[0].convolution2.weight.grad.any()


def test_widths_without_whole_groups_are_refused():
    with pytest.raises(InputError, match="model.width=20: at 32 pixels R3GAN needs a multiple of 8"):
        Generator(64, 20, 32, 3)
    with pytest.raises(InputError, match="model.width=8.*a multiple of 16"):
        Trunk(8, 64, 3)
    assert widths(64, 16, 4) == [16, 16, 16, 16, 8]
