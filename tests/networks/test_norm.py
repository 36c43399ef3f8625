"""Batch normalisation over processes, spectral normalisation, and norms by name."""

import pytest
import several_processes
import torch
import torch.nn.functional as F
from torch import nn

from saddle.networks.norm import (
    NORMS,
    BatchNorm,
    activation_norm,
    power_iterate,
    spectral_norm,
    weight_norm,
)

# ---- batch norm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (6, 3)])
def test_batch_norm_is_torchs_in_one_process(shape, affine):
    torch.manual_seed(0)
    theirs = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3, affine=affine, eps=1e-4, momentum=0.3)
    ours = BatchNorm(3, affine=affine, eps=1e-4, momentum=0.3)
    if affine:
        nn.init.normal_(theirs.weight), nn.init.normal_(theirs.bias)
        ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if k != "num_batches_tracked"})
    for _ in range(3):
        x = 5 + 2 * torch.randn(shape)
        assert torch.equal(ours(x), theirs(x))
    ours.eval(), theirs.eval()
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_mean, theirs.running_mean) and torch.equal(ours.running_var, theirs.running_var)


@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (6, 3)])
def test_synchronised_form_is_batch_norm(shape):
    """Alone in its group, the synchronised form is torch's: outputs, statistics, first and second order."""
    results = []
    for kind in (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d, BatchNorm):
        torch.manual_seed(1)
        layer = kind(3).double()
        nn.init.normal_(layer.weight)
        x = 3 + torch.randn(shape, dtype=torch.float64, requires_grad=True)
        y = layer._synchronised(x) if kind is BatchNorm else layer(x)
        (g,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        second = torch.autograd.grad(g.square().sum(), [x, layer.weight])
        results.append([y, g, *second, layer.running_mean, layer.running_var])
    assert all(torch.allclose(a, b, rtol=1e-11, atol=1e-11) for a, b in zip(*results, strict=True))


def test_float64_leaves_no_noise_where_the_gradient_is_zero():
    """Torch's kernel leaves over 1e-14 here; Adam would turn it into steps in which process counts differ."""
    torch.manual_seed(0)
    bias = torch.zeros(1, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    x, factors = torch.randn(2, 16, 3, 16, 16, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((BatchNorm(3).double()(x + bias) * factors).sum(), bias)
    assert gradient.abs().max() < 1e-12


def test_synchronised_form_survives_large_means_and_bfloat16():
    torch.manual_seed(0)
    x = 1000 + torch.randn(64, 3, 4, 4)
    layer = BatchNorm(3)
    for _ in range(100):
        y = layer._synchronised(x)
    assert torch.allclose(y, F.batch_norm(x.double(), None, None, training=True).float(), atol=1e-3)
    assert layer._synchronised(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", ["images", "vectors"])
def test_batch_norm_on_two_processes_is_one_on_the_whole_batch(pair, shape):
    whole = several_processes.batch_norm(shape)
    for name in whole:
        halves = [results[f"batch_norm/{shape}"][name] for results in pair]
        if name in ("output", "input_gradient", "second_input_gradient"):
            together = torch.cat(halves)
        else:
            together = halves[0]
            assert torch.equal(*halves), name
        assert torch.allclose(together, whole[name], rtol=1e-12, atol=1e-12), name


def test_no_communication_in_evaluation(pair):
    assert all(results["evaluation_of_one"] for results in pair)


# ---- spectral norm


def layer(kind="conv"):
    torch.manual_seed(0)
    made = {"conv": nn.Conv2d(3, 4, 3), "linear": nn.Linear(5, 3), "embedding": nn.Embedding(7, 4)}[kind]
    return spectral_norm(made.double())


def largest(module):
    return torch.linalg.svdvals(module.weight.detach().flatten(1))[0].item()


@pytest.mark.parametrize("kind", ["conv", "linear", "embedding"])
def test_power_iteration_converges_to_singular_value_one(kind):
    module = layer(kind)
    for _ in range(300):
        power_iterate(module)
    assert largest(module) == pytest.approx(1, abs=1e-9)
    vectors = module.parametrizations.weight[0]
    assert vectors.u.norm().item() == pytest.approx(1) and vectors.v.norm().item() == pytest.approx(1)


def test_a_fresh_norm_is_already_close():
    assert largest(layer()) == pytest.approx(1, abs=0.1)


def test_power_iteration_follows_a_moving_weight():
    module = nn.Sequential(layer("linear"), nn.ReLU(), nn.ModuleList([layer()]))
    for part in (module[0], module[2][0]):
        nn.init.normal_(part.parametrizations.weight.original)
    for _ in range(300):
        power_iterate(module)
    assert largest(module[0]) == pytest.approx(1, abs=1e-9) and largest(module[2][0]) == pytest.approx(1, abs=1e-9)


def test_forward_passes_change_nothing():
    module = layer()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    joint = module(torch.cat([x, 2 * x]))
    apart = torch.cat([module(x), module(2 * x)])
    assert torch.allclose(joint, apart, rtol=1e-13)
    module.eval()
    assert torch.equal(module(x), apart[:4])
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_gradient_is_that_of_the_quotient_with_fixed_vectors():
    module = layer("linear")
    raw, vectors = module.parametrizations.weight.original, module.parametrizations.weight[0]
    c = torch.randn_like(raw)
    (gradient,) = torch.autograd.grad((module.weight * c).sum(), raw)

    def value(matrix):
        return ((matrix / (vectors.u @ matrix @ vectors.v)) * c).sum().item()

    for i in range(raw.shape[0]):
        for j in range(raw.shape[1]):
            shift = torch.zeros_like(raw)
            shift[i, j] = 1e-6
            difference = (value(raw.detach() + shift) - value(raw.detach() - shift)) / 2e-6
            assert gradient[i, j].item() == pytest.approx(difference, abs=1e-7)


def test_iterating_between_forward_and_backward_does_no_harm():
    module = layer("linear")
    x = torch.randn(2, 5, dtype=torch.float64)
    (before,) = torch.autograd.grad(module(x).square().sum(), module.parametrizations.weight.original)
    y = layer("linear")
    loss = y(x).square().sum()
    power_iterate(y)
    (after,) = torch.autograd.grad(loss, y.parametrizations.weight.original)
    assert torch.equal(before, after)


def test_spectral_norm_ignores_autocast():
    torch.manual_seed(0)
    module = spectral_norm(nn.Linear(6, 6))
    exact = module.weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module.weight, exact)
        power_iterate(module)
    plain = spectral_norm(nn.Linear(6, 6))
    plain.load_state_dict(module.state_dict())
    assert module.parametrizations.weight[0].u.dtype == torch.float32


def test_vectors_are_saved():
    module, other = layer(), spectral_norm(nn.Conv2d(3, 4, 3).double())
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.weight, module.weight)


# ---- by name


@pytest.mark.parametrize("name", NORMS)
def test_norms_by_name(name):
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(5, 4, 6, 6)
    y = activation_norm(name, 4)(x)
    axes = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}.get(name)
    if axes is None:
        assert torch.equal(y, x)
    else:
        assert y.mean(axes).abs().max() < 1e-5
        assert (y.var(axes, correction=0) - 1).abs().max() < 1e-3
    convolution = weight_norm(name, nn.Conv2d(3, 4, 3))
    assert hasattr(convolution, "parametrizations") is (name == "spectral")


@pytest.mark.parametrize("name", ["layer", "instance"])
def test_norms_of_single_images_learn_a_gain_and_a_bias_per_channel(name):
    assert {n: p.shape for n, p in activation_norm(name, 4).named_parameters()} == {"weight": (4,), "bias": (4,)}
