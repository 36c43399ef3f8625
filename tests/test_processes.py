"""One, two and three processes compute the same: whole runs by Lightning's trainer, in float64."""

import itertools

import pytest
import torch
from several_processes import ACCUMULATED, MODELS, PLAIN, RUNS, options_of, overrides, training
from tiny import COMPOSER, TRAIN_OVERRIDES

ALL = [*RUNS, *MODELS, *ACCUMULATED]


def assert_as_one(name, ranks):
    """Every process ends with the same bits, and within 1e-9 of one process: weights, buffers and logged scalars."""
    alone = training(name)
    first, *others = (results[f"training/{name}"] for results in ranks)
    for key, value in alone.items():
        assert value.dtype == torch.float64 or not value.is_floating_point(), key
        for other in others:
            assert set(alone) == set(first) == set(other)
            assert torch.equal(first[key], other[key]), key
        assert torch.allclose(first[key], value, rtol=0, atol=1e-9), (key, (first[key] - value).abs().max())
    assert any("penalt" in key for key in alone) or "penalt" not in name


@pytest.mark.parametrize("name", [*RUNS, *MODELS])
def test_two_processes_train_as_one(pair, name):
    assert_as_one(name, pair)


@pytest.mark.slow
@pytest.mark.parametrize("name", ACCUMULATED)
def test_two_processes_train_as_one_in_slices(pair_in_slices, name):
    assert_as_one(name, pair_in_slices)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_three_processes_train_as_one(trio, name):
    assert_as_one(name, trio)


def test_runs_differ_so_that_the_comparison_means_something(pair):
    names = ("dcgan", "dcgan_r1", "dcgan_spectral_penalties")
    weights = [pair[0][f"training/{name}"]["generator.layers.0.weight"] for name in names]
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.pairwise(weights))


def test_no_choice_that_is_shipped_is_left_out():
    compared = {group: set() for group in PLAIN}
    runs = [overrides(name) for name in [*RUNS, *MODELS]]
    with COMPOSER:
        for words in runs:
            cfg = COMPOSER.compose([*TRAIN_OVERRIDES, *words])
            for group, found in compared.items():
                found |= {*cfg.penalty} if group == "penalty" else {cfg.hydra.runtime.choices.get(group)}
    for group, found in compared.items():
        shipped = {*options_of(group)}
        assert shipped <= found, shipped - found
