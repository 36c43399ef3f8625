"""Affine maps of images against scipy, one image and one axis at a time, in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.signal import upfirdn

from saddle.augment.geometry import SYM6, _Sample, blit, reflect, rotate, scale, translate, warp

TAPS = torch.tensor(SYM6, dtype=torch.float64) / sum(SYM6)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def images(rows=3, channels=2, height=10, width=8, seed=0):
    return torch.randn(rows, channels, height, width, generator=torch.Generator().manual_seed(seed)).double()


def near(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, torch.as_tensor(b), rtol=tolerance, atol=tolerance)


def warped_by_scipy(image, inverse):
    """The largest border, the enlarged image, its values at every place, the shrunk result."""
    height, width = image.shape
    f = np.asarray(SYM6) / math.sqrt(2)
    padded = np.pad(image, ((height - 1,) * 2, (width - 1,) * 2), mode="reflect")
    for axis in (0, 1):
        padded = upfirdn(2 * f, padded, up=2, axis=axis)  # convolution, at its full length
        padded = padded.take(range(5, padded.shape[axis] - 5), axis)
    result = np.zeros((2 * height + 10, 2 * width + 10))
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            # the sample's place in pixels of the result from its centre: the first one lies 2.75 left of pixel 0
            x, y = j / 2 - 2.75 - (width - 1) / 2, i / 2 - 2.75 - (height - 1) / 2
            u, v, _ = inverse @ np.array([x, y, 1.0])
            column, row = u + (width - 1) / 2 + width - 1, v + (height - 1) / 2 + height - 1  # of the padded image
            result[i, j] = map_coordinates(
                padded, [[2 * row + 0.5], [2 * column + 0.5]], order=1, mode="grid-constant", cval=0.0
            )[0]
    for axis in (0, 1):
        result = upfirdn(f[::-1], result, up=1, down=1, axis=axis)
        result = result.take(range(11, result.shape[axis] - 11, 2), axis)
    return result


CASES = {
    "turn": rotate(tensor(0.7)),
    "shift": translate(tensor(1.3), tensor(-2.6)),
    "shrink": scale(tensor(1.9), tensor(1.4)),
    "enlarge": scale(tensor(0.5), tensor(0.8)),
    "beyond the border": scale(tensor(4.0), tensor(4.5)) @ translate(tensor(3.0), tensor(0.0)),
    "all": rotate(tensor(-2.0))
    @ scale(tensor(1.3), tensor(0.7))
    @ rotate(tensor(0.4))
    @ translate(tensor(2.0), tensor(1.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_warp_against_scipy(case):
    x, inverse = images(1), CASES[case]
    expected = np.stack([warped_by_scipy(channel, inverse[0].numpy()) for channel in x[0].numpy()])
    near(warp(x, inverse, TAPS)[0], expected)


def test_every_row_is_a_function_of_itself():
    x = images(len(CASES))
    together = warp(x, torch.cat(list(CASES.values())), TAPS)
    for row, inverse in enumerate(CASES.values()):
        near(together[row : row + 1], warp(x[row : row + 1], inverse, TAPS))


def test_moves_of_whole_pixels():
    x, square = images(1), images(1, 2, 7, 7)
    assert torch.equal(blit(x, torch.eye(3).double()[None]), x)
    assert torch.equal(blit(x, scale(tensor(-1.0), tensor(1.0))), x.flip(3))
    for quarters in range(4):
        turned = blit(square, rotate(tensor(quarters * math.pi / 2)))
        assert torch.equal(turned, square.rot90(quarters, (2, 3)))
    moved = blit(x, translate(tensor(-3.0), tensor(12.0)))  # right by 3, up by 12, more than the height
    large = np.pad(x[0].numpy(), ((0, 0), (0, 12), (3, 0)), mode="reflect")
    assert np.array_equal(moved[0].numpy(), large[:, 12:, :8])
    both = blit(torch.cat([x, x]), torch.cat([scale(tensor(-1.0), tensor(1.0)), scale(tensor(1.0), tensor(-1.0))]))
    assert torch.equal(both, torch.cat([x.flip(3), x.flip(2)]))


def test_a_wide_image_turns_within_its_frame():
    """What a quarter turn brings in from above and below is mirrored."""
    x = torch.arange(12.0).double().view(1, 1, 2, 6)
    turned = blit(x, rotate(tensor(math.pi / 2)))
    assert turned[0, 0, :, 2:4].tolist() == x[0, 0, :, 2:4].rot90(1).tolist()
    assert set(turned.unique().tolist()) <= set(x.unique().tolist())


def test_resampling_no_motion_and_motion_by_whole_pixels_is_exact():
    x = images(1)
    near(warp(x, torch.eye(3).double()[None], TAPS), x)
    moved = warp(x, translate(tensor(-2.0), tensor(-1.0)), TAPS)  # the content goes right by 2 and down by 1
    near(moved[..., 1:, 2:], x[..., :-1, :-2])
    near(moved[..., 0, 2:], x[..., 1, :-2])  # mirrored at the middle of the border


def test_a_smooth_image_is_read_at_the_right_places():
    """Of slow waves every kind of resampling gives nearly the wave itself, at the place that the map says."""
    size = 32
    centred = torch.arange(size).double() - (size - 1) / 2
    y, x = torch.meshgrid(centred, centred, indexing="ij")

    def wave(u, v):
        return torch.cos(0.15 * u + 0.4) + torch.sin(0.12 * v - 0.2)

    inverse = rotate(tensor(0.3)) @ scale(tensor(0.9), tensor(1.1)) @ translate(tensor(1.7), tensor(-0.6))
    u, v = (inverse[0, k, 0] * x + inverse[0, k, 1] * y + inverse[0, k, 2] for k in (0, 1))
    inside = (u.abs() < 11) & (v.abs() < 11)  # far from the mirrored border
    result = warp(wave(x, y)[None, None], inverse, TAPS)[0, 0]
    assert inside.sum() > 300
    assert (result - wave(u, v))[inside].abs().max() < 0.03
    assert (result - wave(x, y))[inside].abs().max() > 0.3


@settings(max_examples=30, deadline=None)
@given(pads=st.tuples(*[st.integers(0, 15)] * 4))
def test_mirrored_border(pads):
    x, (left, right, top, bottom) = images(1, 1, 5, 4), pads
    expected = np.pad(x[0, 0].numpy(), ((top, bottom), (left, right)), mode="reflect")
    assert np.array_equal(reflect(x, *pads)[0, 0].numpy(), expected)


def test_filter_is_orthogonal():
    """Shifts by two of the filter are orthonormal, so enlarging, then shrinking gives the image back."""
    f = np.asarray(SYM6)
    for shift in range(6):
        product = (f[2 * shift :] * f[: len(f) - 2 * shift]).sum()
        assert product == pytest.approx(float(shift == 0), abs=1e-10)
    assert f.sum() == pytest.approx(math.sqrt(2), abs=1e-10)


def test_sampling_and_warp_are_twice_differentiable():
    x = images(2, 1, 4, 4).requires_grad_()
    grid = 2.4 * torch.rand(2, 3, 5, 2, generator=torch.Generator().manual_seed(0)).double() - 1.2
    assert torch.autograd.gradcheck(lambda v: _Sample.apply(v, grid), x)
    assert torch.autograd.gradgradcheck(lambda v: _Sample.apply(v, grid).pow(3).sum(), x)
    inverse = rotate(tensor(0.7, 2.0)) @ scale(tensor(1.2, 0.6), tensor(0.8, 1.5))
    assert torch.autograd.gradgradcheck(lambda v: warp(v, inverse, TAPS).pow(3).sum(), x)
