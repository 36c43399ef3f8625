"""The shared blocks against plain references written out by hand, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saddle.networks.blocks import Conv3x3, DiscriminatorBlock, GeneratorBlock, SelfAttention
from saddle.networks.norm import ClassBatchNorm, ConditionalBatchNorm


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def near(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def conv(x, layer, padding=0):
    return F.conv2d(x, layer.weight, layer.bias, padding=padding)


def up(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def down(x):
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


@pytest.mark.parametrize("size", [(4, 4), (6, 8)])
def test_resampling_convolutions_equal_the_two_operations(size):
    x = torch.randn(2, 3, *size)
    for resample, plain in {
        "none": lambda c: conv(x, c, 1),
        "up": lambda c: conv(up(x), c, 1),
        "down": lambda c: down(conv(x, c, 1)),
    }.items():
        layer = Conv3x3(3, 5, resample)
        near(layer(x), plain(layer))


def test_conditional_batch_norm_formula():
    layer = ConditionalBatchNorm(3, 5, norm="none")
    x, condition = torch.randn(4, 3, 2, 2) * 3 + 1, torch.randn(4, 5)
    y = layer(x, condition)
    for c in range(3):
        values = x[:, c]
        mean = values.mean()
        standard = (values - mean) / math.sqrt(((values - mean) ** 2).mean() + 1e-5)
        for b in range(4):
            gain = 1 + sum(layer.gain.weight[c, k] * condition[b, k] for k in range(5))
            bias = sum(layer.bias.weight[c, k] * condition[b, k] for k in range(5))
            near(y[b, c], gain * standard[b] + bias)


def test_class_batch_norm_starts_as_plain_and_looks_up_its_tables():
    layer = ClassBatchNorm(3, 4)
    x, labels = torch.randn(6, 3, 2, 2), torch.tensor([0, 1, 2, 3, 1, 1])
    plain = F.batch_norm(x, None, None, training=True)
    near(layer(x, labels), plain)
    with torch.no_grad():
        layer.gain[1, 2], layer.bias[1, 2] = 7.0, -2.0
    y = layer(x, labels)
    changed = torch.zeros(6, 3, dtype=torch.bool)
    changed[[1, 4, 5], 2] = True
    near(y[changed], 7 * plain[changed] - 2)
    near(y[~changed], plain[~changed])


@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_generator_block_order(norm):
    block = GeneratorBlock(4, 6, lambda c: ConditionalBatchNorm(c, 5, norm), norm)
    x, condition = torch.randn(3, 4, 4, 4), torch.randn(3, 5)

    def norm_relu(h, layer):
        h = F.batch_norm(h, None, None, training=True)
        gain, bias = 1 + condition @ layer.gain.weight.T, condition @ layer.bias.weight.T
        return (h * gain[..., None, None] + bias[..., None, None]).relu()

    h = conv(up(norm_relu(x, block.norm1)), block.conv1, 1)
    h = conv(norm_relu(h, block.norm2), block.conv2, 1)
    near(block(x, condition), h + conv(up(x), block.shortcut))


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("wide", [True, False])
def test_discriminator_block_order(wide, pooled):
    block = DiscriminatorBlock(4, 6, down=pooled, norm="spectral", wide=wide)
    assert block.conv1.out_channels == (6 if wide else 4)
    x = torch.randn(2, 4, 8, 8)
    y = conv(conv(x.relu(), block.conv1, 1).relu(), block.conv2, 1) + conv(x, block.shortcut)
    near(block(x), down(y) if pooled else y)


def test_first_discriminator_block_does_not_rectify_the_image():
    block = DiscriminatorBlock(3, 6, down=True, norm="none", wide=False, first=True)
    x = torch.randn(2, 3, 8, 8)
    near(block(x), down(conv(conv(x, block.conv1, 1).relu(), block.conv2, 1)) + conv(down(x), block.shortcut))


def test_discriminator_block_shortcut_is_the_identity_where_nothing_changes():
    block = DiscriminatorBlock(4, 4, down=False, norm="none")
    assert isinstance(block.shortcut, nn.Identity)
    for p in block.parameters():
        nn.init.zeros_(p)
    x = torch.randn(2, 4, 4, 4)
    before = x.clone()
    near(block(x), x)
    near(x, before)  # the ReLU must not work in place: the shortcut needs the signs


@pytest.mark.parametrize("norm", ["batch", "layer", "instance"])
def test_norms_of_activations_precede_the_relus(norm):
    block = DiscriminatorBlock(4, 6, down=False, norm=norm)
    x = torch.randn(3, 4, 4, 4)
    axes = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}[norm]

    def standard(h):
        return (h - h.mean(axes, keepdim=True)) / (h.var(axes, keepdim=True, correction=0) + 1e-5).sqrt()

    h = conv(standard(x).relu(), block.conv1, 1)
    near(block(x), conv(standard(h).relu(), block.conv2, 1) + conv(x, block.shortcut))


def attention_by_loops(x, layer):
    """SAGAN's attention, one output position at a time."""
    batch, _, height, width = x.shape
    weights = {name: getattr(layer, name).weight[:, :, 0, 0] for name in ("theta", "phi", "g", "o")}
    out = torch.empty_like(x)
    for b in range(batch):
        pixels = {name: torch.einsum("oc,chw->ohw", weights[name], x[b]) for name in ("theta", "phi", "g")}
        keys, values = [], []
        for i in range(0, height, 2):
            for j in range(0, width, 2):
                keys.append(pixels["phi"][:, i : i + 2, j : j + 2].amax((1, 2)))
                values.append(pixels["g"][:, i : i + 2, j : j + 2].amax((1, 2)))
        for i in range(height):
            for j in range(width):
                scores = torch.stack([pixels["theta"][:, i, j].dot(key) for key in keys]).exp()
                mixed = sum(s / scores.sum() * v for s, v in zip(scores, values, strict=True))
                out[b, :, i, j] = x[b, :, i, j] + layer.gamma * (weights["o"] @ mixed)
    return out


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_attention_against_loops(norm, layout):
    layer = SelfAttention(16, norm)
    assert [layer.theta.out_channels, layer.phi.out_channels, layer.g.out_channels] == [2, 2, 8]
    assert all(getattr(layer, name).bias is None for name in ("theta", "phi", "g", "o"))
    x = torch.randn(2, 16, 4, 6).contiguous(memory_format=layout)
    near(layer(x), x)  # gamma starts at 0
    nn.init.constant_(layer.gamma, 0.7)
    near(layer(x), attention_by_loops(x, layer))


def test_second_derivatives_for_gradient_penalties():
    attention = SelfAttention(8, "none")
    nn.init.constant_(attention.gamma, 0.5)
    network = nn.Sequential(DiscriminatorBlock(1, 8, down=True, first=True), attention)
    x = torch.randn(2, 1, 4, 4, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: network(v).square().sum(), x)
    generator = Conv3x3(2, 2, "up")
    assert torch.autograd.gradgradcheck(lambda v: generator(v).square().sum(), torch.randn(1, 2, 2, 2).requires_grad_())
