"""The jobs of a sweep: each is one child process tree, and no job can harm another. Free of torch."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from saddle.errors import InputError
from saddle.run import signals
from saddle.run.check import checked, processes
from saddle.run.compose import Composer, parse
from saddle.run.folder import RunFolder, job_name, write_atomic
from saddle.run.places import LAUNCH_VARIABLES, POLL_SECONDS, Place, Started, place_of
from saddle.run.status import DONE, EXIT_STATUS, FAILED, Preempted

LIST = "jobs.json"  # in the sweep folder: what its jobs are
LOCK = ".lock"  # in the sweep folder: held by the process that runs it, and by its jobs
PRUNED = "pruned"  # status of a job that was ended because it was hopeless; it does not run again
FINISHED = ("done", PRUNED)
ASKED_TO_END = {-signal.SIGINT: "interrupted", -signal.SIGTERM: "preempted"}
STATUS_OF_EXIT = {**{code: status for status, code in EXIT_STATUS.items()}, **ASKED_TO_END}


@dataclass
class Job:
    """One job: the name of its folder, its overrides, and the number of its processes."""

    folder: str
    overrides: list[str]
    processes: int = 1


@dataclass
class Sweep:
    """A sweep folder and its jobs.

    Args:
        folder: holds one run folder per job.
        script: the script that a job runs.
        flags: further arguments of the script.
        at_once: jobs that run at the same time.
        jobs: all jobs so far.
        place: the config of where they run; None for this machine.
        lock: the descriptor of the lock, while this process holds it.
    """

    folder: Path
    script: str
    flags: list[str] = field(default_factory=list)
    at_once: int = 1
    jobs: list[Job] = field(default_factory=list)
    place: dict[str, Any] | None = None
    lock: int | None = field(default=None, compare=False)

    @classmethod
    def load(cls, folder: Path, script: str) -> Sweep:
        """The sweep in a folder.

        Raises:
            InputError: if there is none.
        """
        try:
            found = json.loads((folder / LIST).read_text(encoding="utf-8"))
            listed = [Job(**job) for job in found["jobs"]]
            return cls(folder, script, found["flags"], found["at_once"], listed, found.get("place"))
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{folder} is not a sweep folder: it has no readable {LIST}") from None

    def save(self) -> None:
        """Write the list of jobs, so that the sweep can be resumed."""
        listed = {"flags": self.flags, "at_once": self.at_once, "place": self.place}
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
        with open(self.folder / LOCK, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{self.folder}: the sweep is running already, or a job of it has not ended yet; wait for it"
                ) from None
            except OSError:
                pass  # a file system without locks
            self.lock = file.fileno()
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
            return [*head, f"resume={quoted(run.path)}", "hydra.mode=RUN"]
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
    return QuotedString(str(path.resolve()), Quote.single).with_quotes()


# ---------------------------------------------------------------------------------------------------- running the jobs


class Plan:
    """Which jobs run: these, in order. A search decides as it goes.

    Args:
        jobs: to run.
    """

    def __init__(self, jobs: Sequence[Job]):
        self.waiting, self.total = list(jobs), len(jobs)

    def next(self) -> Job | None:
        """The job to start now that there is room for one; None if there is none, until another has ended."""
        return self.waiting.pop(0) if self.waiting else None

    def hopeless(self, job: Job) -> str | None:
        """Why a running job is to be ended, or None; asked again and again."""
        return None

    def ended(self, job: Job) -> None:
        """A job has ended, and its results.json says how."""


def run_jobs(sweep: Sweep, todo: Sequence[Job] | Plan) -> list[Job]:
    """Run jobs, at most `sweep.at_once` at a time, and say on the terminal how each ends.

    A signal to this process is handed on to the running jobs, which save and end; no further job starts.

    Returns:
        The jobs that did not end well. One that was ended because it was hopeless is not among them.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
        Preempted: after SIGTERM or SIGUSR1.
    """
    plan = todo if isinstance(todo, Plan) else Plan(todo)
    place = place_of(sweep.place)
    running: dict[Started, Job] = {}
    failed, started = [], 0
    signals.install()
    signals.arm(True)
    told = None
    try:
        while True:
            while len(running) < sweep.at_once and not told and (job := plan.next()) is not None:
                running[start(place, sweep, job)] = job
                started += 1
                print(f"[{started}/{plan.total}] {job.folder}: started", flush=True)
            if not running:
                break
            if signals.received() and not told:
                told = signals.received()
                for one in running:
                    one.tell(signal.SIGINT if told == "interrupted" else signal.SIGTERM)
            for one, job in list(running.items()):
                hopeless = None if told or one.poll() is not None else plan.hopeless(job)
                if hopeless:
                    one.end()
                code = one.poll()
                if code is None:
                    continue
                del running[one]
                if not conclude(sweep, job, code, hopeless, one.reason):
                    failed.append(job)
                plan.ended(job)
            time.sleep(POLL_SECONDS)
    finally:
        for one in running:
            one.tell(signal.SIGKILL)
        signals.forget()
    if told:
        raise KeyboardInterrupt if told == "interrupted" else Preempted
    return failed


def start(place: Place, sweep: Sweep, job: Job) -> Started:
    """Make a job's folder, forget how it ended before, and start it."""
    run = sweep.run_folder(job)
    run.path.mkdir(parents=True, exist_ok=True)
    run.results_file.unlink(missing_ok=True)
    return place.start(sweep, job)


def conclude(sweep: Sweep, job: Job, code: int, hopeless: str | None = None, reason: str | None = None) -> bool:
    """See how a job ended, write it down where the job could not, and say it; whether it ended well.

    Args:
        sweep: whose job it is.
        job: that ended.
        code: its exit status, or minus a signal.
        hopeless: why it was ended, if it was.
        reason: why it ended, where the exit status does not tell.
    """
    run = sweep.run_folder(job)
    status = run.results().get("status")
    if hopeless and status != "done":
        status = PRUNED
        run.record(status=status, error=hopeless)
    elif code != DONE and status in (None, "done"):
        status = STATUS_OF_EXIT.get(code, "failed")
        run.record(status=status, error=reason or cause(run, code))
    error = run.results().get("error")
    print(f"    {job.folder}: {status or 'done'}{f' ({error})' if error else ''}", flush=True)
    return code == DONE or status in FINISHED


def cause(run: RunFolder, code: int) -> str:
    """Why a job ended that could not say it itself."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (the system's memory may have run out)" if -code == signal.SIGKILL else "")
    try:
        text = (run.path / "output.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"exit status {code}" + (f": {lines[-1]}" if lines else "")


def resume_sweep(folder: str, script: str) -> int:
    """Run what is not done in a sweep folder; the exit status."""
    sweep = Sweep.load(Path(folder), script)
    with sweep.locked():
        todo = sweep.unfinished()
        if not todo:
            print(f"{folder}: all {len(sweep.jobs)} jobs are done")
            return DONE
        return FAILED if run_jobs(sweep, todo) else DONE


# ----------------------------------------------------------------------------------------------------- Hydra's launcher

failed_jobs: list[Job] = []  # of this process's sweep; Hydra gives no other way to hand them out


def composer_of(hydra_config: DictConfig) -> tuple[Composer, list[str]]:
    """A composer of the configs that Hydra runs on, and the overrides of Hydra that every job needs."""
    conf = next(source.path for source in hydra_config.runtime.config_sources if source.provider == "main")
    kept = [text for text in hydra_config.overrides.hydra if text.startswith("hydra.searchpath")]
    return Composer(Path(conf), hydra_config.job.config_name), kept


def this_script() -> str:
    """The script that this process runs, which its jobs run too."""
    return os.path.abspath(sys.argv[0])


def new_sweep(folder: Path, at_once: int, launcher: DictConfig) -> Sweep:
    """A sweep without jobs, with the flags of this process and the place that Hydra's launcher names."""
    flags = [text for text in sys.argv[1:] if text.startswith("--config-")]
    place: Any = OmegaConf.to_container(launcher, resolve=True)
    return Sweep(folder, this_script(), flags, at_once, place=place.get("place"))


class Processes(Launcher):
    """Hydra's launcher that runs each job of a sweep as a child process tree of its own.

    Args:
        place: the config of where; None for this machine. Not made before a job starts.
    """

    def __init__(self, place: Any = None) -> None:
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook: keep the config of the sweep."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Check all jobs, then run them.

        Returns:
            For each job the contents of its results.json; a job that failed does not end the sweep.

        Raises:
            InputError: if the config of a job is wrong; then none has started.
        """
        assert self.config is not None
        hydra_config = self.config.hydra
        composer, kept = composer_of(hydra_config)
        given = [parse(text) for text in hydra_config.overrides.task]
        swept = {override.key_or_group for override in given if override.is_sweep_override()}
        swept |= set(hydra_config.sweeper.get("params") or {})  # a study's
        batch = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            try:
                config = checked(composer, [*kept, *overrides, "hydra.mode=RUN"], "train")
            except InputError as error:
                raise InputError(f"job {number} ({' '.join(overrides)}): {error}") from None
            varied = [text for text in overrides if parse(text).key_or_group in swept]
            batch.append(Job(job_name(number, varied), [*kept, *overrides], processes(config) or 1))
            at_once = config["study"]["jobs"]
        sweep = self._sweep(at_once if batch else 1)
        if place_of(sweep.place).queues and sweep.at_once == 1:
            sweep.at_once = max(1, len(batch))
        with sweep.locked():
            sweep.jobs += batch
            sweep.save()
            failed_jobs.extend(run_jobs(sweep, batch))
        return [self._job_return(sweep, job) for job in batch]

    def _sweep(self, at_once: int) -> Sweep:
        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        if (folder / LIST).exists():
            return Sweep.load(folder, this_script())
        return new_sweep(folder, at_once, self.config.hydra.launcher)

    @staticmethod
    def _job_return(sweep: Sweep, job: Job) -> JobReturn:
        result = JobReturn(overrides=job.overrides, working_dir=str(sweep.folder / job.folder))
        result.status = JobStatus.COMPLETED
        result.return_value = sweep.run_folder(job).results()
        return result


def discard_unused(folder: Path) -> None:
    """Remove what Hydra left in a sweep folder in which no job was started."""
    if (folder / LIST).exists() or not folder.is_dir():
        return
    (folder / "multirun.yaml").unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
