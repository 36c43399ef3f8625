"""Non-finite numbers never reach the parameters, nor anything else that outlives a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saddle.distributed import Delayed
from saddle.errors import NonFinite

Named = Mapping[str, Tensor]


class Guard:
    """Looks at what a player is about to learn from before its optimiser steps, and at its parameters afterwards.

    On the CPU the look is immediate. On a GPU in mode "stop" nothing waits: a fused optimiser skips a bad step by
    itself on the device, and the step after learns of it. In mode "skip", and for an optimiser without that ability,
    the device is waited for.

    Args:
        mode: "stop" raises `NonFinite` at a bad step; "skip" leaves the step out, takes back what it did to the buffers
            (running statistics, averages of penalties) and counts it.
        scaled: gradients belong to the gradient scaler of 16-mixed precision, which meets infinities as a matter of
            course and mends them; losses and parameters, which it cannot mend, are looked at all the same.

    Attributes:
        skipped: steps left out so far.
        norm: of the last player's whole gradient; None under a gradient scaler, which has multiplied it.
    """

    def __init__(self, mode: str = "stop", scaled: bool = False):
        self.mode, self.scaled = mode, scaled
        self.skipped = 0
        self.norm: Tensor | None = None
        self._pending: list[tuple[Delayed, int, list[str]]] = []
        self._kept: list[tuple[Tensor, Tensor]] = []  # buffers and what they held before the step

    def keep(self, module: nn.Module) -> None:
        """Keep the buffers that a step may have to give back; not the moving average of G, which it does not touch."""
        named = (pair for pair in module.named_buffers() if not pair[0].startswith("ema."))
        self._kept = [(buffer, buffer.clone()) for _, buffer in named]

    def step(self, optimizer: Any, parameters: Named, iteration: int, terms: Named) -> bool:
        """Let an optimiser step unless something is not finite; whether it stepped. As `admits`, then `stepped`.

        Args:
            optimizer: in Lightning's wrapper.
            parameters, iteration, terms: as for `admits`.
        """
        if not self.admits(optimizer.optimizer, parameters, iteration, terms):
            return False
        optimizer.step()
        self.stepped(parameters, iteration)
        return True

    def admits(
        self, optimizer: torch.optim.Optimizer, parameters: Named, iteration: int, terms: Named | None = None
    ) -> bool:
        """Whether to step now.

        Args:
            optimizer: the optimiser that is about to step.
            parameters: the player's parameters by full name, with their averaged gradients.
            iteration: finished iterations.
            terms: 0-d, what the loss is made of, by the names under which it is logged, over all processes.

        Raises:
            NonFinite: in mode "stop".
        """
        self.check()
        grads = {} if self.scaled else {name: p.grad for name, p in parameters.items() if p.grad is not None}
        sizes = list(torch._foreach_norm(list(grads.values()))) if grads else []
        self.norm = torch.linalg.vector_norm(torch.stack(sizes)) if sizes else None
        names = [*(terms or {}), *(f"the gradient of {name}" for name in grads)]
        if not names:
            return True
        groups = [torch.stack([*group]).double() for group in (list((terms or {}).values()), sizes) if group]
        bad = ~torch.isfinite(torch.cat(groups))
        if bad.is_cuda and self.mode == "stop" and (self.scaled or optimizer.defaults.get("fused")):
            if not self.scaled:
                optimizer.found_inf = bad.any().float()  # type: ignore[attr-defined]
            self._later(bad, iteration, names)
            return True
        if not bad.any():
            return True
        self._bad(iteration, self._first(bad, names, grads))
        return False

    def stepped(self, parameters: Named, iteration: int) -> None:
        """The optimiser has stepped: a finite gradient times a large learning rate can still overflow a parameter.

        Raises:
            NonFinite: in every mode, since such a step cannot be taken back; no checkpoint has seen it.
        """
        names, values = list(parameters), list(parameters.values())
        bad = ~torch.isfinite(torch.stack(torch._foreach_norm(values, float("inf"))))
        if bad.is_cuda:
            self._later(bad, iteration, names)
        elif bad.any():
            raise NonFinite(iteration + 1, names[int(bad.float().argmax())])

    def check(self) -> None:
        """Act on what the device found in the steps before; called before every step and every checkpoint.

        Raises:
            NonFinite: if a step was bad.
        """
        pending, self._pending = self._pending, []
        for first, iteration, names in pending:
            index = int(first.get())
            if index >= 0:
                raise NonFinite(iteration + 1, names[index])

    def _later(self, bad: Tensor, iteration: int, names: list[str]) -> None:
        first = Delayed()
        first.put(torch.where(bad.any(), bad.float().argmax(), -1))
        self._pending.append((first, iteration, names))

    @staticmethod
    def _first(bad: Tensor, names: Sequence[str], grads: Named) -> str:
        """The first bad tensor. A norm may overflow where every entry is finite: those come last."""
        found = [name for name, is_bad in zip(names, bad.tolist(), strict=True) if is_bad]
        overflown = {f"the gradient of {name}" for name, grad in grads.items() if torch.isfinite(grad).all()}
        return next((name for name in found if name not in overflown), found[0])

    def _bad(self, iteration: int, name: str) -> None:
        if self.mode == "stop":
            raise NonFinite(iteration + 1, name)
        for buffer, before in self._kept:
            buffer.copy_(before)
        self.skipped += 1
