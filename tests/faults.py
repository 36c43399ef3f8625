"""Real runs of src/train.py that faults are injected into, and the comparison of what they leave.

A run is a process of its own, forked from a server that has the libraries in memory: it can be killed like any other,
and starts in a second instead of ten. Import this module under its own name only, as the server does.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

import saddle.run.training  # noqa: F401  what every run imports
from saddle.entry import main_training
from saddle.metrics import evaluator
from saddle.models.base import GAN
from saddle.run import cut

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "src" / "train.py"
#: Ten iterations with a checkpoint after every third, on a few random images.
RUN = [
    *["data=noise", "data.size=40", "logger=none", "trainer=cpu", "metrics=none", "samples.every=0"],
    *["iterations=10", "checkpoint.every=3", "log_every=1"],
]
CLOCK = {"seconds", "images_per_second", "peak_memory_bytes"}  # in results.json, beside what two runs must share


class Runs:
    """Starts runs in a folder.

    Args:
        folder: where run folders and logs are; the working directory of the runs.
        seed: of the moments at which faults happen.
    """

    def __init__(self, folder: Path, seed: int = 0):
        self.folder, self.random = folder, random.Random(seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.server = multiprocessing.get_context("forkserver")
        self.server.set_forkserver_preload(["faults"])

    def start(self, *words: str, inject: Sequence[Any] = (), **environment: str) -> BaseProcess:
        """Start `python src/train.py <words>`, with a fault of `INJECTED` and environment variables, if any."""
        process = self.server.Process(target=command, args=(str(self.folder), words, environment, tuple(inject)))
        process.start()
        return process

    def run(self, *words: str, inject: Sequence[Any] = (), **environment: str) -> int | None:
        """Run to the end; the exit status, minus a signal if that ended it."""
        process = self.start(*words, inject=inject, **environment)
        process.join()
        return process.exitcode

    def several(self, count: int, *words: str, inject: Sequence[Any] = ()) -> list[BaseProcess]:
        """Start `count` processes of one run, as torchrun would."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "GROUP_RANK": "0"}
        shared |= {"LOCAL_WORLD_SIZE": str(count), "TORCHELASTIC_RUN_ID": "soak", "TORCHELASTIC_RESTART_COUNT": "0"}
        ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count))
        mode = (
            [] if any(word.startswith("resume=") for word in words) else ["trainer=ddp_cpu", f"trainer.devices={count}"]
        )
        return [self.start(*words, *mode, inject=inject, **shared, **own) for own in ranks]

    def path(self, name: str) -> Path:
        """A run folder that is not there yet."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name

    def moment(self, run: Path, process: BaseProcess, iterations: int = 10, first: int = 0) -> bool:
        """Wait for a random moment after a random iteration; whether the run is still there."""
        rows, since = self.random.randint(min(first, iterations - 1), iterations - 1), time.monotonic()
        if rows == 0:
            time.sleep(self.random.uniform(0, 1.5))
        while process.is_alive() and rows_of(run) < rows:
            time.sleep(0.003)
        pace = (time.monotonic() - since) / max(rows, 1)
        time.sleep(self.random.uniform(0, min(pace, 0.3)))
        return process.is_alive()

    def killed(self, run: Path, *words: str, first: int = 0) -> bool:
        """Begin a run, or go on with it, and kill -9 it at a random moment; whether it was killed before its end."""
        process = self.start(*words)
        alive = self.moment(run, process, first=first)
        process.kill()
        process.join()
        return alive and process.exitcode == -signal.SIGKILL


def rows_of(run: Path) -> int:
    """Rows that metrics.csv has."""
    try:
        return (run / "metrics.csv").read_bytes().count(b"\n") - 1
    except OSError:
        return -1


def begins(run: Path, words: Sequence[str]) -> list[str]:
    """The command line that begins a run, or goes on with it if it has begun."""
    return [f"resume={run}"] if (run / "config.yaml").exists() else [*words, f"hydra.run.dir={run}"]


# ------------------------------------------------------------------------------------------------------ inside a run


def command(folder: str, words: Sequence[str], environment: dict[str, str], inject: Sequence[Any]) -> None:
    """What a run's process does."""
    os.chdir(folder)
    log = os.open("output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    if inject:
        INJECTED[inject[0]](*inject[1:])
    sys.argv = [str(TRAIN), *words]
    spec = importlib.util.spec_from_file_location("train", TRAIN)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train"] = module
    spec.loader.exec_module(module)
    main_training(module.train)


def kill_at_call(number: int) -> None:
    """Kill -9 this process just before its call number `number` of what changes a file or syncs it to the disk."""
    calls = 0

    def counted(function: Callable) -> Callable:
        def wrapper(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return wrapper

    for name in ("replace", "link", "fsync", "unlink"):
        setattr(os, name, counted(getattr(os, name)))


def spoil_gradient(player: str, iteration: int, value: float) -> None:
    """Make one number of a player's first gradient not finite in an iteration, counted from 0."""
    step = GAN.training_step

    def training_step(model: GAN, batch: Any, batch_idx: int) -> None:
        parameter = next(p for p in getattr(model, player).parameters() if p.requires_grad)
        hook = parameter.register_hook(lambda grad: grad.index_fill(0, torch.tensor([0]), value))
        try:
            if model.iteration != iteration:
                hook.remove()
            step(model, batch, batch_idx)
        finally:
            hook.remove()

    GAN.training_step = training_step  # type: ignore[method-assign]


def before(iteration: int, action: Callable[[], None]) -> None:
    """Do something before an iteration, counted from 0."""
    step = GAN.training_step

    def training_step(model: GAN, batch: Any, batch_idx: int) -> None:
        if model.iteration == iteration:
            action()
        step(model, batch, batch_idx)

    GAN.training_step = training_step  # type: ignore[method-assign]


def kill_before(iteration: int) -> None:
    """Kill -9 this process before an iteration."""
    before(iteration, lambda: os.kill(os.getpid(), signal.SIGKILL))


def ask_in_evaluation(rank: int, number: int, call: int) -> None:
    """Send a signal to the process of a rank in its evaluations, the `call`-th time that these would give way."""
    calls = 0

    def give_way() -> None:
        nonlocal calls
        calls += 1
        if calls == call and int(os.environ.get("RANK", "0")) == rank:
            os.kill(os.getpid(), number)
        cut.give_way()

    evaluator.give_way = give_way  # type: ignore[attr-defined]


def fill_disk(disk: str, iteration: int, share: float) -> None:
    """Before an iteration, fill a small disk but for a share of the size of the run's checkpoint."""

    def fill() -> None:
        room = int(share * (Path(disk) / "run" / "checkpoints" / "last.ckpt").stat().st_size)
        with open(Path(disk) / "filling", "wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))
            file.truncate(max(0, file.tell() - room))

    before(iteration, fill)


INJECTED: dict[str, Callable[..., None]] = {
    "kill_at_call": kill_at_call,
    "kill_before": kill_before,
    "spoil_gradient": spoil_gradient,
    "fill_disk": fill_disk,
    "ask_in_evaluation": ask_in_evaluation,
}


# ------------------------------------------------------------------------------------------------ what a run has left


def differences(a: Path, b: Path) -> list[str]:
    """What distinguishes the ends of two runs, to the bit: all of last.ckpt and metrics.csv, but for the clock."""
    found = []
    if (a / "metrics.csv").read_bytes() != (b / "metrics.csv").read_bytes():
        found.append("metrics.csv")
    first, second = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (a, b))
    for checkpoint in (first, second):
        for name in CLOCK | {"peak_memory"}:
            checkpoint["callbacks"]["Life"].pop(name, None)
        for name in ("loops", "epoch"):  # Lightning's counts of a process
            checkpoint.pop(name, None)
    compare(first, second, "", found)
    return found


def compare(a: Any, b: Any, key: str, found: list[str]) -> None:
    """Add the keys below `key` under which two checkpoints differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in {**a, **b}:
            if name not in a or name not in b:
                found.append(f"{key}.{name}")
            else:
                compare(a[name], b[name], f"{key}.{name}", found)
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            compare(x, y, f"{key}.{i}", found)
    elif isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.dtype != b.dtype or not torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)):
            found.append(key)
    elif a != b and not (a != a and b != b):
        found.append(key)
