"""What each score says of real images that are disturbed in a known way.

    python benchmarks/disturbed_images.py [--images 10000]

Fashion-MNIST, with the features of the repository's classifier. The reference are the first images of the training set;
what is scored are other training images, disturbed, so that the first row is real against real. Writes
benchmarks/results/disturbed_images.json, the table in docs/metrics.md, and docs/images/disturbed_images.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from runs import IMAGES, ROOT, keep
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from saddle.data.idx import FashionMNIST
from saddle.metrics.evaluator import Evaluator
from saddle.metrics.features import ClassifierExtractor
from saddle.metrics.frechet import FrechetDistance
from saddle.metrics.kid import KernelDistance
from saddle.metrics.memorisation import CopyTest
from saddle.metrics.neighbours import DensityCoverage, PrecisionRecall
from saddle.metrics.prd import PrecisionRecallCurve
from saddle.metrics.scores import ClassHistogram, ClassifierScore
from saddle.metrics.sources import ArraySource
from saddle.randomness import generator

DOCUMENT = ROOT / "docs" / "metrics.md"
BEGIN, END = "<!-- disturbed images: begin -->", "<!-- disturbed images: end -->"
COLUMNS = {
    "frechet": "Frechet",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "prd_f8": "PRD F8",
    "prd_f1_8": "PRD F1/8",
    "classifier_score": "classifier score",
    "classes": "classes",
    "ct": "C_T",
}


def main() -> None:
    """Score every disturbance, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="on each side, at most 10000")
    count = parser.parse_args().images
    data = FashionMNIST(resolution=32, channels=1, classes=10, batch_size=1, flip=False, path=str(ROOT / "data"))
    data.prepare_data()
    data.setup()
    assert data.test_set is not None
    reference = read(data.train_set, range(count), "the reference")
    unseen = read(data.test_set, range(min(count, len(data.test_set))), "the test set")
    pool = read(data.train_set, range(count, len(data.train_set)), "other training images")
    scoring = Evaluator(metrics(count))
    disturbed = {name: choose(pool) for name, choose in disturbances(count, reference).items()}
    draw(disturbed)
    rows: dict[str, dict[str, float]] = {}
    for name, images in disturbed.items():
        found = scoring.compare(reference, images, test=unseen).scores
        rows[name] = {column: found[f"eval/{column}"] for column in COLUMNS}
        print(line(name, rows[name]), flush=True)
    command = "python benchmarks/disturbed_images.py" + (f" --images {count}" if count != 10_000 else "")
    keep("disturbed_images", {"command": command, "images": count, "rows": rows})
    document(rows, count, command)


def read(images: Any, rows: range, name: str) -> ArraySource:
    """A part of a data set in memory."""
    pixels, labels = images.__getitems__(rows)
    return ArraySource(pixels, labels, name)


def metrics(count: int) -> dict[str, Any]:
    """The metrics of the table, on one extractor."""
    extractor = ClassifierExtractor("fashion_mnist")
    return {
        "frechet": FrechetDistance(extractor),
        "kid": KernelDistance(extractor, subset_size=min(1000, count)),
        "precision_recall": PrecisionRecall(extractor),
        "density_coverage": DensityCoverage(extractor),
        "prd": PrecisionRecallCurve(extractor),
        "classifier_score": ClassifierScore(extractor),
        "class_histogram": ClassHistogram(extractor),
        "ct": CopyTest(extractor),
    }


# ------------------------------------------------------------------------------------------------------- disturbances


def disturbances(count: int, reference: ArraySource) -> dict[str, Callable[[ArraySource], ArraySource]]:
    """By name: from the pool of real images to `count` disturbed ones."""

    def pixelwise(change: Callable[[Tensor], Tensor]) -> Callable[[ArraySource], ArraySource]:
        def choose(pool: ArraySource) -> ArraySource:
            changed = change(pool.images[:count].float()).round().clamp(0, 255).to(torch.uint8)
            return ArraySource(changed, None, "disturbed images")

        return choose

    found = {"none: real against real": pixelwise(lambda x: x)}
    for sigma in (0.05, 0.1, 0.2):
        found[f"Gaussian noise, sigma {sigma}"] = pixelwise(lambda x, s=sigma: x + 255 * s * normal(x))
    for sigma in (0.5, 1.0, 2.0):
        found[f"Gaussian blur, sigma {sigma} pixels"] = pixelwise(lambda x, s=sigma: gaussian_blur(x, 13, s))
    for strength in (1.0, 2.0, 4.0):
        found[f"swirl, angle {strength:g} at the centre"] = pixelwise(lambda x, s=strength: swirl(x, s))
    for share in (0.01, 0.05, 0.2):
        found[f"salt and pepper, {share:.0%} of the pixels"] = pixelwise(lambda x, p=share: salt_and_pepper(x, p))
    for classes in (9, 5, 1):
        found[f"only {classes} of the 10 classes"] = lambda pool, c=classes: of_classes(pool, c, count)
    found["one image per class, repeated"] = lambda pool: one_per_class(pool, count)
    found["copies of the reference"] = lambda pool: ArraySource(reference.images, None, "copies")
    return found


def normal(x: Tensor) -> Tensor:
    """Standard normal numbers of the shape of x."""
    return torch.randn(x.shape, generator=generator(0, "disturbed/noise"))


def swirl(x: Tensor, strength: float, radius: float = 0.5) -> Tensor:
    """Rotated by strength * exp(-(r / radius)^2) radians at the distance r of the centre; 1 is half the image."""
    axis = torch.linspace(-1, 1, x.shape[-1])
    down, right = torch.meshgrid(axis, axis, indexing="ij")
    angle = strength * (-(down.square() + right.square()) / radius**2).exp()
    source = torch.stack([angle.cos() * right - angle.sin() * down, angle.sin() * right + angle.cos() * down], 2)
    return F.grid_sample(x, source.expand(len(x), -1, -1, -1), align_corners=True)


def salt_and_pepper(x: Tensor, share: float) -> Tensor:
    """A share of the pixels is black or white, at random."""
    u = torch.rand(x.shape, generator=generator(0, "disturbed/salt"))
    return x.masked_fill(u < share / 2, 0.0).masked_fill(u > 1 - share / 2, 255.0)


def of_classes(pool: ArraySource, classes: int, count: int) -> ArraySource:
    """Images of the first classes alone; in turn again where there are too few."""
    assert pool.labels is not None
    rows = torch.nonzero(pool.labels < classes)[:, 0]
    return ArraySource(pool.images[rows[torch.arange(count) % len(rows)]], None, "a part of the classes")


def one_per_class(pool: ArraySource, count: int) -> ArraySource:
    """The first image of each class, all equally often."""
    assert pool.labels is not None
    first = torch.stack([torch.nonzero(pool.labels == label)[0, 0] for label in range(10)])
    return ArraySource(pool.images[first[torch.arange(count) % 10]], None, "one image per class")


# ------------------------------------------------------------------------------------------------- picture and table


def draw(disturbed: dict[str, ArraySource], columns: int = 16) -> None:
    """Write a picture with the first images of each disturbance in a row."""
    figure, rows = plt.subplots(len(disturbed), 1, figsize=(9, 0.43 * len(disturbed)), layout="constrained")
    for axes, (name, source) in zip(rows, disturbed.items(), strict=True):
        strip = torch.cat(list(source.images[:columns, 0]), 1)
        axes.imshow(strip, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(IMAGES / "disturbed_images.png", dpi=120, bbox_inches="tight")
    plt.close(figure)


def line(name: str, scores: dict[str, float]) -> str:
    """A row of the table."""
    cells = [f"{scores[column]:.4g}" for column in COLUMNS]
    return f"| {name} | " + " | ".join(cells) + " |"


def document(rows: dict[str, dict[str, float]], count: int, command: str) -> None:
    """Put the table between its marks in docs/metrics.md."""
    columns = "| disturbance | " + " | ".join(COLUMNS.values()) + " |"
    head = ["", f"`{command}`: {count:,} images on each side.", "", columns]
    table = [*head, "|---" + "|---:" * len(COLUMNS) + "|", *(line(name, scores) for name, scores in rows.items()), ""]
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(before + "\n".join([BEGIN, *table, END]) + after)


if __name__ == "__main__":
    main()
