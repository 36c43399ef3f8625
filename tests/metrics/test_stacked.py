"""Modes of stacked images: against the labels, through the evaluator, and the classifier of the single images."""

import math

import pytest
import torch

from saddle.data.stacked import Stacked
from saddle.errors import InputError
from saddle.metrics import features
from saddle.metrics.cache import StatisticsCache
from saddle.metrics.evaluator import Evaluator
from saddle.metrics.modes import ModeCoverage
from saddle.metrics.sources import ArraySource, SetSource
from saddle.metrics.stacked import ClassesOfChannels


@pytest.fixture(scope="module")
def digits() -> Stacked:
    options = dict(resolution=32, channels=3, classes=0, batch_size=4, flip=False)
    data = Stacked(source="digits", images=400, test_images=60, seed=0, **options)
    data.setup()
    return data


def test_the_modes_of_real_images_are_their_labels(digits):
    train, _ = digits.read()
    found = ClassesOfChannels("digits")(digits.train_set.__getitems__(range(100))[0])
    assert float((found == train.labels[:100]).double().mean()) > 0.9  # three digits right at once
    assert ClassesOfChannels("digits").modes == 1000


def test_each_channel_has_its_place(digits):
    """Single digits whose class the classifier knows, in three orders."""
    assign = ClassesOfChannels("digits")
    image = digits.train_set.__getitems__([7])[0]
    a, b, c = assign(image[:, [0, 0, 0]]), assign(image[:, [1, 1, 1]]), assign(image[:, [2, 2, 2]])
    one, two, three = (int(x) // 111 for x in (a, b, c))
    assert [int(x) for x in (a, b, c)] == [111 * one, 111 * two, 111 * three]
    assert int(assign(image)) == 100 * one + 10 * two + three
    assert int(assign(image.flip(1))) == 100 * three + 10 * two + one


def test_counts_in_the_evaluator(digits, tmp_path):
    images = digits.train_set.__getitems__(range(30))[0]
    same = images[:1].expand(20, -1, -1, -1).clone()
    scoring = Evaluator({"stacked_modes": ModeCoverage(ClassesOfChannels("digits"))}, cache=StatisticsCache(tmp_path))
    found = scoring.compare(SetSource(digits.train_set, 0), ArraySource(torch.cat([same, images[1:]]), None, "x"))
    modes = ClassesOfChannels("digits")(images)
    shares = torch.bincount(modes[1:], minlength=1000).double()
    shares[modes[0]] += 20
    shares /= 49
    expected = sum(p * math.log(p * 1000) for p in shares.tolist() if p)
    assert found.scores["eval/modes"] == len(modes.unique()) > 20
    assert found.scores["eval/reverse_kl"] == pytest.approx(expected, rel=1e-9)
    assert found.vectors["eval/mode_shares"] == pytest.approx(shares.tolist())
    assert set(found.extractors) == {"digits"}


def test_a_classifier_that_is_not_there_is_trained_on_the_single_images(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    fitted = []
    monkeypatch.setattr(features, "fit", lambda data, name, path: fitted.append((data, name)))
    scoring = Evaluator({"m": ModeCoverage(ClassesOfChannels("mnist"))}, cache=StatisticsCache(tmp_path))
    scoring.prepare(digits)
    [(data, name)] = fitted
    assert name == "mnist" and data.train_set[0][0].shape == (1, 32, 32) and len(data.train_set) == 1500


def test_wrong_data_are_refused(digits, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="data=stacked_mnist"):
        ClassesOfChannels(None)
    with pytest.raises(InputError, match="3 channels, these 1"):
        ClassesOfChannels("digits")(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="data=stacked_mnist"):
        Evaluator({"m": ModeCoverage(ClassesOfChannels("mnist"))}).prepare(digits.singles)
