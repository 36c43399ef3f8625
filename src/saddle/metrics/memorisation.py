"""Whether a generator copies its training images: a statistic, and the nearest training images as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from saddle.errors import InputError
from saddle.images import save_grid
from saddle.metrics.base import Features, ImageMetric
from saddle.metrics.features import FeatureExtractor
from saddle.metrics.neighbours import nearest
from saddle.metrics.sources import ImageSource
from saddle.randomness import generator


def mann_whitney_z(x: np.ndarray, y: np.ndarray) -> float:
    """How many standard deviations the number of pairs with x > y is above its expectation, were both alike.

    Mann & Whitney 1947, with the variance for ties (equal values count half). Near standard normal for x and y of one
    distribution; 0 where all values are equal.

    Args:
        x, y: numbers [n] and [m].
    """
    n, m = len(x), len(y)
    ranks = scipy.stats.rankdata(np.concatenate([x, y]))
    pairs = ranks[:n].sum() - n * (n + 1) / 2
    variance = n * m / 12 * (n + m + 1) * scipy.stats.tiecorrect(ranks)
    return float((pairs - n * m / 2) / np.sqrt(variance)) if variance > 0 else 0.0


class CopyTest(ImageMetric):
    """The data-copying statistic C_T (Meehan, Chaudhuri & Dasgupta 2020, arXiv:2004.05675, section 3).

    In each cell of a k-means partition of the training features, a Mann-Whitney test compares the distances to the
    nearest training image of the fakes with those of the test images; C_T is the mean of its z-values over the cells,
    weighted with their shares of the test images. Cells with too few fakes are left out.

    Below -3: fakes are nearer to the training images than unseen real images are, which means copying. Above 3: they
    are farther away. Known values: near standard normal for fakes of the data's own distribution (at one cell exactly).

    Args:
        cells: number of clusters of the training features, at least 1.
        least: a cell needs at least so many fakes and test images, at least 1.
        seed: of k-means.
    """

    def __init__(self, extractor: FeatureExtractor, cells: int = 10, least: int = 20, seed: int = 0, **kwargs: Any):
        super().__init__(extractor, Features(), test=Features(), **kwargs)
        if cells < 1 or least < 1:
            raise InputError(f"ct: cells={cells}, least={least}; choose at least 1 of each")
        self.cells, self.least, self.seed = cells, least, seed

    def compute(self) -> dict[str, Tensor]:
        """The statistic, and ``_cells``, the number of cells that it is a mean of; float64 scalars.

        InputError without test images, or where no cell has enough fakes and test images.
        """
        train = self.gathered("real", least=self.cells)
        fake, test = (self.gathered(side, least=self.least) for side in ("fake", "test"))
        state = int(torch.randint(2**31, (), generator=generator(self.seed, "ct")))
        clusters = KMeans(self.cells, n_init=1, random_state=state).fit(train.float().cpu().numpy())
        cells = {side: clusters.predict(x.float().cpu().numpy()) for side, x in (("fake", fake), ("test", test))}
        gaps = {side: nearest(x, train, 1)[0][:, 0].cpu().numpy() for side, x in (("fake", fake), ("test", test))}
        values, weights = [], []
        for cell in range(self.cells):
            inside = {side: gaps[side][cells[side] == cell] for side in gaps}
            if min(len(x) for x in inside.values()) >= self.least:
                values.append(mann_whitney_z(inside["fake"], inside["test"]))
                weights.append(len(inside["test"]))
        if not values:
            raise InputError(
                f"ct: no cell has {self.least} fake and {self.least} test images: score more images, or choose "
                "fewer cells"
            )
        score = torch.tensor(np.average(values, weights=weights), dtype=torch.float64)
        return {"": score, "_cells": torch.tensor(float(len(values)), dtype=torch.float64)}


@torch.no_grad()
def nearest_training_images(
    samples: Tensor, source: ImageSource, extractor: FeatureExtractor, k: int, batch: int
) -> tuple[Tensor, Tensor]:
    """The k training images whose features are nearest to those of each sample; one pass over the images.

    Args:
        samples: uint8 [N, C, H, W].
        source: the training images, at least k.
        k: how many, at least 1.
        batch: images per pass.

    Returns:
        distances float32 [N, k] in ascending order, and positions in the source int64 [N, k].
    """
    if not 1 <= k <= len(source):
        raise InputError(f"k={k} neighbours of {len(source)} images: choose from 1 to {len(source)}")
    queries = extractor(samples).features
    distances = torch.full((len(samples), 0), torch.inf, device=samples.device)
    places = torch.zeros((len(samples), 0), dtype=torch.int64, device=samples.device)
    for start in range(0, len(source), batch):
        images = source.read(start, min(start + batch, len(source)))[0].to(samples.device)
        found, where = nearest(queries, extractor(images).features, min(k, len(images)))
        distances, places = torch.cat([distances, found], 1), torch.cat([places, where + start], 1)
        distances, best = distances.topk(min(k, distances.shape[1]), 1, largest=False)
        places = places.gather(1, best)
    return distances.sqrt(), places


def write_neighbours(
    path: Path, samples: Tensor, source: ImageSource, extractor: FeatureExtractor, k: int, batch: int
) -> Tensor:
    """Write a PNG with a sample in the first column of each row and its nearest training images right of it.

    Arguments and the distances that are returned are those of `nearest_training_images`.
    """
    distances, places = nearest_training_images(samples, source, extractor, k, batch)
    cells = []
    for sample, row in zip(samples.cpu(), places.tolist(), strict=True):
        cells += [sample, *(source.read(i, i + 1)[0][0] for i in row)]
    save_grid(torch.stack(cells).float() / 127.5 - 1, k + 1, path)
    return distances
