"""The jobs of a sweep: each is one child process tree, and no job can harm another. Free of torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from saddle.errors import InputError
from saddle.run import signals
from saddle.run.check import checked, processes
from saddle.run.compose import Composer, parse
from saddle.run.folder import RUN_DIR, RunFolder, job_name, write_atomic
from saddle.run.status import DONE, FAILED, Preempted

LIST = "jobs.json"  # in the sweep folder: what its jobs are
LAUNCH_VARIABLES = (
    "LOCAL_RANK", "NODE_RANK", "RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_MAX_RESTARTS", "TORCHELASTIC_USE_AGENT_STORE", RUN_DIR,
)  # fmt: skip
POLL_SECONDS = 0.05


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
    """

    folder: Path
    script: str
    flags: list[str] = field(default_factory=list)
    at_once: int = 1
    jobs: list[Job] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, script: str) -> Sweep:
        """The sweep in a folder.

        Raises:
            InputError: if there is none.
        """
        try:
            found = json.loads((folder / LIST).read_text(encoding="utf-8"))
            return cls(folder, script, found["flags"], found["at_once"], [Job(**job) for job in found["jobs"]])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{folder} is not a sweep folder: it has no readable {LIST}") from None

    def save(self) -> None:
        """Write the list of jobs, so that the sweep can be resumed."""
        listed = {"flags": self.flags, "at_once": self.at_once, "jobs": [asdict(job) for job in self.jobs]}
        write_atomic(self.folder / LIST, json.dumps(listed, indent=2) + "\n")

    def run_folder(self, job: Job) -> RunFolder:
        """Where a job writes."""
        return RunFolder(self.folder / job.folder)

    def unfinished(self) -> list[Job]:
        """The jobs that are not done."""
        return [job for job in self.jobs if self.run_folder(job).results().get("status") != "done"]

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


def run_jobs(sweep: Sweep, todo: Sequence[Job]) -> list[Job]:
    """Run jobs, at most `sweep.at_once` at a time, and say on the terminal how each ends.

    A signal to this process is handed on to the running jobs, which save and end; no further job starts.

    Returns:
        The jobs that did not end well.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
        Preempted: after SIGTERM or SIGUSR1.
    """
    waiting, running, failed = list(todo), {}, []  # type: ignore[var-annotated]
    signals.install()
    signals.arm(True)
    told = None
    try:
        while running or (waiting and not told):
            while waiting and len(running) < sweep.at_once and not told:
                job = waiting.pop(0)
                running[start(sweep, job)] = job
                print(f"[{len(todo) - len(waiting)}/{len(todo)}] {job.folder}: started", flush=True)
            if signals.received() and not told:
                told = signals.received()
                tell(running, signal.SIGINT if told == "interrupted" else signal.SIGTERM)
            for process in [process for process in running if process.poll() is not None]:
                job = running.pop(process)
                if not conclude(sweep, job, process.returncode):
                    failed.append(job)
            time.sleep(POLL_SECONDS)
    finally:
        tell(running, signal.SIGKILL)
        signals.forget()
    if told:
        raise KeyboardInterrupt if told == "interrupted" else Preempted
    return failed


def start(sweep: Sweep, job: Job) -> subprocess.Popen[bytes]:
    """Start a job in a session of its own, so that its whole process tree can be told to end."""
    run = sweep.run_folder(job)
    run.path.mkdir(parents=True, exist_ok=True)
    command, environment = sweep.command(job), sweep.environment(job)
    run.results_file.unlink(missing_ok=True)
    with open(run.path / "output.log", "ab") as log:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def tell(running: dict[subprocess.Popen[bytes], Job], number: int) -> None:
    """Send a signal to every process of the running jobs."""
    for process in running:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            continue  # it ended in between


def conclude(sweep: Sweep, job: Job, code: int) -> bool:
    """See how a job ended, write it down where the job could not, and say it; whether it ended well."""
    run = sweep.run_folder(job)
    status = run.results().get("status")
    if code != DONE and status in (None, "done"):
        status = "failed"
        run.record(status=status, error=cause(run, code))
    error = run.results().get("error")
    print(f"    {job.folder}: {status or 'done'}{f' ({error})' if error else ''}", flush=True)
    return code == DONE


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
    todo = sweep.unfinished()
    if not todo:
        print(f"{folder}: all {len(sweep.jobs)} jobs are done")
        return DONE
    return FAILED if run_jobs(sweep, todo) else DONE


# ----------------------------------------------------------------------------------------------------- Hydra's launcher

failed_jobs: list[Job] = []  # of this process's sweep; Hydra gives no other way to hand them out


class Processes(Launcher):
    """Hydra's launcher that runs each job of a sweep as a child process tree of its own."""

    def __init__(self) -> None:
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
        conf = next(source.path for source in hydra_config.runtime.config_sources if source.provider == "main")
        composer = Composer(Path(conf), hydra_config.job.config_name)
        given = [parse(text) for text in hydra_config.overrides.task]
        swept = {override.key_or_group for override in given if override.is_sweep_override()}
        swept |= set(hydra_config.sweeper.get("params") or {})  # a study's
        kept = [text for text in hydra_config.overrides.hydra if text.startswith("hydra.searchpath")]
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
        sweep.jobs += batch
        sweep.save()
        failed_jobs.extend(run_jobs(sweep, batch))
        return [self._job_return(sweep, job) for job in batch]

    def _sweep(self, at_once: int) -> Sweep:
        assert self.config is not None
        folder, script = Path(self.config.hydra.sweep.dir), os.path.abspath(sys.argv[0])
        if (folder / LIST).exists():
            return Sweep.load(folder, script)
        flags = [text for text in sys.argv[1:] if text.startswith("--config-")]
        return Sweep(folder, script, flags, at_once)

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
