"""A search: optuna proposes the cells of a sweep, and is told how each did. Free of torch.

A cell has one value for every axis. It is run once per seed; optuna knows nothing of seeds, it is told the mean over
them. What it proposes depends on what it was told so far and on nothing else, so a search that was stopped goes on as
if it had not been. What a sweep folder holds of it: `search.json` (what is searched), `optuna.journal` (optuna's own
record), `jobs.json` (the jobs so far), `trials.csv` (a line per cell) and the run folders.

Each trial of optuna ends in one of three states:

- complete: the mean of each score over the seeds. A seed that failed or diverged counts as the number that the
  objective has under `failed`;
- fail: a seed failed or diverged and the objective has no such number, or the check of the config refused the cell;
- pruned: the pruner found the first seed's score hopeless while it ran. Its process tree is ended.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from saddle.errors import InputError
from saddle.run import jobs
from saddle.run.check import checked, get, is_number, processes, scores, whole
from saddle.run.compose import Composer, near, parse
from saddle.run.folder import job_name, write_atomic
from saddle.run.jobs import PRUNED, Job, Plan, Sweep
from saddle.run.status import DONE, FAILED

LIST = "search.json"
JOURNAL = "optuna.journal"
TRIALS = "trials.csv"
FINAL = ("done", "failed", "nonfinite", PRUNED)  # statuses after which a job of a search does not run again
DIRECTIONS = ("minimize", "maximize")
AT_MOST_CHECKED = 32  # cells whose config is checked before the first job
PROCESSES = "hydra_plugins.saddle_launcher.ProcessLauncher"

Values = dict[str, Any]  # of the axes, by key
Check = Callable[[Sequence[str]], Mapping[str, Any]]  # of a job's overrides; raises InputError, or returns the config


# ----------------------------------------------------------------------------------------------------- what is searched


@dataclass(frozen=True)
class Axis:
    """What one option may be.

    Args:
        key: of the option, or a group.
        values: of a choice, as on the command line; empty for numbers.
        low, high: the ends of a range or an interval, both included.
        step: of a range; None for an interval.
        log: even in the logarithm.
    """

    key: str
    values: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    @classmethod
    def of(cls, override: Override) -> Axis:
        """The axis of an override with several values.

        Raises:
            InputError: if it has none.
        """
        sweep, key = override.value(), override.get_key_element()
        if isinstance(sweep, ChoiceSweep):
            return cls(key, tuple(dict.fromkeys(override.sweep_string_iterator())))
        if isinstance(sweep, RangeSweep):
            numbers = [*sweep.range()]
            if not numbers:
                raise InputError(f"{override.input_line}: the range is empty")
            return cls(key, (), min(numbers), max(numbers), abs(sweep.step), "log" in sweep.tags)
        if isinstance(sweep, IntervalSweep):
            assert sweep.start is not None and sweep.end is not None
            return cls(key, (), sweep.start, sweep.end, None, "log" in sweep.tags)
        raise InputError(f"{override.input_line}: a search takes a,b,c, choice(...), range(...) or interval(...)")

    @property
    def whole(self) -> bool:
        """The values are whole numbers."""
        return not self.values and all(isinstance(end, int) for end in (self.low, self.high, self.step or 0))

    @property
    def corners(self) -> tuple[Any, ...]:
        """All values of a choice; the ends of anything else."""
        return self.values or tuple(dict.fromkeys((self.low, self.high)))

    def distribution(self) -> Any:
        """The axis in optuna's words.

        Raises:
            InputError: if there is no such axis, e.g. a logarithm of 0.
        """
        distributions = optuna().distributions
        try:
            if self.values:
                return distributions.CategoricalDistribution(self.values)
            if self.whole:
                return distributions.IntDistribution(
                    int(self.low), int(self.high), log=self.log, step=int(self.step or 1)
                )
            return distributions.FloatDistribution(self.low, self.high, log=self.log, step=self.step)
        except ValueError as error:
            raise InputError(f"{self.key}: {error}") from None


@dataclass(frozen=True)
class Space:
    """What is searched: overrides that all jobs have, the axes, and the seeds of each cell."""

    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]
    seeds: tuple[str, ...] = ()

    @classmethod
    def read(cls, texts: Sequence[str], kept: Sequence[str] = ()) -> Space:
        """The space of a list of overrides, of which the last of each key counts.

        Args:
            texts: overrides; those with several values are axes, but for `seed`, which repeats each cell.
            kept: further overrides that all jobs have.

        Raises:
            InputError: if nothing is searched, or in a way that is not known.
        """
        last = {override.get_key_element(): override for override in map(parse, texts)}
        swept = {key: override for key, override in last.items() if override.is_sweep_override()}
        fixed = [f"{key}={override.get_value_element_as_str()}" for key, override in last.items() if key not in swept]
        seeds: tuple[str, ...] = ()
        try:
            if "seed" in swept:
                override = swept.pop("seed")
                if not override.is_discrete_sweep():
                    raise InputError(f"{override.input_line}: seeds repeat each cell; list them, e.g. seed=0,1,2")
                seeds = tuple(dict.fromkeys(override.sweep_string_iterator()))
            axes = tuple(map(Axis.of, swept.values()))
        except HydraException as error:
            raise InputError(str(error)) from None
        if not axes:
            raise InputError("there is nothing to search: give an option several values, e.g. model.g_lr=1e-4,1e-3")
        return cls((*kept, *fixed), axes, seeds)

    def varied(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a cell that are its own, in the order of the axes."""
        cell = [(axis.key, values[axis.key]) for axis in self.axes]
        return [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in cell]

    def jobs(self, values: Mapping[str, Any]) -> list[list[str]]:
        """What varies in the jobs of a cell: one job per seed, or one."""
        return [[*self.varied(values), f"seed={seed}"] for seed in self.seeds] or [self.varied(values)]

    def corners(self) -> Iterator[Values]:
        """Cells whose configs show what is wrong with the space.

        All combinations of choices and of the ends of intervals; where those are many, each value beside the first ones
        of the other axes.
        """
        keys, values = [axis.key for axis in self.axes], [axis.corners for axis in self.axes]
        if math.prod(map(len, values)) <= AT_MOST_CHECKED:
            yield from (dict(zip(keys, cell, strict=True)) for cell in itertools.product(*values))
            return
        first = {key: value[0] for key, value in zip(keys, values, strict=True)}
        yield first
        yield from (
            {**first, key: value} for key, those in zip(keys, values, strict=True) for value in those[1:]
        )  # fmt: skip


@dataclass(frozen=True)
class Objective:
    """A score that cells are compared by.

    Args:
        score: a key of results.json whose value is a number.
        direction: minimize or maximize.
        failed: what a seed that failed or diverged counts as; None: its cell is told as failed.
    """

    score: str
    direction: str = "minimize"
    failed: float | None = None

    def value(self, results: Mapping[str, Any]) -> float | None:
        """What a seed that has ended counts as, or None."""
        value = results.get(self.score)
        good = results.get("status") == "done" and not results.get("diverged")
        return float(value) if good and isinstance(value, int | float) and math.isfinite(value) else self.failed


@dataclass(frozen=True)
class Options:
    """The options of a search: those of conf/hydra/sweeper/search.yaml."""

    trials: int
    objectives: tuple[Objective, ...]
    sampler: Values
    pruner: Values | None = None
    seed: int = 0

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Options:
        """Check and read the options.

        Raises:
            InputError: naming the first that is wrong.
        """
        for key, low in (("trials", 1), ("seed", 0)):
            if not whole(low).accepts(given.get(key)):
                raise InputError(f"hydra.sweeper.{key}={given.get(key)}: must be {whole(low).words}")
        listed = given.get("objectives")
        if not isinstance(listed, list) or not listed:
            raise InputError("hydra.sweeper.objectives: must be a list of {score: ..., direction: ..., failed: ...}")
        objectives = tuple(_objective(entry) for entry in listed)
        pruner = given.get("pruner")
        if pruner and len(objectives) > 1:
            raise InputError("hydra.sweeper.pruner: only a search with one objective can prune; set it to null")
        for key, what in (("sampler", given.get("sampler")), ("pruner", pruner)):
            if (key == "sampler" or what is not None) and not (isinstance(what, dict) and what.get("_target_")):
                raise InputError(f"hydra.sweeper.{key}={what}: must have a _target_ such as optuna.{key}s....")
        return cls(given["trials"], objectives, dict(given["sampler"]), pruner, given["seed"])


def _objective(entry: Any) -> Objective:
    known = ("score", "direction", "failed")
    if not isinstance(entry, dict) or not isinstance(entry.get("score"), str):
        raise InputError(f"hydra.sweeper.objectives: {entry} must be like {{score: eval/frechet, direction: minimize}}")
    for key in entry:
        if key not in known:
            raise InputError(f"hydra.sweeper.objectives: there is no option {key}{near(key, known)}")
    objective = Objective(**entry)
    if objective.direction not in DIRECTIONS:
        raise InputError(
            f"hydra.sweeper.objectives: direction={objective.direction}: must be {' or '.join(DIRECTIONS)}"
        )
    if objective.failed is not None and not is_number(objective.failed):
        raise InputError(f"hydra.sweeper.objectives: failed={objective.failed}: must be a number, or null")
    return objective


def make(what: Mapping[str, Any], **more: Any) -> Any:
    """A sampler or a pruner.

    Raises:
        InputError: if it cannot be made.
    """
    optuna()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "experimental"
            return hydra.utils.instantiate(dict(what), **more)
    except HydraException as error:
        raise InputError(f"{what.get('_target_')}: {str(error.__cause__ or error).splitlines()[0]}") from None


def optuna() -> Any:
    """The package optuna, quiet.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import optuna as package
    except ImportError:
        raise InputError("a search needs optuna: pip install 'saddle-gan[optuna]'") from None
    package.logging.set_verbosity(package.logging.WARNING)
    return package


def validate(space: Space, options: Options, check: Check) -> int:
    """Check the space, and the configs of cells all over it.

    Returns:
        How many jobs run at once.

    Raises:
        InputError: naming the cell that is wrong.
    """
    for axis in space.axes:
        axis.distribution()
    make(options.sampler, seed=options.seed)
    if options.pruner:
        make(options.pruner)
    at_once = 1
    for values in space.corners():
        try:
            config = check([*space.fixed, *space.jobs(values)[0]])
            refuse_unknown_scores(options, config)
        except InputError as error:
            raise InputError(f"cell ({' '.join(space.varied(values))}): {error}") from None
        at_once = get(config, "study.jobs") or 1
    return at_once


def refuse_unknown_scores(options: Options, config: Mapping[str, Any]) -> None:
    """Refuse an objective that no chosen metric logs.

    Raises:
        InputError: naming the near match.
    """
    produced = scores(config)
    for objective in options.objectives:
        if objective.score.startswith("eval/") and objective.score not in produced:
            listed = ", ".join(produced) or "none; choose metrics="
            raise InputError(
                f"hydra.sweeper.objectives: no chosen metric logs {objective.score}{near(objective.score, produced)} "
                f"(scores: {listed})"
            )


# ----------------------------------------------------------------------------------------------------------- the search


@dataclass
class Cell:
    """A trial of optuna that has not been told yet, and its jobs, one per seed."""

    trial: Any
    jobs: list[Job]
    reported: set[int] = field(default_factory=set)  # iterations whose score the pruner knows


class Search(Plan):
    """Asks optuna for cells whenever there is room for a job, and tells it how they did.

    Made once for each process that runs the sweep, under the sweep's lock: it goes on where the journal ends. A cell
    that is proposed again shares the jobs of the first.

    Args:
        sweep: whose jobs these are.
        space: what is searched.
        options: how.
        check: refuses a wrong config.
    """

    def __init__(self, sweep: Sweep, space: Space, options: Options, check: Check):
        super().__init__([])
        self.sweep, self.space, self.options, self.check = sweep, space, options, check
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
            pruner=make(options.pruner) if options.pruner else optuna().pruners.NopPruner(),
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
            listed = [Job(**job) for job in frozen.user_attrs["jobs"]]
            self._open(Cell(trial, listed, set(frozen.intermediate_values)))
        self._write_table()

    def _sampler(self) -> Any:
        """A sampler whose random numbers depend on how many trials there were, so that it needs no stored state."""
        return make(self.options.sampler, seed=(self.options.seed * 1_000_003 + len(self._trials())) % 2**32)

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
            listed = [Job(**job) for job in same.user_attrs["jobs"]]
        else:
            try:
                listed = self._jobs(trial)
            except InputError as error:
                print(f"trial {trial.number} ({' '.join(self.space.varied(trial.params))}): {error}", flush=True)
                trial.set_user_attr("refused", str(error))
                self._tell(trial, state=self.states.FAIL)
                return
        trial.set_user_attr("jobs", [asdict(job) for job in listed])
        self._open(Cell(trial, listed))

    def _jobs(self, trial: Any) -> list[Job]:
        """The jobs of a new cell.

        Raises:
            InputError: if its config is wrong.
        """
        varied = self.space.jobs(trial.params)
        count = processes(self.check([*self.space.fixed, *varied[0]])) or 1
        first = trial.number * len(varied)
        return [Job(job_name(first + i, own), [*self.space.fixed, *own], count) for i, own in enumerate(varied)]

    def _open(self, cell: Cell) -> None:
        self.open.append(cell)
        busy = {job.folder for job in self.waiting} | self.running
        self.waiting += [job for job in cell.jobs if job.folder not in busy and self._results(job)[0] not in FINAL]
        self._settle(cell)

    # ------------------------------------------------------------------------------------------------ telling

    def _results(self, job: Job) -> tuple[str | None, Values]:
        results = self.sweep.run_folder(job).results()
        return results.get("status"), results

    def _settle(self, cell: Cell) -> None:
        """Tell optuna of a cell whose jobs have ended, or whose outcome is certain."""
        listed = [self._results(job) for job in cell.jobs if job.folder not in self.running]
        ended = [results for status, results in listed if status in FINAL]
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
        shown = ", ".join(
            f"{objective.score} {value:g}"
            for objective, value in zip(self.options.objectives, outcome.get("values") or [], strict=False)
        )
        cell = " ".join(self.space.varied(told.params))
        print(f"trial {told.number} ({cell}): {shown or told.state.name.lower()}", flush=True)
        self._write_table()

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
        """The best trial, or the Pareto front of several objectives; empty if none is complete."""
        complete = [trial for trial in self._trials() if trial.state == self.states.COMPLETE]
        return self.study.best_trials if complete else []

    def say_best(self) -> None:
        """Print what was found."""
        found = self.best()
        several = len(self.options.objectives) > 1
        print(f"{'the Pareto front' if several else 'the best cell'}:" if found else "no cell is complete", flush=True)
        for trial in sorted(found, key=lambda trial: trial.values):
            scored = zip(self.options.objectives, trial.values, strict=True)
            shown = ", ".join(f"{objective.score} {value:g}" for objective, value in scored)
            print(f"    {' '.join(self.space.varied(trial.params))}: {shown}", flush=True)


def curve(file: Path, column: str) -> list[tuple[int, float]]:
    """The iterations and values of one column of a metrics.csv that may be growing."""
    text = file.read_text(encoding="utf-8", errors="replace")
    rows = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    return [(int(row["iteration"]), float(row[column])) for row in rows if row.get(column) and row.get("iteration")]


# ------------------------------------------------------------------------------------------------- beginning, going on


def begin(config: DictConfig, arguments: Sequence[str]) -> None:
    """Search in a new sweep folder.

    Args:
        config: Hydra's, of the sweep.
        arguments: the overrides of the command line.

    Raises:
        InputError: if anything is wrong; then no job has started.
    """
    hydra_config = config.hydra
    if hydra_config.launcher.get("_target_") != PROCESSES:
        raise InputError("a search runs its jobs by hydra/launcher=processes, submitit_local, submitit_slurm or ray")
    composer, kept = jobs.composer_of(hydra_config)
    options, space = read(hydra_config, arguments, kept)
    check = checker(composer)
    at_once = validate(space, options, check)
    folder = Path(hydra_config.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")
    sweep = jobs.new_sweep(folder, at_once, hydra_config.launcher)
    with sweep.locked():
        write_atomic(folder / LIST, json.dumps({"space": asdict(space), "options": asdict(options)}, indent=2) + "\n")
        sweep.save()
        jobs.failed_jobs.extend(run(sweep, space, options, check))


def read(hydra_config: DictConfig, arguments: Sequence[str], kept: Sequence[str]) -> tuple[Options, Space]:
    """The options and the space of a sweeper's config and the command line, which wins."""
    given: Any = OmegaConf.to_container(hydra_config.sweeper, resolve=True)
    params = [f"{key}={value}" for key, value in (given.get("params") or {}).items()]
    return Options.read(given), Space.read([*params, *arguments], kept)


def checker(composer: Composer) -> Check:
    """What refuses the config of a wrong job."""
    return lambda overrides: checked(composer, [*overrides, "hydra.mode=RUN"], "train")


def run(sweep: Sweep, space: Space, options: Options, check: Check) -> list[Job]:
    """Search until enough cells were tried; the jobs that did not end well. The caller holds the sweep's lock."""
    search = Search(sweep, space, options, check)
    try:
        return jobs.run_jobs(sweep, search)
    finally:
        search.say_best()


def is_search(folder: str) -> bool:
    """Whether a sweep folder is that of a search."""
    return (Path(folder) / LIST).is_file()


def resume(folder: str, script: str, composer: Composer) -> int:
    """Go on with the search in a sweep folder; the exit status.

    Raises:
        InputError: if it cannot be read, or another process runs it.
    """
    sweep = Sweep.load(Path(folder), script)
    space, options = load(Path(folder))
    with sweep.locked():
        return FAILED if run(sweep, space, options, checker(composer)) else DONE


def load(folder: Path) -> tuple[Space, Options]:
    """What is searched in a sweep folder, and how.

    Raises:
        InputError: if its search.json cannot be read.
    """
    try:
        found = json.loads((folder / LIST).read_text(encoding="utf-8"))
        space = found["space"]
        axes = tuple(Axis(**{**axis, "values": tuple(axis["values"])}) for axis in space["axes"])
        return Space(tuple(space["fixed"]), axes, tuple(space["seeds"])), Options.read(found["options"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / LIST} cannot be read: {error}") from None


# ---------------------------------------------------------------------------------------------- Weights & Biases' agent


def wandb_sweep(space: Space, options: Options, script: str) -> dict[str, Any]:
    """The same sweep for `wandb sweep` and `wandb agent`: seeds are one more parameter there, and one score counts."""
    parameters = {axis.key: _wandb_parameter(axis) for axis in space.axes}
    if space.seeds:
        parameters["seed"] = {"values": [int(seed) for seed in space.seeds]}
    objective = options.objectives[0]
    grid = all("values" in parameter for parameter in parameters.values())
    return {
        "program": script,
        "method": "grid" if grid else "bayes",
        "metric": {"name": objective.score, "goal": objective.direction},
        "parameters": parameters,
        "command": ["${env}", "${interpreter}", "${program}", *space.fixed, "hydra.mode=RUN", "${args_no_hyphens}"],
    }


def _wandb_parameter(axis: Axis) -> dict[str, Any]:
    if axis.values:
        return {"values": [*axis.values]}
    if axis.step is not None and not axis.log:
        count = round((axis.high - axis.low) / axis.step) + 1
        return {"values": [axis.low + i * axis.step for i in range(count)]}
    if axis.whole:
        spread = "q_log_uniform_values" if axis.log else "int_uniform"
        return {"distribution": spread, "min": axis.low, "max": axis.high}
    return {"distribution": "log_uniform_values" if axis.log else "uniform", "min": axis.low, "max": axis.high}


def write_wandb_sweep(config: DictConfig, arguments: Sequence[str]) -> Path:
    """Write wandb_sweep.yaml into the sweep folder instead of running anything.

    Raises:
        InputError: if a cell is wrong.
    """
    composer, kept = jobs.composer_of(config.hydra)
    options, space = read(config.hydra, arguments, kept)
    validate(space, options, checker(composer))
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    script = Path(jobs.this_script())
    program = str(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)
    path = folder / "wandb_sweep.yaml"
    write_atomic(path, yaml.safe_dump(wandb_sweep(space, options, program), sort_keys=False))
    print(f"{path}: start it by `wandb sweep {path}` and run `wandb agent` where it says", flush=True)
    return path
