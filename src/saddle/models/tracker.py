"""Running means of scalars, summed on the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from saddle.distributed import all_reduce, world_size


class Tracker:
    """Sums scalars on the device; nothing waits for it until the means are asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, scalars: Iterable[tuple[str, Tensor]]) -> None:
        """Add 0-d tensors to the means of their names."""
        for name, value in scalars:
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The means since the last call, over all processes, every one of which must call it."""
        if not self.sums:
            return {}
        names = list(self.sums)
        means = torch.stack([self.sums[name].double() / self.counts[name] for name in names])
        values = (all_reduce(means) / world_size()).tolist()
        self.sums.clear()
        self.counts.clear()
        return dict(zip(names, values, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"sums": {name: value.cpu() for name, value in self.sums.items()}, "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from a checkpoint."""
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.counts = dict(state["counts"])
