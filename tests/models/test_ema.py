"""The moving average of a generator."""

import pytest
import torch
from torch import nn

from saddle.models.ema import EMA
from saddle.networks.norm import BatchNorm, power_iterate, spectral_norm


def network():
    torch.manual_seed(0)
    return nn.Sequential(spectral_norm(nn.Linear(3, 4)), BatchNorm(4), nn.Linear(4, 2)).double()


def wander(source):
    """Change everything that training changes."""
    with torch.no_grad():
        for p in source.parameters():
            p += torch.randn_like(p)
    source(torch.randn(8, 3, dtype=torch.float64))
    power_iterate(source)


def averaged(source):
    values = dict(source.named_parameters()) | {n: b for n, b in source.named_buffers() if "running" in n}
    return {name: value.detach().clone() for name, value in values.items()}


@pytest.mark.parametrize(("decay", "start"), [(0.9, 0), (0.3, 0), (0.9, 2), (0.0, 0)])
def test_formula(decay, start):
    source = network()
    ema = EMA(source, decay, start)
    expected = averaged(source)
    for step in range(6):
        wander(source)
        ema.update(source, step, images=8)
        d = 0.0 if step < start else min(decay, (1 + step - start) / (10 + step - start))
        expected = {name: d * expected[name] + (1 - d) * value for name, value in averaged(source).items()}
        for name, value in averaged(ema.module).items():
            assert torch.allclose(value, expected[name], rtol=1e-12, atol=1e-14), name


def test_the_warm_up_ends_at_the_decay():
    source, ema = nn.Linear(1, 1, bias=False), None
    ema = EMA(source, 0.9)
    ema.module.weight.data.fill_(1.0)
    source.weight.data.fill_(0.0)
    ema.update(source, 0, images=8)
    assert ema.module.weight.item() == pytest.approx(0.1)
    ema.update(source, 10_000, images=8)
    assert ema.module.weight.item() == pytest.approx(0.09)


@pytest.mark.parametrize(("decay", "start", "steps"), [(0.0, 0, 5), (0.99, 3, 3)])
def test_follows_exactly_without_decay_and_before_the_start(decay, start, steps):
    source = network()
    ema = EMA(source, decay, start)
    for step in range(steps):
        wander(source)
        ema.update(source, step, images=8)
        assert all(
            torch.equal(a, b)
            for a, b in zip(ema.module.state_dict().values(), source.state_dict().values(), strict=True)
        )


def test_spectral_norms_vectors_are_copied():
    source = network()
    ema = EMA(source, 0.999)
    for step in range(3):
        wander(source)
        ema.update(source, step, images=8)
    for name in ("u", "v"):
        own, other = (getattr(n[0].parametrizations.weight[0], name) for n in (ema.module, source))
        assert torch.equal(own, other) and own is not other


def test_the_copy_is_frozen_and_the_source_is_untouched():
    source = network()
    ema = EMA(source, 0.5)
    before = {name: value.clone() for name, value in source.state_dict().items()}
    ema.module[2].weight.data.add_(1)
    ema.update(source, 0, images=8)
    assert not any(p.requires_grad for p in ema.parameters())
    assert all(p.requires_grad for p in source.parameters())
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


def test_half_life_in_images():
    ema = EMA(nn.Linear(1, 1), 0.9, half_life=1.0)
    assert ema.decay_at(7, 100) ** 10 == pytest.approx(0.5)  # ten steps of 100 images are one half-life of a thousand
    ema.half_life = 0.0
    assert ema.decay_at(7, 100) == 0.0


def test_without_warm_up_the_decay_holds_from_the_start():
    ema = EMA(nn.Linear(1, 1), 0.9, start=2, warmup=False)
    assert [ema.decay_at(step, 8) for step in (0, 1, 2, 3, 99)] == [0.0, 0.0, 0.9, 0.9, 0.9]
