"""One and two processes compute the same: whole runs by Lightning's trainer, in float64."""

import itertools

import pytest
import torch
import two_processes


@pytest.mark.parametrize("name", [*two_processes.RUNS, *two_processes.MODELS])
def test_two_processes_train_as_one(pair, name):
    alone = two_processes.training(name)
    first, second = (results[f"training/{name}"] for results in pair)
    assert set(alone) == set(first) == set(second)
    assert any("penalt" in key for key in alone) or "penalt" not in name
    for key, value in alone.items():
        assert value.dtype == torch.float64 or not value.is_floating_point(), key
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(first[key], value, rtol=0, atol=1e-9), (key, (first[key] - value).abs().max())


def test_runs_differ_so_that_the_comparison_means_something(pair):
    names = ("dcgan", "dcgan_r1", "dcgan_spectral_penalties")
    weights = [pair[0][f"training/{name}"]["generator.layers.0.weight"] for name in names]
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.pairwise(weights))
