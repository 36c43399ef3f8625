"""Several processes compute what one would: differentiable collectives, one flat gradient reduction, shares of a batch.

The convention behind every function here: each process computes the same global loss from gathered logits, a
collective's backward is the exact adjoint of its forward (so the gradients of all processes' losses add up), and the
gradients of the parameters are averaged. Hence the averaged gradient is the gradient of the global loss, also for
losses that couple the samples of a batch. The collectives are differentiable any number of times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from saddle.errors import InputError
from saddle.randomness import Rows


def is_distributed() -> bool:
    """Whether more than one process takes part."""
    return world_size() > 1


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _AllReduce.apply(grads[0])


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = slice(rank() * len(x), (rank() + 1) * len(x))
        x = x.contiguous()
        pieces = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(pieces, x)
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _AllReduce.apply(grads[0])[ctx.rows]


def all_reduce(x: Tensor) -> Tensor:
    """Sum of `x` over the processes, same shape, differentiable any number of times."""
    return _AllReduce.apply(x) if is_distributed() else x


def all_gather(x: Tensor) -> Tensor:
    """The rows of all processes: [b, ...] to [processes * b, ...], differentiable; every process must hold b rows."""
    return _AllGather.apply(x) if is_distributed() else x


def average_gradients(parameters: Iterable[Tensor], riders: Tensor) -> Tensor:
    """Average the gradients over the processes by one all-reduce; a parameter without a gradient stays so.

    Args:
        parameters: the parameters of one player. Every process builds the same graph, so the same ones have a gradient.
        riders: [n], numbers that ride along: this process's wish to stop, the terms of its loss.

    Returns:
        The sums of the riders over the processes, [n]; on a GPU they need not be waited for at once.
    """
    if not is_distributed():
        return riders
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([riders.to(grads[0].dtype), *(grad.reshape(-1) for grad in grads)])
    dist.all_reduce(flat)
    sums, start = flat[: len(riders)].clone(), len(riders)
    flat /= world_size()
    for grad in grads:
        grad.copy_(flat[start : start + grad.numel()].view_as(grad))
        start += grad.numel()
    return sums


class Delayed:
    """A number that is read without waiting for the device: copied to the host now, read when it has long arrived."""

    def __init__(self, value: float = 0.0):
        self._value: float | Tensor = value
        self._arrived: torch.cuda.Event | None = None

    def put(self, value: float | Tensor) -> None:
        """Start the copy of a float or a 0-d tensor."""
        if isinstance(value, Tensor) and value.is_cuda:
            value = value.detach().to("cpu", non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        self._value = value

    def get(self) -> float:
        """The number that was put last."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return float(self._value)


def sum_over_processes(value: float) -> float:
    """The sum of a number over the processes, which is waited for; every process must call it."""
    if not is_distributed():
        return value
    total = torch.tensor(value, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(total)
    return float(total)


def barrier() -> None:
    """Wait until every process is here."""
    if is_distributed():
        dist.barrier()


def broadcast_object(value: Any) -> Any:
    """Process 0's `value`, on every process."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


@dataclass(frozen=True)
class Share:
    """This process's part of a global batch.

    Micro-batch m of `accumulate` is the slice [m * B/K, (m+1) * B/K) of the global batch of B rows; each process holds
    a contiguous part of each slice, so every process count sees the same micro-batches.

    Args:
        batch_size: rows of the global batch.
        processes: how many there are.
        rank: number of this one, from 0.
        accumulate: micro-batches of an update.

    Raises:
        InputError: if `batch_size` does not divide evenly.
    """

    batch_size: int
    processes: int = 1
    rank: int = 0
    accumulate: int = 1

    @classmethod
    def of_this_process(cls, batch_size: int, accumulate: int) -> Share:
        """The share of this process among those that take part now."""
        return cls(batch_size, world_size(), rank(), accumulate)

    def __post_init__(self) -> None:
        if self.batch_size % (self.processes * self.accumulate):
            raise InputError(
                f"data.batch_size={self.batch_size} cannot be shared evenly by {self.processes} processes with "
                f"trainer.accumulate={self.accumulate}: choose a multiple of {self.processes * self.accumulate}"
            )

    @property
    def local(self) -> int:
        """Rows per micro-batch on this process."""
        return self.batch_size // (self.processes * self.accumulate)

    @cached_property
    def rows(self) -> tuple[Rows, ...]:
        """The rows of the global batch that this process holds in each micro-batch."""
        starts = [(micro * self.processes + self.rank) * self.local for micro in range(self.accumulate)]
        return tuple(Rows(start, start + self.local, self.batch_size) for start in starts)

    def indices(self) -> list[int]:
        """Positions in the global batch that this process holds, by micro-batch, then by row."""
        return [row for rows in self.rows for row in range(rows.start, rows.stop)]


class FlatDDPStrategy(DDPStrategy):
    """Lightning's process handling without its DistributedDataParallel wrapper.

    The wrapper refuses two optimisers that use different parameters in one iteration; the models average their
    gradients themselves, by one all-reduce per optimiser step (`average_gradients`).
    """

    def configure_ddp(self) -> None:
        """Wrap nothing."""

    def _setup_model(self, model: torch.nn.Module) -> torch.nn.Module:  # type: ignore[override]
        return model
