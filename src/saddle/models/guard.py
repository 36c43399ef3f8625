"""Non-finite gradients never reach the parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from saddle.distributed import Delayed
from saddle.errors import NonFinite


class Guard:
    """Looks at a player's averaged gradients before its optimiser steps.

    On the CPU the look is immediate. On a GPU nothing waits: a fused optimiser skips the bad step by itself on the
    device, and the iteration after learns of it; an optimiser without that ability is waited for.

    Args:
        mode: "stop" raises `NonFinite` at a bad step, "skip" leaves the step out and counts it, "scaler" leaves bad
            steps to the gradient scaler of 16-mixed precision, which meets infinities as a matter of course.
    """

    def __init__(self, mode: str = "stop"):
        self.mode = mode
        self.skipped = 0
        self.norm: Tensor | None = None  # of the last player's whole gradient; not known under a gradient scaler
        self._pending: tuple[Delayed, int, list[str]] | None = None

    def admits(self, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], iteration: int) -> bool:
        """Whether to step now.

        Args:
            optimizer: the optimiser that is about to step.
            parameters: the player's parameters by full name.
            iteration: finished iterations.

        Raises:
            NonFinite: in mode "stop".
        """
        if self.mode == "scaler":
            return True
        named = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        norms = torch.stack(torch._foreach_norm(list(named.values()))) if named else torch.zeros(1)
        self.norm = torch.linalg.vector_norm(norms)
        bad = ~torch.isfinite(norms)
        if norms.is_cuda and optimizer.defaults.get("fused"):
            self.check()
            optimizer.found_inf = bad.any().float()  # type: ignore[attr-defined]
            first = Delayed()
            first.put(torch.where(bad.any(), bad.float().argmax(), -1))
            self._pending = first, iteration, list(named)
            return True
        if not bad.any():
            return True
        names = [name for name, grad in named.items() if not torch.isfinite(grad).all()]
        # a norm may overflow where every entry is finite; such a step would still overflow the optimiser's square
        self._bad(iteration, (names or [list(named)[int(bad.float().argmax())]])[0])
        return False

    def check(self) -> None:
        """Act on what the device found in the step before."""
        if self._pending is None:
            return
        (first, iteration, names), self._pending = self._pending, None
        index = int(first.get())
        if index >= 0:
            self._bad(iteration, names[index])

    def _bad(self, iteration: int, name: str) -> None:
        if self.mode == "stop":
            raise NonFinite(iteration + 1, name)
        self.skipped += 1
