"""The best naming of codes by classes, against trying all of them."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saddle.errors import InputError
from saddle.metrics.codes import CodeAccuracy


def score(codes, labels, values, classes):
    metric = CodeAccuracy(values, classes)
    metric.update(torch.as_tensor(codes), torch.as_tensor(labels))
    return float(metric.compute())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_against_all_permutations(pairs):
    codes, labels = zip(*pairs, strict=True)
    best = max(
        sum(naming[code] == label for code, label in pairs) / len(pairs) for naming in itertools.permutations(range(4))
    )
    assert score(codes, labels, 4, 4) == pytest.approx(best, rel=1e-6)


def test_a_code_that_is_a_renamed_label_scores_1():
    labels = torch.arange(50) % 10
    assert score((labels * 7 + 3) % 10, labels, 10, 10) == 1
    assert score(torch.zeros(50, dtype=torch.int64), labels, 10, 10) == pytest.approx(0.1)


def test_more_values_than_classes_and_fewer():
    codes, labels = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 0, 1, 1])
    assert score(codes, labels, 3, 2) == 0.75 and score(labels, codes, 2, 3) == 0.75


def test_updates_add_up_and_reset():
    metric = CodeAccuracy(2, 2)
    metric.update(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]))
    metric.update(torch.tensor([1]), torch.tensor([1]))
    assert float(metric.compute()) == 0.75 and metric.counts.tolist() == [[2, 0], [1, 1]]
    metric.reset()
    with pytest.raises(InputError, match="0 labelled images"), pytest.warns(UserWarning, match="compute"):
        metric.compute()
