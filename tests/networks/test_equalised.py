"""Equalised learning rates, pixel norm and the minibatch standard deviation, against formulas written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from saddle.errors import InputError
from saddle.heads.equalised import EqualisedHead
from saddle.networks import equalised
from saddle.networks.equalised import (
    HE,
    EqualisedConv2d,
    EqualisedLinear,
    MinibatchStd,
    PixelNorm,
    pixel_norm,
)


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def near(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("multiplier", [1.0, 0.01])
@pytest.mark.parametrize("gain", [1.0, HE])
def test_linear_formula_and_start(multiplier, gain):
    layer = EqualisedLinear(400, 300, gain, multiplier, bias_init=0.7)
    assert layer.weight.std().item() == pytest.approx(1 / multiplier, rel=0.02)  # N(0, 1) over the multiplier
    x = torch.randn(3, 400)
    near(layer(x), x @ (gain * multiplier / 20 * layer.weight).T + 0.7)  # the bias works as it was asked for
    assert layer(torch.randn(500, 400)).var().item() == pytest.approx(gain**2, rel=0.05)
    assert EqualisedLinear(2, 2, bias=False).bias is None


def test_a_multiplier_slows_learning_and_changes_nothing_else():
    """A step of equal size in the stored numbers moves the function by the multiplier, for weight and bias."""
    outputs = []
    for multiplier in (1.0, 0.01):
        layer = EqualisedLinear(5, 3, 1.0, multiplier)
        x = torch.ones(1, 5)
        before = layer(x)
        with torch.no_grad():
            layer.weight += 0.1
            layer.bias += 0.1
        outputs.append(layer(x) - before)
    near(outputs[1], 0.01 * outputs[0])


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution_formula(kernel):
    layer = EqualisedConv2d(3, 5, kernel, HE)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 6, 6)
    weight = layer.weight * math.sqrt(2 / (3 * kernel**2))
    near(layer(x), F.conv2d(x, weight, layer.bias, padding=kernel // 2))


def test_merged_resampling_is_the_two_operations():
    x = torch.randn(2, 3, 6, 6)
    for resample in ("up", "down"):
        layer = EqualisedConv2d(3, 5, 3, HE, resample)
        torch.nn.init.normal_(layer.bias)
        weight = layer.weight * layer.scale
        if resample == "up":
            plain = F.conv2d(F.interpolate(x, scale_factor=2.0), weight, layer.bias, padding=1)
        else:
            plain = F.avg_pool2d(F.conv2d(x, weight, layer.bias, padding=1), 2)
        near(layer(x), plain)
    with pytest.raises(ValueError, match="only 3x3"):
        EqualisedConv2d(3, 5, 1, resample="up")


@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 3, 3)])
def test_pixel_norm_makes_every_pixel_a_vector_of_mean_square_one(shape):
    x = 5 * torch.randn(shape)
    y = PixelNorm()(x)
    torch.testing.assert_close(y.square().mean(1), torch.ones_like(y[:, 0]), rtol=1e-6, atol=0)
    near(y[1, 2], x[1, 2] / ((x[1] ** 2).sum(0) / 7 + 1e-8).sqrt())
    near(pixel_norm(torch.zeros(shape)), torch.zeros(shape))


def deviation_by_loops(x, group):
    rows, channels, height, width = x.shape
    out = torch.zeros(rows, 1, height, width)
    for first in range(0, rows, group):
        values = []
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    column = [x[first + k, c, i, j].item() for k in range(group)]
                    mean = sum(column) / group
                    values.append(math.sqrt(sum((v - mean) ** 2 for v in column) / group + 1e-8))
        out[first : first + group] = sum(values) / len(values)
    return torch.cat([x, out], 1)


@pytest.mark.parametrize("group", [4, 2, 8])
def test_minibatch_deviation_against_loops(group):
    x = torch.randn(8, 4, 3, 2)
    near(MinibatchStd(group)(x), deviation_by_loops(x, group))


@settings(max_examples=20, deadline=None)
@given(processes=st.sampled_from([1, 2, 4]), micro=st.sampled_from([1, 2]), seed=st.integers(0, 99))
def test_minibatch_deviation_is_the_same_on_any_number_of_processes(processes, micro, seed):
    """The share of a process and micro-batch is a run of rows; groups of 2 lie inside each of 16 / (4 * 2)."""
    x = torch.randn(16, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    layer = MinibatchStd(2)
    near(torch.cat([layer(part) for part in x.chunk(processes * micro)]), layer(x))


def test_minibatch_deviation_refuses_broken_groups(monkeypatch):
    layer = MinibatchStd(4)
    with pytest.raises(InputError, match="data.batch_size.*multiple of 4 images.*not 6"):
        layer(torch.randn(6, 2, 2, 2))
    x = torch.randn(3, 2, 2, 2)
    near(layer(x), deviation_by_loops(x, 3))  # fewer rows than a group: one group, in one process
    monkeypatch.setattr(equalised, "is_distributed", lambda: True)
    with pytest.raises(InputError, match="multiple of 4 images per process"):
        layer(x)
    with pytest.raises(InputError, match="model.trunk.group=1"):
        MinibatchStd(1)


def test_minibatch_deviation_twice_differentiable_even_for_equal_images():
    layer = MinibatchStd(2)
    x = torch.randn(2, 2, 2, 2, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: layer(v).pow(2).sum(), x)
    same = torch.ones(2, 2, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(same).sum(), same, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), same)
    assert gradient.isfinite().all() and second.isfinite().all()


def test_head():
    head = EqualisedHead(6, 0)
    features = torch.randn(4, 6)
    near(head(features, torch.zeros(4).long(), features), features @ head.linear.weight[0] / math.sqrt(6))
    assert [p.shape for p in head.parameters()] == [(1, 6), (1,)]
