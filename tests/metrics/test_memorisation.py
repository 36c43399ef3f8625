"""The data-copying test against scipy and by simulation, and the nearest training images."""

import numpy as np
import pytest
import scipy.stats
import torch
from given import Given, fill, normal, outputs
from PIL import Image

from saddle.errors import InputError
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.metrics.memorisation import CopyTest, mann_whitney_z, nearest_training_images, write_neighbours
from saddle.metrics.sources import ArraySource


@pytest.mark.parametrize("ties", [False, True])
def test_z_equals_scipy(ties):
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=40), draws.normal(size=55) + 0.4
    if ties:
        x, y = x.round(), y.round()
    pairs = sum((a > b) + 0.5 * (a == b) for a in x for b in y)
    p = scipy.stats.mannwhitneyu(x, y, method="asymptotic", use_continuity=False, alternative="greater")
    assert p.statistic == pytest.approx(pairs)
    assert mann_whitney_z(x, y) == pytest.approx(scipy.stats.norm.isf(p.pvalue), rel=1e-9)
    assert mann_whitney_z(y, x) == pytest.approx(-mann_whitney_z(x, y), rel=1e-9)
    assert mann_whitney_z(np.ones(4), np.ones(3)) == 0


def test_copies_are_negative_strangers_positive_and_honest_samples_between():
    train, test = normal(0, 600, 4), normal(1, 200, 4)
    copies = train[:200] + 0.01 * normal(2, 200, 4)
    for fake, low, high in ((copies, -40, -8), (normal(3, 200, 4), -3, 3), (normal(4, 200, 4) * 2.5, 5, 40)):
        found = fill(CopyTest(Given(4), cells=1), train, fake, test)
        assert low < float(found[""]) < high
        assert float(found["_cells"]) == 1


def test_is_standard_normal_for_honest_samples():
    train = normal(5, 500, 3)
    values = [
        float(fill(CopyTest(Given(3), cells=1), train, normal(10 + i, 80, 3), normal(500 + i, 80, 3))[""])
        for i in range(100)
    ]
    assert abs(np.mean(values)) < 0.4 and np.std(values) == pytest.approx(1, abs=0.25)


def test_cells_see_copying_in_one_part_only():
    """Copies in one of two clusters and far points in the other: the mean of two tests, each known."""

    def both(seed: int, scale: float = 1.0) -> torch.Tensor:
        x = normal(seed, 200, 3) * scale
        return torch.cat([x[:100], x[100:] + 100])

    train, test = both(6), both(7)
    fake = torch.cat([train[:100] + 0.01 * normal(9, 100, 3), both(8, 3.0)[100:]])
    gaps = {
        name: torch.cdist(x.double(), train.double()).min(1).values.numpy()
        for name, x in (("fake", fake), ("test", test))
    }
    z = [mann_whitney_z(gaps["fake"][part], gaps["test"][part]) for part in (slice(0, 100), slice(100, 200))]
    assert z[0] < -10 and z[1] > 5
    found = fill(CopyTest(Given(3), cells=2), train, fake, test)
    assert float(found[""]) == pytest.approx((z[0] + z[1]) / 2, rel=1e-6)
    assert float(found["_cells"]) == 2
    # a cell without enough fakes is left out
    found = fill(CopyTest(Given(3), cells=2), train, torch.cat([fake[:100], fake[100:110]]), test)
    assert float(found[""]) == pytest.approx(z[0], rel=1e-6)


def test_wrong_input():
    with pytest.raises(InputError, match="cells=0"):
        CopyTest(Given(), cells=0)
    with pytest.raises(InputError, match="0 test images"):
        fill(CopyTest(Given()), normal(0, 50), normal(1, 50))
    with pytest.raises(InputError, match="no cell has 20"):
        fill(CopyTest(Given(), cells=50), normal(0, 50), normal(1, 50), normal(2, 50))
    with pytest.raises(NotImplementedError, match="reads no test images"):
        from saddle.metrics.kid import KernelDistance

        KernelDistance(Given()).update(outputs(normal(0, 5)), real=True, test=True)


class Flat(FeatureExtractor):
    """Features are the pixels."""

    name, features, classes = "flat", 64, 1
    key = fingerprint = "flat"

    def load(self):
        return torch.nn.Identity()

    def extract(self, network, images):
        flat = images.flatten(1).float()
        return FeatureOutputs(flat, flat[:, :1])


def images(seed: int, n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batch", [3, 7, 100])
def test_nearest_training_images_equal_brute_force(batch):
    train, samples = images(0, 40), images(1, 5)
    gaps = torch.cdist(samples.flatten(1).double(), train.flatten(1).double())
    found, where = nearest_training_images(samples, ArraySource(train, None, "x"), Flat(), k=4, batch=batch)
    assert torch.equal(where, gaps.argsort(1)[:, :4])
    torch.testing.assert_close(found.double(), gaps.sort(1).values[:, :4], rtol=1e-6, atol=0)


def test_picture_has_the_sample_first_and_its_copy_next(tmp_path):
    train = images(2, 30)
    samples = train[[4, 9]].clone()
    samples[1, 0, 0, 0] ^= 1
    distances = write_neighbours(
        tmp_path / "new" / "n.png", samples, ArraySource(train, None, "x"), Flat(), k=2, batch=250
    )
    assert distances[:, 0].tolist() == [0, 1]
    pixels = np.array(Image.open(tmp_path / "new" / "n.png"))[..., 0]
    assert pixels.shape == (2 * 10 + 2, 3 * 10 + 2)  # 2 pixels between the images
    for row, original in enumerate((4, 9)):
        cells = [pixels[2 + 10 * row : 10 + 10 * row, 2 + 10 * c : 10 + 10 * c] for c in range(3)]
        np.testing.assert_array_equal(cells[0], samples[row, 0])
        np.testing.assert_array_equal(cells[1], train[original, 0])
    with pytest.raises(InputError, match="k=31 neighbours of 30"):
        nearest_training_images(samples, ArraySource(train, None, "x"), Flat(), k=31, batch=250)
