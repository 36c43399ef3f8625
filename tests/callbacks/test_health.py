"""The watch measures right, warns once of each failure, and is silent where all is well."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from saddle.callbacks.health import FAILURES, Health, Measured, diagnose, spread
from saddle.data.sets import MemorySet

WELL = {"diversity": 0.9, "d_accuracy_real": 0.8, "d_accuracy_fake": 0.8, "g_grad_norm": 1.0, "d_grad_norm": 2.0}
WELL |= {"spectrum": 3.0, "real_logits": 0.7, "fake_logits": -0.6}
BLIND = {"real_logits": -0.0605, "fake_logits": -0.0605}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"diversity": 0.1}, ["mode collapse"]),
        ({"d_accuracy_real": 1.0, "d_accuracy_fake": 1.0}, []),  # D wins, but G still learns
        ({"d_accuracy_real": 1.0, "d_accuracy_fake": 1.0, "g_grad_norm": 1e-3}, ["vanishing gradients"]),
        ({"g_grad_norm": 1e-3}, []),  # small gradients at a balanced game are convergence
        (BLIND | {"g_grad_norm": 0.0, "d_grad_norm": 0.0}, ["dead discriminator"]),
        (BLIND | {"g_grad_norm": 0.1, "d_grad_norm": 0.2}, []),
        ({"g_grad_norm": 0.0, "d_grad_norm": 0.0}, []),  # D tells images apart: it has won
        ({"d_grad_norm": 500.0}, ["exploding gradients"]),
        ({"spectrum": 31.0}, ["growing weights"]),
        ({"diversity": 0.1, "spectrum": 31.0}, ["mode collapse", "growing weights"]),
    ],
)
def test_each_failure_is_known_by_its_signs(changes, names):
    assert [failure.name for failure in diagnose(WELL | changes, WELL)] == names


def test_nothing_is_said_where_nothing_is_known():
    assert diagnose({}, {}) == []


def test_spread_is_the_mean_distance_of_pairs():
    images = torch.tensor([0.0, 3.0, 7.0]).view(3, 1, 1, 1)
    assert spread(images).item() == pytest.approx((3 + 7 + 4) / 3)


class Model:
    """Its samples are all different at first, and alike from iteration 20 on."""

    def __init__(self):
        torch.manual_seed(0)
        self.discriminator, self.generator, self.seed = nn.Linear(3, 2), nn.Linear(2, 2), 0
        self.iteration, self.warnings = 0, []
        self.scores = {"train/g_grad_norm": 1.0, "train/d_accuracy_real": 0.7, "eval/frechet": 5.0}

    def sample(self, start, stop, seed, ema):
        assert not ema
        images = torch.rand(stop - start, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        return images if self.iteration < 20 else images[:1].expand_as(images), None


@pytest.fixture
def run():
    model, lines = Model(), []
    images = torch.randint(0, 256, (64, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    trainer = SimpleNamespace(
        is_global_zero=True,
        lightning_module=model,
        datamodule=SimpleNamespace(train_set=MemorySet(images, torch.zeros(64, dtype=torch.int64))),
        callback_metrics={},
        loggers=[SimpleNamespace(log_metrics=lambda scalars, step: lines.append((step, scalars)))],
    )
    return trainer, model, lines


def go(callback, trainer, model, iterations):
    for model.iteration in iterations:
        callback.on_train_batch_end(trainer, model, None, None, 0)


def test_it_looks_at_intervals_and_warns_once(run):
    trainer, model, lines = run
    callback = Health(every=10)
    go(callback, trainer, model, range(1, 51))
    assert [step for step, _ in lines] == [10, 20, 30, 40, 50]
    assert lines[0][1]["health/diversity"] == pytest.approx(1.0, abs=0.1)
    assert lines[1][1]["health/diversity"] == 0.0
    largest = torch.linalg.svdvals(model.discriminator.weight)[0].item()
    assert lines[0][1]["spectrum/discriminator//0"] == pytest.approx(largest, rel=1e-5)
    assert len(model.warnings) == 1
    assert model.warnings[0].startswith("iteration 20: mode collapse: the samples are nearly alike")
    assert "0.00 of the real" in model.warnings[0]


def test_a_resumed_watch_remembers_the_beginning_and_what_it_said(run):
    trainer, model, _ = run
    callback = Health(every=10)
    go(callback, trainer, model, range(1, 31))
    other = Health(every=10)
    other.load_state_dict(callback.state_dict())
    go(other, trainer, model, range(31, 41))
    assert len(model.warnings) == 1 and other.first == callback.first


def test_every_advice_can_be_said_with_what_is_measured():
    for failure in FAILURES:
        assert "{" not in failure.advice.format_map(Measured(WELL))
