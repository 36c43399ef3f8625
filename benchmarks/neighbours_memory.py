"""The peak of memory of precision and recall on as many images as are published, and the time it takes.

    python benchmarks/neighbours_memory.py [--images 50000] [--features 2048] [--rows 2048]

Random features of real and fake images go through the metric as the evaluator hands them over, in batches of 250. The
peak is that of the whole process, with Python and the libraries. With `--rows` each pass over the distances ends after
so many images against all others: the peak is the same, as every block of rows takes the place of the one before, and
the scores mean nothing. Writes benchmarks/results/neighbours_memory.json.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time

import torch
from runs import keep
from torch import Tensor, nn

from saddle.metrics import neighbours
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.randomness import generator

BATCH = 250


class Sizes(FeatureExtractor):
    """No network: the features are given."""

    name = key = fingerprint = "given"
    classes = 0

    def __init__(self, features: int):
        super().__init__()
        self.features = features

    def load(self) -> nn.Module:
        """Nothing to load."""
        raise NotImplementedError

    def extract(self, network: nn.Module, images: Tensor) -> FeatureOutputs:
        """No image is extracted."""
        raise NotImplementedError


def peak() -> float:
    """The most memory that this process has held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000, help="on each side")
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--rows", type=int, help="images whose neighbours are looked for; all where it is not given")
    options = parser.parse_args()
    if options.rows:
        whole = neighbours.distance_blocks
        blocks = -(-options.rows // neighbours.BLOCK) * -(-options.images // neighbours.BLOCK)
        neighbours.distance_blocks = lambda *each: itertools.islice(whole(*each), blocks)
    metric = neighbours.PrecisionRecall(Sizes(options.features))
    empty = peak()
    for real in (True, False):
        draws = generator(0, "neighbours", real)
        for start in range(0, options.images, BATCH):
            count = min(BATCH, options.images - start)
            features = torch.randn(count, options.features, generator=draws).relu()
            metric.update(FeatureOutputs(features, features[:, :0]), real)
    held = peak()
    start = time.perf_counter()
    scores = {name: float(x) for name, x in metric.compute().items()}
    record = {
        **vars(options),
        "threads": torch.get_num_threads(),
        "peak_gb": {"libraries": empty, "with the features": held, "all": peak()},
        "seconds": time.perf_counter() - start,
        "scores": None if options.rows else scores,
    }
    print(record)
    keep("neighbours_memory", record)


if __name__ == "__main__":
    main()
