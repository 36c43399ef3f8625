"""The evaluation callback: when it scores, what it records, and what it leaves alone when there is nothing to do."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback

from saddle.callbacks.evaluation import Evaluation
from saddle.data.sets import MemorySet
from saddle.errors import InputError
from saddle.metrics.features import ClassifierExtractor
from saddle.metrics.frechet import FrechetDistance
from saddle.run import signals


class Logger:
    def __init__(self):
        self.lines = []

    def log_metrics(self, scalars, step):
        self.lines.append((step, scalars))


class Stopwatch:
    pauses = 0

    @contextmanager
    def paused(self):
        Stopwatch.pauses += 1
        yield


class Model:
    """Its samples are the real images at iteration 10 and black before."""

    conditional, device, classes = False, torch.device("cpu"), 0

    def __init__(self, images):
        self.images, self.iteration, self.scores = images, 0, {}

    def sample(self, start, stop, **options):
        assert options == {"seed": 0, "ema": True, "truncation": None}
        shown = self.images[start:stop].float() / 127.5 - 1
        return shown if self.iteration >= 10 else torch.full_like(shown, -1), torch.zeros(stop - start).long()


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A trainer and a model that have all that the callback touches."""
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    images = torch.randint(0, 256, (24, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = Model(images)
    data = SimpleNamespace(train_set=MemorySet(images, torch.zeros(24).long()), test_set=None, classes=0)
    trainer = SimpleNamespace(
        lightning_module=model,
        datamodule=data,
        loggers=[Logger()],
        is_global_zero=True,
        stopwatch=Stopwatch(),
        callback_metrics={},
    )
    trainer.callbacks = []
    return trainer, model


def train(callback, trainer, model, iterations):
    callback.on_fit_start(trainer, model)
    for _ in range(iterations):
        model.iteration += 1
        callback.on_train_batch_end(trainer, model, None, None, 0)
    callback.on_train_end(trainer, model)
    return trainer.loggers[0].lines


@pytest.mark.parametrize(("every", "iterations", "when"), [(5, 10, [5, 10]), (5, 12, [5, 10, 12]), (0, 7, [7])])
def test_when(run, every, iterations, when):
    callback = Evaluation({"frechet": FrechetDistance(ClassifierExtractor("digits"))}, every, samples=24)
    lines = train(callback, *run, iterations)
    assert [step for step, _ in lines] == when
    for step, scalars in lines:
        assert set(scalars) == {"eval/frechet"}
        assert (scalars["eval/frechet"] < 1e-6) == (step >= 10)
    assert run[1].scores == lines[-1][1]


@pytest.mark.parametrize(("asked", "when"), [(None, [5, 7]), ("preempted", [5]), ("interrupted", [5])])
def test_a_run_that_was_cut_short_is_not_scored_at_the_cut(run, monkeypatch, asked, when):
    trainer, model = run
    callback = Evaluation({"frechet": FrechetDistance(ClassifierExtractor("digits"))}, 5, samples=24)
    for model.iteration in range(1, 8):
        callback.on_train_batch_end(trainer, model, None, None, 0)
    monkeypatch.setattr(signals, "agreed", lambda: asked)
    callback.on_train_end(trainer, model)
    assert [step for step, _ in trainer.loggers[0].lines] == when


def test_it_is_a_validation_to_other_callbacks(run):
    trainer, model = run
    seen = []

    class Watch(Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append((pl_module.iteration, float(trainer.callback_metrics["eval/frechet"])))

    metrics = {"frechet": FrechetDistance(ClassifierExtractor("digits"))}
    callback, last = Evaluation(metrics, 2, samples=24), Evaluation({}, 2, samples=24)
    trainer.callbacks = [Watch(), callback, last]
    for model.iteration in range(1, 5):
        for each in trainer.callbacks:
            each.on_train_batch_end(trainer, model, None, None, 0)
    assert seen == [(step, pytest.approx(scores["eval/frechet"])) for step, scores in trainer.loggers[0].lines]
    assert [step for step, _ in seen] == [2, 4]


def test_pauses_the_stopwatch(run):
    before = Stopwatch.pauses
    train(Evaluation({"frechet": FrechetDistance(ClassifierExtractor("digits"))}, 2, samples=24), *run, 4)
    assert Stopwatch.pauses == before + 2


def test_without_metrics(run):
    assert train(Evaluation({}, 2, samples=24), *run, 4) == []


def test_a_missing_classifier_stops_the_run_before_it_trains(run):
    metric = FrechetDistance(ClassifierExtractor("unknown", classes=10))
    with pytest.raises(InputError, match="needs labels"):
        Evaluation({"frechet": metric}, 2, samples=24).on_fit_start(*run)
