"""DiffAugment's transformations against loops over pixels, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saddle.augment import NoAugment
from saddle.augment.diffaugment import TRANSFORMS, DiffAugment, color, cutout, translation
from saddle.errors import InputError
from saddle.randomness import Draws, Rows


def stream(rows=6, start=0, total=None, iteration=0):
    return Draws(0, iteration, "augment", Rows(start, start + rows, total or rows), dtype=torch.float64)


def images(rows=6, channels=3, height=9, width=12, seed=0):
    return torch.randn(rows, channels, height, width, generator=torch.Generator().manual_seed(seed)).double()


def near(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_color_by_hand(channels):
    x = images(channels=channels)
    numbers = stream().uniform(3)
    y = color(x, stream())
    for b in range(len(x)):
        brightness, saturation, contrast = numbers[b]
        h = x[b] + brightness - 0.5
        for i in range(9):
            for j in range(12):
                grey = sum(h[c, i, j] for c in range(channels)) / channels
                h[:, i, j] = grey + 2 * saturation * (h[:, i, j] - grey)
        near(y[b], h.mean() + (0.5 + contrast) * (h - h.mean()))


def test_translation_by_hand():
    x, draws = images(), stream()
    y = translation(x, draws)
    draws = stream()
    down, right = draws.integers(3) - 1, draws.integers(5) - 2  # an eighth of 9 is 1, of 12 is 2
    for b in range(len(x)):
        expected = torch.zeros_like(x[b])
        for i in range(9):
            for j in range(12):
                if 0 <= i - down[b] < 9 and 0 <= j - right[b] < 12:
                    expected[:, i, j] = x[b, :, i - down[b], j - right[b]]
        assert torch.equal(y[b], expected)


def test_cutout_by_hand():
    x = images()
    y, draws = cutout(x, stream()), stream()
    tall, wide = 5, 6  # half of 9, rounded up, and half of 12
    top, left = draws.integers(9) - tall // 2, draws.integers(13) - wide // 2
    for b in range(len(x)):
        for i in range(9):
            for j in range(12):
                hole = top[b] <= i < top[b] + tall and left[b] <= j < left[b] + wide
                assert torch.equal(y[b, :, i, j], torch.zeros(3).double() if hole else x[b, :, i, j])


def test_ranges_of_the_numbers():
    x = images(2000, 1, 16, 16)
    shifted = translation(torch.ones_like(x), stream(2000))
    lost = 16 - shifted[:, 0].amax(1).sum(1)  # columns that entered from outside
    assert set(lost.int().tolist()) == {0, 1, 2}
    area = (cutout(torch.ones_like(x), stream(2000)) == 0).sum((1, 2, 3))
    assert area.max() == 64 and area.min() >= 16  # a hole of 8x8 whose middle is inside
    bright = color(torch.zeros_like(x), stream(2000)).flatten(1)
    assert -0.5 <= bright.min() < -0.48 and 0.48 < bright.max() <= 0.5


@settings(max_examples=15, deadline=None)
@given(st.permutations(list(TRANSFORMS)), st.integers(0, 20), st.sampled_from([1, 3]))
def test_rows_do_not_depend_on_each_other_or_on_the_process(policy, iteration, channels):
    augment, x = DiffAugment(policy), images(channels=channels)
    whole = augment(x, stream(6, iteration=iteration))
    halves = [augment(x[i : i + 3], stream(3, i, 6, iteration)) for i in (0, 3)]
    near(torch.cat(halves), whole)
    assert whole.shape == x.shape and (whole != x).flatten(1).any(1).all()


def test_policy():
    x, draws = images(), stream()
    near(DiffAugment(["cutout", "color"])(x, stream()), color(cutout(x, draws), draws))
    assert torch.equal(DiffAugment([])(x, stream()), x) and torch.equal(NoAugment()(x, stream()), x)
    with pytest.raises(InputError, match="augment.policy: colour.*color, translation, cutout"):
        DiffAugment(["colour"])


def test_twice_differentiable():
    x, augment = images(2, 3, 4, 4).requires_grad_(), DiffAugment()
    assert torch.autograd.gradcheck(lambda v: augment(v, stream(2)), x)
    assert torch.autograd.gradgradcheck(lambda v: augment(v, stream(2)).pow(3).sum(), x)
