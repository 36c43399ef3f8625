"""A sweep folder and its jobs, each of which is one child process tree. Free of torch."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from saddle.config import compose
from saddle.config.ranges import is_int
from saddle.errors import InputError
from saddle.run.folder import RunFolder, held, write_atomic
from saddle.run.launch import RUN_DIR
from saddle.run.status import PRUNED

LIST = "jobs.json"  # in the sweep folder: what its jobs are
FINISHED = ("done", PRUNED)
LAUNCH_VARIABLES = (
    "LOCAL_RANK", "NODE_RANK", "RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_MAX_RESTARTS", "TORCHELASTIC_USE_AGENT_STORE", RUN_DIR,
    "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID",
)  # fmt: skip


def job_name(number: int, overrides: list[str]) -> str:
    """Name of a sweep job's folder: its number and what varies, without characters that shells or Hydra would read."""
    words = re.sub(r"[^\w.+-]+", "-", "_".join(text.lstrip("+~") for text in overrides)).strip("-_")
    words = words.encode()[:120].decode(errors="ignore")  # a file's name has at most 255 bytes
    return f"{number}_{words}" if words else str(number)


@dataclass
class Job:
    """One job: the name of its folder in the sweep folder, its overrides, and the number of its processes.

    Raises:
        InputError: for a folder that would be elsewhere, and for anything else of another type, as files may hold.
    """

    folder: str
    overrides: list[str]
    processes: int = 1

    @classmethod
    def read(cls, found: Any) -> Job:
        """The job that a file holds."""
        try:
            return cls(**found)
        except TypeError:
            raise InputError(f"{found} is no job") from None

    def __post_init__(self) -> None:
        words = [self.folder, *self.overrides] if isinstance(self.overrides, list) else [None]
        if not all(isinstance(word, str) for word in words) or not is_int(self.processes) or self.processes < 1:
            raise InputError(f"{asdict(self)} is no job")
        if self.folder in ("", ".", "..") or not set(self.folder).isdisjoint("/\\\0"):
            raise InputError(f"{self.folder!r} is no name of a job's folder: it must be inside the sweep folder")


@dataclass
class Sweep:
    """A sweep folder and its jobs.

    Args:
        folder: holds one run folder per job.
        script: the script that a job runs.
        flags: what of the command line says where configs are.
        at_once: jobs that run at the same time.
        jobs: all jobs so far.
        launcher: what of the command line says where jobs run.
        place: the config that this makes; None for this machine.
        trust: what the configs of jobs may name, beside what any folder's config may.
        lock: the descriptor of the lock, while this process holds it.
    """

    folder: Path
    script: str
    flags: list[str] = field(default_factory=list)
    at_once: int = 1
    jobs: list[Job] = field(default_factory=list)
    launcher: list[str] = field(default_factory=list)
    place: dict[str, Any] | None = None
    trust: list[str] = field(default_factory=list)
    lock: int | None = field(default=None, compare=False)

    @classmethod
    def load(cls, path: str | Path, script: str) -> Sweep:
        """The sweep in a folder, which anybody may have made: neither its place nor trust comes from there.

        Raises:
            InputError: if there is none, or a job of it is no job.
        """
        folder = Path(path)
        try:
            found = json.loads((folder / LIST).read_text(encoding="utf-8"))
            listed = [Job.read(job) for job in found["jobs"]]
            said = [[*map(str, found[key])] for key in ("flags", "launcher")]
            return cls(folder, script, said[0], int(found["at_once"]), listed, said[1])
        except InputError as error:
            raise InputError(f"{folder / LIST}: {error}") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{folder} is not a sweep folder: it has no {LIST} that this code can read") from None

    def save(self) -> None:
        """Write the list of jobs, so that the sweep can be resumed."""
        listed = {"flags": self.flags, "launcher": self.launcher, "at_once": self.at_once}
        jobs = [asdict(job) for job in self.jobs]
        write_atomic(self.folder / LIST, json.dumps({**listed, "jobs": jobs}, indent=2) + "\n")

    def run_folder(self, job: Job) -> RunFolder:
        """Where a job writes."""
        return RunFolder(self.folder / job.folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep folder. Jobs inherit the lock: while one that outlived its parent runs, it stays held.

        Raises:
            InputError: if another process runs this sweep.
        """
        busy = f"{self.folder}: the sweep is running already, or a job of it has not ended yet; wait for it"
        with held(self.folder, busy, by_children=True) as self.lock:
            try:
                yield
            finally:
                self.lock = None

    def unfinished(self) -> list[Job]:
        """The jobs that are not done, nor ended because they were hopeless."""
        return [job for job in self.jobs if self.run_folder(job).results().get("status") not in FINISHED]

    def command(self, job: Job) -> list[str]:
        """The command line of a job: it begins, or goes on if it has begun before."""
        run = self.run_folder(job)
        head = [sys.executable, self.script, *self.flags]
        if run.config_file.exists():
            trust = [f"trust=[{','.join(map(compose.quoted, self.trust))}]"] if self.trust else []
            return [*head, f"resume={quoted(run.path)}", *trust, "hydra.mode=RUN"]
        return [*head, *job.overrides, "hydra.mode=RUN", f"hydra.run.dir={quoted(run.path)}"]

    def environment(self, job: Job) -> dict[str, str]:
        """The environment of a job: nothing of the parent's launcher, and its share of the cores."""
        environment = {key: value for key, value in os.environ.items() if key not in LAUNCH_VARIABLES}
        if self.at_once > 1:
            threads = len(os.sched_getaffinity(0)) // self.at_once // job.processes
            environment.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
        return environment


def quoted(path: Path) -> str:
    """A path as a value on Hydra's command line."""
    return compose.quoted(str(path.resolve()))
