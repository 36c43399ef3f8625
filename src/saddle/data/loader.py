"""The endless loader: which images an iteration shows is a function of (seed, images shown) alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from saddle.distributed import Share
from saddle.errors import InputError
from saddle.randomness import generator

Batch = tuple[Tensor, Tensor]


class BatchSizes(Protocol):
    """Batch sizes that change during training, as functions of the iteration alone."""

    def batch_size_at(self, iteration: int) -> int:
        """Real images of each D update of an iteration, over all processes."""

    def images_at(self, iteration: int) -> int:
        """Real images that the iterations before this one have shown, over all processes."""


class Iterations(Sampler[list[int]]):
    """The indices of the images of one iteration after the other, for one process, without end.

    Position p of the stream of shown images is image p % N of the permutation of epoch p // N, so an epoch shows every
    image once and batches straddle epochs. An iteration takes d_steps global batches from the stream; of each, this
    process takes its share.

    Args:
        images: size N of the data set, or the indices [N] of those of its images that are shown.
        seed: of the permutations.
        share: this process's part of a global batch.
        d_steps: global batches of one iteration.
        start: number of iterations done.
        sizes: of the batches; None: always that of `share`.
    """

    def __init__(
        self,
        images: int | Tensor,
        seed: int,
        share: Share,
        d_steps: int = 1,
        start: int = 0,
        sizes: BatchSizes | None = None,
    ):
        self.chosen = images.numpy() if isinstance(images, Tensor) else None
        self.images = len(images) if isinstance(images, Tensor) else images
        self.seed, self.start, self.sizes = seed, start, sizes
        self.share, self.d_steps = share, d_steps
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def __iter__(self) -> Iterator[list[int]]:
        for iteration in count(self.start):
            yield self._indices(iteration).tolist()

    def _indices(self, iteration: int) -> np.ndarray:
        first = iteration * self.d_steps * self.share.batch_size
        if self.sizes is not None:
            first = self.sizes.images_at(iteration)
            self.share = replace(self.share, batch_size=self.sizes.batch_size_at(iteration))
        steps = np.arange(self.d_steps)[:, None] * self.share.batch_size
        positions = (first + steps + np.array(self.share.indices())).ravel()  # in the stream, ascending
        epochs, places = np.divmod(positions, self.images)
        return np.concatenate([self._order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])

    def _order(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch = epoch
            order = torch.randperm(self.images, generator=generator(self.seed, "order", epoch))
            self._permutation = order.numpy() if self.chosen is None else self.chosen[order.numpy()]
        return self._permutation


class Loader:
    """Yields (images [n, C, H, W] of the set's dtype, labels int64 [n]) of one iteration after the other, without end.

    A set in memory is indexed directly; others are decoded by worker processes, in the same order. The batches are in
    pinned memory where there is a GPU.

    It is no torch DataLoader, so Lightning cannot put a sampler of its own into it; and there is nothing to save
    in a checkpoint: the loader starts at the iteration that it is made for.

    Args:
        image_set: an `ImageSet`, or another Dataset with its `__getitems__` and `in_memory`.
        iterations: the indices of each iteration.
        workers: decoding processes for a set that is not in memory; 0 decodes in this process.
    """

    def __init__(self, image_set: Any, iterations: Sampler[list[Any]], workers: int = 0):
        self.image_set, self.iterations = image_set, iterations
        self.workers = 0 if image_set.in_memory else workers

    def __iter__(self) -> Iterator[Batch]:
        if self.workers:
            yield from self._work()
            return
        pin = torch.cuda.is_available()
        for indices in self.iterations:
            images, labels = self.image_set.__getitems__(indices)
            yield (images.pin_memory(), labels.pin_memory()) if pin else (images, labels)

    def _work(self) -> Iterator[Batch]:
        loader: DataLoader[Batch] = DataLoader(
            self.image_set,
            batch_sampler=self.iterations,
            num_workers=self.workers,
            collate_fn=tuple,  # a batch of an ImageSet is whole already
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_outlive_signals,
            generator=torch.Generator(),  # its base seed would otherwise be drawn from the global generator
        )
        try:
            yield from loader
        except InputError as error:  # raised by a worker: torch has put its whole traceback into the message
            raise InputError(str(error).strip().rpartition("InputError: ")[2]) from None

    def state_dict(self) -> dict[str, int]:
        """Nothing; that there is one tells Lightning that the loader can resume within an epoch."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Does nothing."""


def _outlive_signals(_worker: int) -> None:
    """Lets a worker decode on after a signal to the whole job, so that the run can end its iteration and save.

    Ctrl-C and preemption are the main process's to answer. The alarm ends a worker that nobody stops afterwards.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))
