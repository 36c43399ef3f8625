"""The exponential moving average of a generator."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA(nn.Module):
    """A copy of `source` whose parameters and floating point statistics average those of the source over steps.

    Parameters and batch norm's running statistics are averaged; everything else (spectral norm's vectors, counters) is
    copied. Averaging only parameters would leave statistics of another network in the copy.

    Args:
        source: the network that is trained.
        decay: weight of the past in each step, in [0, 1); 0 makes the copy follow exactly.
        start: steps during which the copy follows exactly.
        half_life: in thousands of images (Karras et al. 2020), in place of `decay`; None: by `decay`.
        warmup: let the decay grow to its value as (1 + t) / (10 + t) over the steps t after the start, so that the
            random initial weights are forgotten also by a run that is shorter than the average's memory. It has no
            effect beside a half-life.
    """

    def __init__(
        self, source: nn.Module, decay: float, start: int = 0, half_life: float | None = None, warmup: bool = True
    ):
        super().__init__()
        self.decay, self.start, self.half_life, self.warmup = decay, start, half_life, warmup
        self.module = copy.deepcopy(source).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, source: nn.Module, step: int, images: int) -> None:
        """Take in the source after its step number `step`, counted from 0, in which D saw so many real images."""
        decay = self.decay_at(step, images)
        averaged: tuple[list, list] = ([], [])
        own = dict(self.module.named_buffers())
        for name, value in source.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                averaged[0].append(own[name])
                averaged[1].append(value)
            else:
                own[name].copy_(value)
        averaged[0].extend(self.module.parameters())
        averaged[1].extend(source.parameters())
        torch._foreach_lerp_(averaged[0], averaged[1], 1 - decay)

    def decay_at(self, step: int, images: int) -> float:
        """The weight of the past at a step in which D saw so many real images."""
        t = step - self.start
        if t < 0:
            return 0.0
        if self.half_life is not None:
            return 0.5 ** (images / max(1000 * self.half_life, 1e-8))
        return min(self.decay, (1 + t) / (10 + t)) if self.warmup else self.decay
