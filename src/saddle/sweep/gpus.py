"""The GPUs of this machine, shared out to the jobs that run at once. Free of torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each


def gpus_here() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none where CUDA's driver is not there."""
    named = os.environ.get(VISIBLE)
    if named is None:
        return [str(i) for i, _ in enumerate(DRIVER.glob("*"))]
    names = [name.strip() for name in named.split(",")]
    ends = [i for i, name in enumerate(names) if name in ("", "-1")]  # CUDA reads no further
    return names[: ends[0]] if ends else names


def share(gpus: Sequence[str], taken: Iterable[str], at_once: int, processes: int) -> list[str]:
    """Those of `gpus` for a job to be started: its even share, at least one for each process, the least busy first.

    Those of the jobs that run now are `taken`, once for each job that has it.
    """
    busy = Counter(taken)
    count = max(len(gpus) // at_once, processes)
    chosen = sorted(gpus, key=lambda name: busy[name])[:count]
    return [name for name in gpus if name in chosen]  # in the machine's order
