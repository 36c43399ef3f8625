"""Which job runs next: optuna is asked for cells, and told how they did. Free of torch."""

from __future__ import annotations

import csv
import io
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from saddle.config.check import processes
from saddle.config.instantiate import foreign
from saddle.errors import InputError
from saddle.run.folder import write_atomic
from saddle.run.status import PRUNED
from saddle.sweep.jobs import Job, Sweep, job_name
from saddle.sweep.running import Plan
from saddle.sweep.search.options import Check, Options, make
from saddle.sweep.search.space import Space, Values, optuna

JOURNAL = "optuna.journal"
TRIALS = "trials.csv"
FINAL = ("done", "failed", "nonfinite", PRUNED)  # statuses after which a job of a search does not run again


@dataclass
class Cell:
    """A trial of optuna that has not been told yet, and its jobs, one per seed."""

    trial: Any
    jobs: list[Job]
    reported: set[int] = field(default_factory=set)  # iterations whose score the pruner knows


class Search(Plan):
    """Asks optuna for cells whenever there is room for a job, and tells it how they did.

    Made once for each process that runs the sweep, under the sweep's lock: it goes on where the journal ends. A cell
    that is proposed again shares the jobs of the first; one whose config `check` refuses fails.
    """

    def __init__(self, sweep: Sweep, space: Space, options: Options, check: Check):
        super().__init__([])
        self.sweep, self.space, self.options, self.check = sweep, space, options, check
        self.score, self.higher = options.objectives[0].score, options.objectives[0].direction == "maximize"
        self.total = options.trials * max(1, len(space.seeds))
        self.open: list[Cell] = []
        self.running: set[str] = set()
        self._sizes: dict[str, int] = {}
        self.states = optuna().trial.TrialState
        self.distributions = {axis.key: axis.distribution() for axis in space.axes}
        storages = optuna().storages
        self.study = optuna().create_study(
            storage=storages.JournalStorage(storages.journal.JournalFileBackend(str(sweep.folder / JOURNAL))),
            study_name="search",
            directions=[objective.direction for objective in options.objectives],
            pruner=make(options.pruner, "pruner") if options.pruner else optuna().pruners.NopPruner(),
            load_if_exists=True,
        )
        self.study.stop = self._stop  # optuna's own works inside its optimize() only
        self._go_on()

    def next(self) -> Job | None:
        """The next seed of a cell that is open, else the first of a new cell; None if enough cells were tried."""
        while not self.waiting and self.asked < self.options.trials:
            self._ask()
        if not self.waiting:
            return None
        job = self.waiting.pop(0)
        self.running.add(job.folder)
        if job not in self.sweep.jobs:
            self.sweep.jobs.append(job)
            self.sweep.save()
        return job

    def hopeless(self, job: Job) -> str | None:
        """Why a running job is ended: its cell has been given up, or the pruner says so."""
        cell = next((cell for cell in self.open if job in cell.jobs), None)
        if cell is None:
            return "another seed of its cell has decided"
        return self._pruned(cell) if self.options.pruner and job == cell.jobs[0] else None

    def ended(self, job: Job) -> None:
        """Tell optuna of the cells that this job decides."""
        self.running.discard(job.folder)
        for cell in [cell for cell in self.open if job in cell.jobs]:
            self._settle(cell)

    # ------------------------------------------------------------------------------------------------- asking

    def _trials(self) -> list[Any]:
        return self.study.get_trials(deepcopy=False)

    def _go_on(self) -> None:
        """Take up the trials that an earlier process left open."""
        self.asked = sum("jobs" in trial.user_attrs or "refused" in trial.user_attrs for trial in self._trials())
        for frozen in self._trials():
            if frozen.state != self.states.RUNNING:
                continue
            if "jobs" not in frozen.user_attrs:  # the process ended while it asked
                self.study.tell(frozen.number, state=self.states.FAIL)
                continue
            self.study.sampler = self._sampler()
            trial = optuna().trial.Trial(self.study, frozen._trial_id)
            self._open(Cell(trial, self._listed(frozen), set(frozen.intermediate_values)))
        self._write_table()

    def _listed(self, trial: Any) -> list[Job]:
        """The jobs of a trial in the journal, which anybody may have written; an InputError if one is wrong."""
        listed = [*map(Job.read, trial.user_attrs["jobs"])]
        for job in listed:
            if not self.sweep.run_folder(job).config_file.exists():
                self.check(job.overrides)
        return listed

    def _sampler(self) -> Any:
        """A sampler whose random numbers depend on how many trials there were, so that it needs no stored state."""
        return make(self.options.sampler, "sampler", seed=(self.options.seed * 1_000_003 + len(self._trials())) % 2**32)

    def _stop(self) -> None:
        """What a sampler calls that has tried everything: no further cell is asked for."""
        self.asked = self.options.trials

    def _ask(self) -> None:
        self.study.sampler = self._sampler()
        trial = self.study.ask(self.distributions)
        self.asked += 1
        same = next((t for t in self._trials() if "jobs" in t.user_attrs and t.params == trial.params), None)
        if same:
            print(f"trial {trial.number}: the cell of trial {same.number}", flush=True)
            listed = self._listed(same)
        else:
            try:
                listed = self._jobs(trial)
            except InputError as error:
                print(f"trial {trial.number} ({self._cell(trial)}): {error}", flush=True)
                trial.set_user_attr("refused", str(error))
                self._tell(trial, state=self.states.FAIL)
                return
        trial.set_user_attr("jobs", [asdict(job) for job in listed])
        self._open(Cell(trial, listed))

    def _jobs(self, trial: Any) -> list[Job]:
        """The jobs of a new cell; an InputError if its config is wrong."""
        varied = self.space.jobs(trial.params)
        config = self.check([*self.space.fixed, *varied[0]])
        self.sweep.trust = sorted({*self.sweep.trust, *(name for _, name in foreign(config))})
        count = processes(config) or 1
        first = trial.number * len(varied)
        return [Job(job_name(first + i, own), [*self.space.fixed, *own], count) for i, own in enumerate(varied)]

    def _open(self, cell: Cell) -> None:
        self.open.append(cell)
        busy = {job.folder for job in self.waiting} | self.running
        self.waiting += [job for job in cell.jobs if job.folder not in busy and self._final(job) is None]
        self._settle(cell)

    # ------------------------------------------------------------------------------------------------ telling

    def _final(self, job: Job) -> Values | None:
        """The results of a job that does not run again; None of any other."""
        results = self.sweep.run_folder(job).results()
        return results if results.get("status") in FINAL else None

    def _settle(self, cell: Cell) -> None:
        """Tell optuna of a cell whose jobs have ended, or whose outcome is certain."""
        stopped = [self._final(job) for job in cell.jobs if job.folder not in self.running]
        ended = [results for results in stopped if results is not None]
        kept = [results for results in ended if results["status"] != PRUNED]
        scored = [[objective.value(results) for results in kept] for objective in self.options.objectives]
        values = [[value for value in row if value is not None] for row in scored]
        if any(len(row) < len(kept) for row in values):
            self._close(cell, state=self.states.FAIL)
        elif len(kept) < len(ended):
            self._close(cell, state=self.states.PRUNED)
        elif len(ended) == len(cell.jobs):
            self._close(cell, values=[*map(statistics.fmean, values)])

    def _close(self, cell: Cell, **outcome: Any) -> None:
        self.open.remove(cell)
        wanted = [job for other in self.open for job in other.jobs]
        self.waiting = [job for job in self.waiting if job in wanted]
        self._tell(cell.trial, **outcome)

    def _tell(self, trial: Any, **outcome: Any) -> None:
        told = self.study.tell(trial, **outcome)
        shown = self._shown(told) if told.state == self.states.COMPLETE else told.state.name.lower()
        print(f"trial {told.number} ({self._cell(told)}): {shown}", flush=True)
        self._write_table()

    def _cell(self, trial: Any) -> str:
        return " ".join(self.space.varied(trial.params))

    def _shown(self, trial: Any) -> str:
        scored = zip(self.options.objectives, trial.values, strict=True)
        return ", ".join(f"{objective.score} {value:g}" for objective, value in scored)

    def _pruned(self, cell: Cell) -> str | None:
        """Report the first seed's new scores; why the pruner ends it, or None."""
        objective, file = self.options.objectives[0], self.sweep.run_folder(cell.jobs[0]).path / "metrics.csv"
        try:
            size = file.stat().st_size
            points = curve(file, objective.score) if self._sizes.get(str(file)) != size else []
        except (OSError, ValueError):  # not there yet, or a row is being written
            return None
        self._sizes[str(file)] = size
        for iteration, value in points:
            if iteration in cell.reported:
                continue
            cell.trial.report(value, iteration)
            cell.reported.add(iteration)
            if cell.trial.should_prune():
                return f"{objective.score} {value:g} at iteration {iteration} is hopeless beside the other cells"
        return None

    def _write_table(self) -> None:
        """Write trials.csv: a line per trial, with its values, its scores and the folders of its jobs."""
        buffer = io.StringIO()
        keys = [axis.key for axis in self.space.axes]
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["trial", "state", *keys, *(objective.score for objective in self.options.objectives), "jobs"])
        for trial in self._trials():
            told = trial.values if trial.state == self.states.COMPLETE else [""] * len(self.options.objectives)
            folders = " ".join(job["folder"] for job in trial.user_attrs.get("jobs", []))
            row = [trial.params.get(key, "") for key in keys]
            writer.writerow([trial.number, trial.state.name.lower(), *row, *(told or []), folders])
        write_atomic(self.sweep.folder / TRIALS, buffer.getvalue())

    def best(self) -> list[Any]:
        """The best trial, or the Pareto front of several objectives, each cell once; empty if none is complete."""
        cells = {repr(sorted(trial.params.items())): trial for trial in reversed(self.study.best_trials)}
        return sorted(cells.values(), key=lambda trial: trial.values)

    def close(self) -> None:
        """Print what was found."""
        found = self.best()
        several = len(self.options.objectives) > 1
        print(f"{'the Pareto front' if several else 'the best cell'}:" if found else "no cell is complete", flush=True)
        for trial in found:
            print(f"    {self._cell(trial)}: {self._shown(trial)}", flush=True)


def curve(file: Path, column: str) -> list[tuple[int, float]]:
    """The iterations and values of one column of a metrics.csv that may be growing."""
    text = file.read_text(encoding="utf-8", errors="replace")
    rows = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    return [(int(row["iteration"]), float(row[column])) for row in rows if row.get(column) and row.get("iteration")]
