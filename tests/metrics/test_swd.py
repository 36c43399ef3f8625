"""The sliced Wasserstein distance: the pyramid against scipy, the distance against closed forms."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from saddle.errors import InputError
from saddle.metrics.features import FeatureOutputs
from saddle.metrics.swd import SlicedWasserstein, cut_patches, describe, laplacian_pyramid, sliced_wasserstein
from saddle.randomness import Rows, generator


def noise(seed: int, n: int, channels: int = 3, size: int = 32) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=draws)


def score(real: torch.Tensor, fake: torch.Tensor, **options) -> dict[str, float]:
    metric = SlicedWasserstein(**{"patches": 16, "projections": 64, **options})
    for images, is_real in ((real, True), (fake, False)):
        for batch in images.split(7):
            metric.update(batch, real=is_real)
    return {name: float(x) for name, x in metric.compute().items()}


@pytest.mark.parametrize(("size", "heights"), [(64, [64, 32, 16]), (50, [50, 25]), (31, [31]), (16, [16])])
def test_pyramid_equals_the_authors_filters(size, heights):
    images = noise(0, 2, 1, size).double()
    found = laplacian_pyramid(images)
    assert [level.shape[-1] for level in found] == heights
    line = np.array([1, 4, 6, 4, 1]) / 16
    current = images[0, 0].numpy()
    for level in found[:-1]:
        coarse = scipy.ndimage.convolve(current, np.outer(line, line), mode="mirror")[::2, ::2]
        spread = np.zeros_like(current)
        spread[::2, ::2] = coarse
        fine = scipy.ndimage.convolve(spread, 4 * np.outer(line, line), mode="mirror")
        np.testing.assert_allclose(level[0, 0], current - fine, atol=1e-9)
        current = coarse
    np.testing.assert_allclose(found[-1][0, 0], current, atol=1e-9)


def test_patches_are_pieces_of_their_images():
    images = torch.arange(3 * 2 * 20 * 24).view(3, 2, 20, 24)
    patches = cut_patches(images, 50, generator(0, "x"))
    assert patches.shape == (150, 2, 7, 7)
    for i in range(0, 150, 13):
        first = int(patches[i, 0, 0, 0])
        image, y, x = first // (2 * 20 * 24), first % (20 * 24) // 24, first % 24
        assert image == i // 50 and torch.equal(patches[i], images[image, :, y : y + 7, x : x + 7])
    corners = {(int(p[0, 0, 0]) % 480 // 24, int(p[0, 0, 0]) % 24) for p in cut_patches(images, 3000, generator(1))}
    assert corners == {(y, x) for y in range(14) for x in range(18)}  # all places, none outside
    described = describe(patches.double()).view(150, 2, 49)
    torch.testing.assert_close(described.mean((0, 2)), torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(described.std((0, 2), correction=0), torch.ones(2, dtype=torch.float64))


def test_distance_has_closed_forms():
    x = torch.randn(400, 5, generator=generator(2), dtype=torch.float64)
    assert float(sliced_wasserstein(x, x[torch.randperm(400, generator=generator(3))], 50, generator(4))) < 1e-12
    # in one dimension every direction is +-1: a shift is the distance itself
    assert float(sliced_wasserstein(x[:, :1], x[:, :1] + 0.7, 40, generator(5))) == pytest.approx(0.7)
    # a shift s in d dimensions: |s| E|u_1|, on the sphere of R^3 half the length
    y = x[:, :3]
    found = sliced_wasserstein(y, y + torch.tensor([3.0, 0, 4.0]), 4_000, generator(6))
    assert float(found) == pytest.approx(2.5, rel=0.04)
    # against scipy, direction by direction
    one = sliced_wasserstein(x, 2 * x, 1, generator(7))
    direction = torch.nn.functional.normalize(torch.randn(1, 5, generator=generator(7)), dim=1).double()[0]
    expected = scipy.stats.wasserstein_distance((x @ direction).numpy(), (2 * x @ direction).numpy())
    assert float(one) == pytest.approx(expected, rel=1e-6)


def test_metric_tells_textures_apart_and_names_its_levels():
    rough = noise(1, 60)
    smooth = torch.nn.functional.interpolate(noise(2, 60, size=8).float(), (32, 32), mode="bilinear").to(torch.uint8)
    same, other = score(rough, noise(3, 60), patches=64), score(rough, smooth, patches=64)
    assert set(same) == {"", "_32", "_16"}
    assert same[""] == pytest.approx((same["_32"] + same["_16"]) / 2)
    assert 0 < 2 * same[""] < other[""]
    assert score(rough, noise(3, 60), patches=64) == same
    assert score(rough, noise(3, 60), patches=64, seed=1) != same
    assert set(score(noise(1, 9, 1, 16), noise(2, 5, 1, 16))) == {"", "_16"}


def test_keeps_an_even_part_of_many_images_in_any_batches():
    images = noise(4, 25, 1, 16)
    for batches in ([25], [10, 10, 5], [1] * 25):
        metric, start = SlicedWasserstein(images=10), 0
        for size in batches:
            rows = Rows(start, start + size, 25)
            part = images[start : start + size]
            metric.update(FeatureOutputs(part, part), True, rows=rows)
            start += size
        assert torch.equal(metric.gathered("real"), images[[i for i in range(25) if (i + 1) * 10 // 25 > i * 10 // 25]])
    alone = SlicedWasserstein(images=10)
    for part in images.split(7):
        alone.update(part, real=True)
    assert torch.equal(alone.gathered("real"), images[:10])


def test_wrong_input():
    with pytest.raises(InputError, match="images=1"):
        SlicedWasserstein(images=1)
    with pytest.raises(InputError, match="16 x 16"):
        score(noise(0, 4, 1, 12), noise(1, 4, 1, 12))
    with pytest.raises(InputError, match="float32"):
        SlicedWasserstein().update(torch.zeros(2, 1, 16, 16), real=True)
    with pytest.raises(InputError, match="1 fake images"):
        score(noise(0, 4), noise(1, 1))
