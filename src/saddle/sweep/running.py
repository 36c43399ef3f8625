"""Running the jobs of a sweep, so many at once that no job can harm another. Free of torch."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from saddle.run import signals
from saddle.run.folder import RunFolder
from saddle.run.status import DONE, EXIT_STATUS, PRUNED, Preempted
from saddle.sweep.jobs import FINISHED, Job, Sweep
from saddle.sweep.outcome import outcome
from saddle.sweep.places import POLL_SECONDS, Started, place_of

STATUS_OF_EXIT = {code: status for status, code in EXIT_STATUS.items()}
STATUS_OF_EXIT |= {-signal.SIGINT: "interrupted", -signal.SIGTERM: "preempted"}


class Plan:
    """Which jobs run: these, in order. A search decides as it goes.

    Attributes:
        score: what the jobs are compared by in the end; None: see `outcome`.
        higher: whether more of this score is better.
    """

    score: str | None = None
    higher = False

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

    def close(self) -> None:
        """No further job will run."""


def run_jobs(sweep: Sweep, plan: Plan) -> list[Job]:
    """Run jobs, at most `sweep.at_once` at a time, and say on the terminal how each ends, and in the end all of them.

    The caller holds the lock.

    A signal to this process is handed on to the running jobs, which save and end; no further job starts.

    Returns:
        The jobs that did not end well. One that was ended because it was hopeless is not among them.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
        Preempted: after SIGTERM or SIGUSR1.
    """
    place = place_of(sweep.place)
    running: dict[Started, Job] = {}
    failed, started = [], 0
    signals.install()
    signals.arm(True)
    told = None
    try:
        while True:
            while len(running) < sweep.at_once and not told and (job := plan.next()) is not None:
                run = sweep.run_folder(job)
                run.path.mkdir(parents=True, exist_ok=True)
                run.results_file.unlink(missing_ok=True)  # how it ended before
                running[place.start(sweep, job)] = job
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
        plan.close()
    if told:
        raise KeyboardInterrupt if told == "interrupted" else Preempted
    print(*outcome(sweep, plan.score, plan.higher), sep="\n", flush=True)
    return failed


def conclude(sweep: Sweep, job: Job, code: int, hopeless: str | None = None, reason: str | None = None) -> bool:
    """See how a job ended, write it down where the job could not, and say it; whether it ended well.

    Its `code` is the exit status, or minus a signal; `hopeless` says why it was ended, if it was, and `reason` why it
    ended where the exit status does not tell.
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
