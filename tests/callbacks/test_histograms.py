"""Histograms of logits, weights and gradients."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from saddle.callbacks.histograms import Histograms, histograms, tensors_of


def model():
    generator, discriminator = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
    discriminator(torch.ones(1, 4)).sum().backward()
    logits = {"real": torch.tensor([0.0, 1.0, 1.0]), "fake": torch.tensor([-1.0, torch.nan, torch.inf])}
    return SimpleNamespace(generator=generator, discriminator=discriminator, last_logits=logits, iteration=4)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60), st.integers(2, 20))
def test_counts_and_edges_are_numpys(values: list[float], bins: int) -> None:
    tensor = torch.tensor(values, dtype=torch.float32)
    counts, edges = histograms({"x": tensor}, bins)["x"]
    assert counts.sum() == len(values) and len(edges) == bins + 1
    array = tensor.double().numpy()
    assert edges[0] <= array.min() and edges[-1] >= array.max()
    inner = np.abs(array[:, None] - edges[None, 1:-1]).min(initial=np.inf)
    if inner > 1e-6 * (edges[-1] - edges[0]):  # no value on an edge, where rounding decides
        np.testing.assert_array_equal(counts, np.histogram(array, edges)[0])


def test_values_that_are_not_finite_are_left_out() -> None:
    found = histograms({"x": torch.tensor([torch.nan, 1.0, torch.inf, 3.0]), "y": torch.full((2,), torch.nan)}, 2)
    assert found.keys() == {"x"}
    np.testing.assert_array_equal(found["x"][0], [1, 1])
    np.testing.assert_array_equal(found["x"][1], [1, 2, 3])


def test_what_is_looked_at() -> None:
    names = set(tensors_of(model()))
    assert names == {"logits/real", "logits/fake", "weights/generator/0", "weights/discriminator/weight",
                     "gradients/discriminator/weight"}  # fmt: skip


@pytest.mark.parametrize(("every", "first"), [(4, True), (3, False), (0, False)])
def test_only_loggers_that_show_histograms_get_them_at_the_interval(every: int, first: bool) -> None:
    got = []
    shows = SimpleNamespace(log_histograms=lambda found, step: got.append((set(found), step)))
    trainer = SimpleNamespace(is_global_zero=first or every == 0, loggers=[shows, SimpleNamespace()])
    Histograms(every).on_train_batch_end(trainer, model(), None, None, 0)
    assert got == ([(set(tensors_of(model())), 4)] if first else [])
