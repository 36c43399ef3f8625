"""Two domains of images of which no two are known to show the same: what CycleGAN learns from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from saddle.config.folders import find_images
from saddle.data.base import DataModule, Split
from saddle.data.digits import TRAINING
from saddle.data.files import first_with
from saddle.data.images import ArrayImages, FileImages
from saddle.data.loader import Iterations, Loader
from saddle.data.sets import ImageSet
from saddle.distributed import Share
from saddle.errors import InputError
from saddle.randomness import generator

A, B = 0, 1
DOMAINS = ("A", "B")


class Unpaired(DataModule):
    """Base of the data of two domains, A and B: a subclass says how each is read.

    To a model that translates (it has a method `translate`) the loader gives stacks: an image of A on top of one of B,
    [C, 2L, L], uint8; each domain goes through its own random order, so what meets is chance. To any other model
    it gives images of B.

    Args:
        load: pixels of a side of the training images in a stack, of which the model cuts random squares of
            `resolution` pixels; None for `resolution`.
        domains: 2; stated for the configuration's check.
        **options: of `DataModule`.

    Attributes:
        train_set: the training images of B.
        test_set: the test images of B, or None.
        paired: whether test image number i of A and that of B show the same.
        domains: the training images of A and of B as the stacks have them.
        references: those at `resolution`, which translations into A and into B are compared with.
        to_translate: the images of A and of B to translate: the test images, else the training images.
    """

    paired = False
    domains: tuple[ImageSet, ImageSet]
    references: tuple[ImageSet, ImageSet]
    to_translate: tuple[ImageSet, ImageSet]

    def __init__(self, *, load: int | None = None, domains: int = 2, **options: Any):
        super().__init__(**options)
        if domains != 2:
            raise InputError(f"data.domains={domains}: there are two, A and B; leave it 2")
        if load is not None and load < self.resolution:
            raise InputError(f"data.load={load}: give at least data.resolution={self.resolution}, or null")
        self.load = load or self.resolution

    @abstractmethod
    def read_domain(self, domain: int, resolution: int) -> tuple[Split, Split | None]:
        """The training part of a domain (0 is A), and its test part where there is one, at a resolution."""

    def read(self) -> tuple[Split, Split | None]:
        return self.read_domain(B, self.resolution)

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "domains"):
            return
        super().setup(stage)
        train, test = self.read_domain(A, self.resolution)
        self.references = self.domains = self.to_translate = self._load(train), self.train_set
        if test is not None and self.test_set is not None:
            self.to_translate = self._load(test), self.test_set
        if self.load > self.resolution:
            a, b = (self._load(self.read_domain(domain, self.load)[0]) for domain in (A, B))
            self.domains = a, b

    def for_classifier(self, images: Tensor, domain: int) -> Tensor:
        """Images of a domain as the data's classifier knows them: [n, C, H, W] in [-1, 1], same shape and range."""
        return images

    def train_dataloader(self) -> Loader:
        """The endless loader of pairs or, for a model that does not translate, of images of B."""
        assert self.trainer is not None
        model: Any = self.trainer.lightning_module
        if not hasattr(model, "translate"):
            return super().train_dataloader()
        sizes = len(self.domains[A]), len(self.domains[B])
        order = Pairings(sizes, model.seed, model.share, model.rules.d_steps, start=model.iteration)
        return Loader(Pairs(*self.domains), order, self.workers)


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Every image of A with every image of B: pair (i, j) is image i of A on top of image j of B.

    Args:
        a, b: images of one size; the labels of a pair are 0.
    """

    def __init__(self, a: ImageSet, b: ImageSet):
        self.a, self.b = a, b
        self.in_memory = a.in_memory and b.in_memory

    def __getitems__(self, indices: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        i, j = zip(*indices, strict=True)
        tops, bottoms = self.a.__getitems__(i)[0], self.b.__getitems__(j)[0]
        return torch.cat([tops, bottoms], -2), torch.zeros(len(i), dtype=torch.int64)


class Pairings(Sampler[list[tuple[int, int]]]):
    """The pairs of one iteration after the other, for one process, without end: the number in A and that in B of each.

    Each domain's images come in the order that `Iterations` gives to them alone, so every epoch of a domain shows each
    of its images once, whatever the size of the other one.

    Args:
        sizes: images of A and of B.
        seed: of both orders, which differ.
        share: this process's part of a global batch.
        d_steps: global batches of one iteration.
        start: number of iterations done.
    """

    def __init__(self, sizes: tuple[int, int], seed: int, share: Share, d_steps: int = 1, start: int = 0):
        # no run has a negative seed, so the order of B is that of no run's A
        self.orders = [
            Iterations(size, own, share, d_steps, start) for size, own in zip(sizes, (seed, -1 - seed), strict=True)
        ]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for tops, bottoms in zip(*self.orders, strict=True):
            yield list(zip(tops, bottoms, strict=True))


class UnpairedFolder(Unpaired):
    """The images below data.path/trainA and data.path/trainB; testA and testB where they are.

    This is the layout of the data sets of CycleGAN's authors. There are no labels, so data.classes is 0.
    """

    def prepare_data(self) -> None:
        if first_with([self.path], ["trainA", "trainB"]) is None:
            raise InputError(
                f"data.path={self.path}: give a folder with trainA and trainB, and testA and testB if there are test "
                "images, each with the images of a domain"
            )

    def read_domain(self, domain: int, resolution: int) -> tuple[Split, Split | None]:
        train, test = (self.path / f"{part}{DOMAINS[domain]}" for part in ("train", "test"))
        return self._split(train, resolution), self._split(test, resolution) if test.is_dir() else None

    def _split(self, folder: Path, resolution: int) -> Split:
        return Split(FileImages(find_images(folder), resolution, self.channels, str(folder)))


class UnpairedDigits(Unpaired):
    """scikit-learn's digits in two renderings: white on black (A), and inverted and coloured (B).

    A digit of intensity g from 0 to 1 has the colour g everywhere in A, and (1 - g) `paper` + g `ink` in B. Of the
    1,500 training digits those of even number are in A, the others in B, so that no digit is in both. The 297 test
    digits are in both, in the same order, so that translations can be compared with what they should be.

    Args:
        paper, ink: colours of B's background and of its strokes, three numbers from 0 to 255.
        **options: of `Unpaired`.

    Raises:
        InputError: for other than three channels, or for two equal colours.
    """

    paired = True

    def __init__(self, *, paper: Sequence[int], ink: Sequence[int], **options: Any):
        super().__init__(**options)
        if self.channels != 3:
            raise InputError(f"data.channels={self.channels}: data=unpaired_digits is coloured; leave it 3")
        colours = np.array([paper, ink], np.float64)
        if colours.shape != (2, 3) or (colours < 0).any() or (colours > 255).any() or (colours[0] == colours[1]).all():
            raise InputError("data.paper and data.ink: give two different colours of three numbers from 0 to 255")
        self.paper, self.ink = colours

    def read_domain(self, domain: int, resolution: int) -> tuple[Split, Split | None]:
        data = load_digits()
        grey = data.images[:, None] / 16
        colours = (np.zeros(3), np.full(3, 255.0)) if domain == A else (self.paper, self.ink)
        low, high = (colour[:, None, None] for colour in colours)
        images = np.rint((1 - grey) * low + grey * high).astype(np.uint8)
        name = f"scikit-learn's digits, domain {DOMAINS[domain]}"
        train, test = (
            Split(ArrayImages(images[rows], resolution, name), data.target[rows])
            for rows in (slice(domain, TRAINING, 2), slice(TRAINING, None))
        )
        return train, test

    def for_classifier(self, images: Tensor, domain: int) -> Tensor:
        """Images of B back to white on black: each colour's intensity by its projection on the line paper - ink."""
        if domain == A:
            return images
        paper, ink = (torch.from_numpy(colour / 127.5 - 1).to(images) for colour in (self.paper, self.ink))
        way = ink - paper
        shares = torch.einsum("nchw,c->nhw", images - paper[:, None, None], way) / way.square().sum()
        return (shares.clamp(0, 1) * 2 - 1)[:, None].expand(-1, 3, -1, -1)


class UnpairedNoise(Unpaired):
    """Random images, for benchmarks and tests: of independent uniform pixels, dark ones in A, bright ones in B.

    Args:
        size: images of each domain.
        seed: of the pixels.
        **options: of `Unpaired`.
    """

    def __init__(self, *, size: int, seed: int, **options: Any):
        super().__init__(**options)
        self.size, self.seed = size, seed

    def read_domain(self, domain: int, resolution: int) -> tuple[Split, Split | None]:
        shape = (self.size, self.channels, resolution, resolution)
        draws = generator(self.seed, "unpaired noise", domain)
        pixels = 128 * domain + torch.randint(128, shape, dtype=torch.int64, generator=draws)
        labels = torch.arange(self.size) % self.classes if self.classes else None
        return Split(ArrayImages(pixels.byte().numpy(), resolution, "data=unpaired_noise"), labels), None
