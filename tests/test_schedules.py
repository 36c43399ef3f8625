"""Numbers that change during training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import attach, batch, dense_gan

from saddle.errors import InputError
from saddle.penalties import R1
from saddle.schedules import SHAPES, Schedule


def test_linear_and_cosine():
    linear, cosine = (Schedule(2.0, 6.0, 10.0, begin=5.0, shape=shape) for shape in ("linear", "cosine"))
    assert [linear(x) for x in (0, 5, 7.5, 10, 15, 99)] == [2, 2, 3, 4, 6, 6]
    assert [round(cosine(x), 12) for x in (0, 5, 10, 15, 99)] == [2, 2, 4, 6, 6]
    assert cosine(7.5) == pytest.approx(2 + 4 * 0.14644660940672624)  # (1 - cos(pi / 4)) / 2


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0.1, 100), st.floats(0, 200), st.sampled_from(sorted(SHAPES)))
def test_values_stay_between_start_and_end(start, end, length, position, shape):
    value = Schedule(start, end, length, shape=shape)(position)
    assert min(start, end) - 1e-9 <= value <= max(start, end) + 1e-9


def test_everything_that_a_schedule_may_set_is_set_before_the_step():
    schedules = {
        "g_lr": {"end": 0.0, "iterations": 4},
        "beta2": {"start": 0.9, "end": 0.99, "kimg": 0.016, "shape": "cosine"},  # two iterations of 8 images
        "ema": {"end": 0.5, "iterations": 2, "begin": 2},
        "penalty.r1.weight": {"end": 0.0, "iterations": 2},
    }
    model = attach(dense_gan({"r1": R1(weight=8.0)}, g_lr=0.4, ema=0.9, schedules=schedules))
    seen = []
    for i in range(5):
        model.training_step(batch(model), i)
        groups = [player.optimizer.param_groups[0] for player in model.optimizers()]
        seen.append((groups[1]["lr"], groups[0]["betas"][1], model.ema.decay, model.penalties["r1"].weight))
        assert groups[0]["lr"] == 2e-4
    expected = [(0.4, 0.9, 0.9, 8), (0.3, 0.945, 0.9, 4), (0.2, 0.99, 0.9, 0), (0.1, 0.99, 0.7, 0), (0.0, 0.99, 0.5, 0)]
    for row, right in zip(seen, expected, strict=True):
        assert row == pytest.approx(right)


def test_beta2_is_the_smoothing_constant_of_rmsprop_also_where_it_changes():
    model = attach(dense_gan(optimizer="rmsprop", schedules={"beta2": {"start": 0.9, "end": 0.5, "iterations": 1}}))
    for i, smoothing in enumerate((0.9, 0.5)):
        model.training_step(batch(model), i)
        assert all(player.optimizer.param_groups[0]["alpha"] == smoothing for player in model.optimizers())


def test_at_a_rate_of_zero_nothing_moves():
    model = attach(dense_gan(schedules={"d_lr": {"start": 0.0, "end": 0.0, "iterations": 1}}))
    before = [p.detach().clone() for p in model.discriminator.parameters()]
    model.training_step(batch(model), 0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.discriminator.parameters(), strict=True))


def test_a_resumed_run_is_where_it_was():
    options = {"g_lr": {"end": 0.0, "iterations": 10}}
    model = attach(dense_gan(schedules=options))
    for i in range(4):
        model.training_step(batch(model), i)
    other = attach(dense_gan(schedules=options))
    other.iteration = 3
    other.training_step(batch(other), 3)
    assert other.optimisers.g_lr == model.optimisers.g_lr


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        ({"momentum": {"end": 1, "kimg": 1}}, "a schedule can set g_lr"),
        ({"penalty.r1.weight": {"end": 1, "kimg": 1}}, "penalty.r1.weight"),
        ({"g_lr": {"end": 1}}, "one of kimg and iterations"),
        ({"g_lr": {"end": 1, "kimg": 1, "iterations": 3}}, "one of kimg and iterations"),
        ({"g_lr": {"end": 1, "kimg": 1, "from": 3}}, "from is no option"),
        ({"g_lr": {"end": 1, "kimg": 0}}, "length 0"),
        ({"g_lr": {"end": 1, "kimg": 1, "shape": "step"}}, "linear, cosine"),
    ],
)
def test_wrong_schedules_are_refused(schedules, said):
    with pytest.raises(InputError, match=said):
        dense_gan(schedules=schedules)
