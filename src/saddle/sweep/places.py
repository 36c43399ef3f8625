"""Where the jobs of a sweep run: on this machine, or where submitit or ray puts them. Free of torch.

Wherever it is, a job is one child process tree of its own, with nothing in its environment from whatever launched its
parent.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from saddle.config.instantiate import instantiate
from saddle.errors import InputError
from saddle.run.status import EXIT_STATUS, FAILED
from saddle.sweep.gpus import VISIBLE, gpus_here, share
from saddle.sweep.jobs import Job, Sweep

PR_SET_PDEATHSIG = 1  # of Linux's prctl
POLL_SECONDS = 0.05
GRACE_SECONDS = 15.0  # between asking a process tree to end and killing it


class Started(Protocol):
    """A job that was started."""

    reason: str | None = None  # why it ended, where its exit status does not tell

    def poll(self) -> int | None:
        """Its exit status, minus a signal if that ended it, or None while it runs."""

    def tell(self, number: int) -> None:
        """Send a signal to all its processes."""

    def end(self) -> None:
        """End it, and wait until it has ended: it may save first, but this machine grants it `GRACE_SECONDS` only."""


class Place(ABC):
    """Where jobs run; `queues` says whether it takes all jobs at once and decides itself how many run."""

    queues: bool

    @abstractmethod
    def start(self, sweep: Sweep, job: Job) -> Started:
        """Start a job."""


def place_of(config: dict[str, Any] | None) -> Place:
    """The place that a launcher's config describes; this machine for None."""
    return Here() if config is None else instantiate(config, Place)


# ------------------------------------------------------------------------------------------------------- this machine


class Tree(Started):
    """A job as a child process in a session of its own, and all that it starts; it holds the sweep's lock too.

    What it says goes into the output.log of its folder. Its `environment` is added to that of `Sweep.environment`.
    """

    def __init__(self, sweep: Sweep, job: Job, **environment: str):
        with open(sweep.run_folder(job).path / "output.log", "ab") as file:
            self.process = subprocess.Popen(
                sweep.command(job),
                env=sweep.environment(job) | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                pass_fds=() if sweep.lock is None else (sweep.lock,),
                preexec_fn=end_with_parent(),
            )

    def poll(self) -> int | None:
        return self.process.poll()

    def tell(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it ended in between
            os.killpg(self.process.pid, number)

    def end(self, patient: bool = False) -> None:
        """As `Started.end`; in a signal's handler too, where Popen.wait could wait for what the handler interrupted.

        With `patient` it has all the time that it takes to save.
        """
        self.tell(signal.SIGTERM)
        limit = math.inf if patient else time.monotonic() + GRACE_SECONDS
        while not self.ended() and time.monotonic() < limit:
            time.sleep(POLL_SECONDS)
        self.tell(signal.SIGKILL)  # what is left of the tree
        while not self.ended():
            time.sleep(POLL_SECONDS)

    def ended(self) -> bool:
        """Whether the child has ended; its exit status is left for `poll`."""
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # its exit status has been fetched
            return True


class Here(Place):
    """This machine. Jobs that run at once share its GPUs out."""

    queues = False

    def __init__(self) -> None:
        self.running: list[tuple[Tree, list[str]]] = []  # and the GPUs that each has

    def start(self, sweep: Sweep, job: Job) -> Started:
        """Start a job."""
        self.running = [(tree, gpus) for tree, gpus in self.running if not tree.ended()]
        gpus = gpus_here() if sweep.at_once > 1 else []
        if gpus:
            taken = [name for _, names in self.running for name in names]
            gpus = share(gpus, taken, sweep.at_once, job.processes)
        tree = Tree(sweep, job, **({VISIBLE: ",".join(gpus)} if gpus else {}))
        self.running.append((tree, gpus))
        return tree


def end_with_parent() -> Callable[[], None] | None:
    """What a job's process does first: ask the system for a SIGTERM when this process dies (on Linux)."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the request
            os._exit(EXIT_STATUS["preempted"])

    return ask


# ----------------------------------------------------------------------------------------------------- other machines


class Errand:
    """What another machine, or another process of this one, is asked to do: run a job's process tree to its end.

    A job that has begun before goes on.
    """

    def __init__(self, sweep: Sweep, job: Job):
        self.sweep, self.job = replace(sweep, lock=None), job
        self._tree: Tree | None = None

    def __call__(self) -> int:
        """Run the job; its exit status, or minus a signal."""
        self._tree = Tree(self.sweep, self.job)
        try:
            while (code := self._tree.poll()) is None:
                time.sleep(POLL_SECONDS)
            return code
        except BaseException:  # asked to end
            self._tree.end()
            raise

    def checkpoint(self) -> Any:
        """Submitit's hook, at a time limit or a preemption: let the job save, then submit it again."""
        import submitit

        if self._tree is not None:
            self._tree.end(patient=True)  # the cluster has its own patience
        return submitit.helpers.DelayedSubmission(Errand(self.sweep, self.job))


class Elsewhere(Started):
    """A job in the hands of a cluster.

    Args:
        future: of its exit status.
        cancel: asks the cluster to end it.
        explain: why there is no exit status, given the error that there is instead.
    """

    def __init__(self, future: Any, cancel: Callable[[], object], explain: Callable[[Exception], str]):
        self.future, self.cancel, self.explain = future, cancel, explain

    def poll(self) -> int | None:
        if not self.future.done():
            return None
        try:
            return int(self.future.result())
        except Exception as error:
            self.reason = self.explain(error)
            return FAILED

    def tell(self, number: int) -> None:
        """Cancel it, whatever the signal: the cluster ends it in its own way, which lets it save."""
        if not self.future.done():
            self.cancel()

    def end(self) -> None:
        self.tell(signal.SIGTERM)
        with suppress(Exception):
            self.future.result()


class Submitit(Place):
    """What submitit serves: a SLURM `cluster` ("slurm"), or processes of this machine that stand in for one ("local").

    Its parameters are those of `submitit.AutoExecutor.update_parameters`; what is None is left out.

    Raises:
        InputError: if submitit is not installed, or takes no such parameters.
    """

    def __init__(self, cluster: str, **parameters: Any):
        self.cluster, self.queues = cluster, cluster != "local"
        self.parameters = {name: value for name, value in parameters.items() if value is not None}
        self._executor: Any = None

    def start(self, sweep: Sweep, job: Job) -> Started:
        """Submit a job; submitit's own files are in the sweep folder's submitit/."""
        try:
            import submitit
        except ImportError:
            raise InputError("hydra/launcher=submitit_... needs submitit: pip install 'saddle-gan[submitit]'") from None
        if self._executor is None:
            try:
                self._executor = submitit.AutoExecutor(sweep.folder / "submitit", cluster=self.cluster)
                self._executor.update_parameters(**self.parameters)
            except (RuntimeError, NameError, ValueError) as error:
                raise InputError(f"hydra/launcher=submitit_{self.cluster}: {' '.join(str(error).split())}") from None
        one = self._executor.submit(Errand(sweep, job))
        return Elsewhere(
            one, one.cancel, lambda error: f"submitit's job {one.job_id} ended without a result: {one.state}"
        )


class Ray(Place):
    """A ray cluster, or this machine where there is none.

    Args:
        init: arguments of `ray.init`, e.g. address.
        options: of a remote function: what a job needs, e.g. num_cpus; None: as many as it has processes.

    Raises:
        InputError: if ray is not installed.
    """

    queues = True

    def __init__(self, init: dict[str, Any] | None = None, options: dict[str, Any] | None = None):
        self.init, self.options = dict(init or {}), dict(options or {})

    def start(self, sweep: Sweep, job: Job) -> Started:
        """Hand a job to the cluster."""
        try:
            import ray
        except ImportError:
            raise InputError("hydra/launcher=ray needs ray: pip install 'saddle-gan[ray]'") from None
        if not ray.is_initialized():
            ray.init(**self.init)
        needs = {"num_cpus": job.processes, **{k: v for k, v in self.options.items() if v is not None}}
        one = ray.remote(max_retries=0, **needs)(lambda errand: errand()).remote(Errand(sweep, job))
        return Elsewhere(one.future(), lambda: ray.cancel(one), lambda error: f"ray: {type(error).__name__}")
