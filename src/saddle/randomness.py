"""Random numbers as a function of (seed, key, position), never of history or of the process that asks.

A training run draws its latents, labels, flips, augmentations and interpolation weights from `Draws`: every process
draws the numbers of the whole global batch and keeps its own rows. So one process and many see the same numbers, and
a run that is resumed in the middle of an epoch needs no stored generator state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_BLOCK = 256  # samples that share one generator outside training; any chunk of samples is cut from whole blocks


@dataclass(frozen=True)
class Rows:
    """The rows [start, stop) of a batch of `total` rows that is spread over the processes."""

    start: int
    stop: int
    total: int

    def __len__(self) -> int:
        return self.stop - self.start


def generator(seed: int, *key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator whose state is a hash of `seed` and `key`."""
    text = "/".join(str(part) for part in (seed, *key))
    state = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
    return torch.Generator(device=device).manual_seed(state)


@dataclass
class Draws:
    """The random numbers of one stream of one iteration, cut to the rows of this process.

    Two objects with the same (seed, iteration, stream) give the same numbers to the same sequence of calls.

    Args:
        seed: the run's seed.
        iteration: number of finished iterations.
        stream: what the numbers are for, e.g. ``"discriminator/0"``.
        rows: the rows of the global batch that this process holds.
        device: where the numbers are needed. A CPU and a GPU draw different numbers.
        dtype: floating point type of `normal` and `uniform`; the numbers are drawn in float32, so that a run in
            float64 sees the same ones.
    """

    seed: int
    iteration: int
    stream: str
    rows: Rows
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32

    @cached_property
    def _generator(self) -> torch.Generator:
        return generator(self.seed, self.iteration, self.stream, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers [rows, *shape]."""
        size = (self.rows.total, *shape)
        return self._cut(torch.randn(size, generator=self._generator, device=self.device, dtype=torch.float32))

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), [rows, *shape]."""
        size = (self.rows.total, *shape)
        return self._cut(torch.rand(size, generator=self._generator, device=self.device, dtype=torch.float32))

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform integers in [0, high), int64 [rows, *shape]."""
        size = (self.rows.total, *shape)
        return self._cut(torch.randint(high, size, generator=self._generator, device=self.device))

    def _cut(self, numbers: Tensor) -> Tensor:
        numbers = numbers[self.rows.start : self.rows.stop]
        return numbers.to(self.dtype) if numbers.is_floating_point() else numbers


def rows_normal(seed: int, stream: str, start: int, stop: int, *shape: int) -> Tensor:
    """Standard normal numbers of the samples [start, stop): float32 [stop - start, *shape], each sample's its own."""
    size, dtype = (_BLOCK, *shape), torch.float32
    return _blocks(start, stop, lambda block: torch.randn(size, generator=generator(seed, stream, block), dtype=dtype))


def rows_uniform(seed: int, stream: str, start: int, stop: int, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1) of the samples [start, stop): float32 [stop - start, *shape]."""
    size, dtype = (_BLOCK, *shape), torch.float32
    return _blocks(start, stop, lambda block: torch.rand(size, generator=generator(seed, stream, block), dtype=dtype))


def rows_integers(seed: int, stream: str, start: int, stop: int, high: int) -> Tensor:
    """Uniform integers in [0, high) of the samples [start, stop): int64 [stop - start]."""
    return _blocks(start, stop, lambda block: torch.randint(high, (_BLOCK,), generator=generator(seed, stream, block)))


def _blocks(start: int, stop: int, draw: Callable[[int], Tensor]) -> Tensor:
    if stop <= start:
        return draw(0)[:0]
    first = start // _BLOCK
    numbers = torch.cat([draw(block) for block in range(first, (stop - 1) // _BLOCK + 1)])
    return numbers[start - first * _BLOCK : stop - first * _BLOCK]


class Numbers(Protocol):
    """A stream of random numbers for the rows of one batch; `Draws` is one, `SampleDraws` another."""

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers [rows, *shape]."""
        ...

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), [rows, *shape]."""
        ...


class SampleDraws:
    """The random numbers of the samples [start, stop) outside training: each sample's own, whatever the chunk.

    Args:
        seed: of the samples.
        stream: what the numbers are for.
        start, stop: which samples.
    """

    def __init__(self, seed: int, stream: str, start: int, stop: int):
        self.seed, self.stream, self.start, self.stop, self._calls = seed, stream, start, stop, 0

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float32 [stop - start, *shape]."""
        return rows_normal(self.seed, self._next(), self.start, self.stop, *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), float32 [stop - start, *shape]."""
        return rows_uniform(self.seed, self._next(), self.start, self.stop, *shape)

    def _next(self) -> str:
        self._calls += 1
        return f"{self.stream}/{self._calls}"


@dataclass
class Concatenated:
    """Two streams one after the other: for real and generated images that go through a network together."""

    first: Numbers
    second: Numbers

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers [rows of both, *shape]."""
        return torch.cat([self.first.normal(*shape), self.second.normal(*shape)])

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), [rows of both, *shape]."""
        return torch.cat([self.first.uniform(*shape), self.second.uniform(*shape)])


_layer_noise: ContextVar[Numbers | None] = ContextVar("layer_noise", default=None)


@contextmanager
def layer_noise_from(numbers: Numbers) -> Iterator[None]:
    """Layers that add noise (StyleGAN) or drop units draw from `numbers` inside, in the order of the layers."""
    token = _layer_noise.set(numbers)
    try:
        yield
    finally:
        _layer_noise.reset(token)


def call_with_noise(numbers: Numbers, network: Callable[..., T], *inputs: Tensor, **options: Any) -> T:
    """What a network makes of its inputs; layers that add noise or drop units draw from `numbers`."""
    with layer_noise_from(numbers):
        return network(*inputs, **options)


def layer_noise(x: Tensor, *shape: int) -> Tensor:
    """Standard normal numbers for a layer with input `x` [rows, ...]: [rows, *shape] of x's type and device."""
    return _current().normal(*shape).to(x)


def layer_uniform(x: Tensor, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1) for a layer with input `x` [rows, ...]: [rows, *shape] of x's type and device."""
    return _current().uniform(*shape).to(x)


def _current() -> Numbers:
    numbers = _layer_noise.get()
    if numbers is None:
        raise RuntimeError("a layer draws noise outside `layer_noise_from`, which says where the numbers come from")
    return numbers
