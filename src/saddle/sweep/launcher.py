"""A sweep from the command line: Hydra's sweeper names the jobs, Hydra's launcher runs them. Free of torch."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import ValueType
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from saddle.config.check import check_sweep, checked, processes, warnings_of
from saddle.config.compose import COMPOSITION_ERRORS, Composer, ambiguous, parse, value_of, within
from saddle.config.instantiate import foreign
from saddle.errors import InputError
from saddle.run.folder import make_unique
from saddle.run.status import DONE, FAILED
from saddle.sweep.jobs import LIST, Job, Sweep, job_name, quoted
from saddle.sweep.places import place_of
from saddle.sweep.running import Plan, run_jobs

failed_jobs: list[Job] = []  # of this process's sweep; Hydra gives no other way to hand them out


def sweep(by_hydra: Callable[[], Any], composer: Composer, overrides: Sequence[str]) -> int:
    """Let Hydra's sweeper name the jobs, and run them in a folder of their own; the exit status.

    `by_hydra` calls Hydra on this process's command line, whose `overrides` are given too.

    Raises:
        InputError: if the named folder holds a sweep, or a job is wrong.
    """
    with composer:
        words = composer.read(overrides, sweep=True)
        single = [text for text in words if not ambiguous(text)]
        config = composer.compose(single)
        refuse_sweep(composer, config.hydra, words)
    folder = Path(config.hydra.sweep.dir)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    if value_of(single, "hydra.sweep.dir") is None:
        new[:1] = [folder := make_unique(folder)]
    elif (folder / LIST).exists():
        remedy = f"continue it by -m resume={folder}, or choose another folder"
        raise InputError(f"{folder} holds a sweep already: {remedy}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"hydra.sweep.dir={folder}: this folder cannot be made: {error.strerror}") from None
    flags = [text for text in sys.argv[1:] if text not in overrides]
    sys.argv[1:] = [*flags, *words, f"hydra.sweep.dir={quoted(folder)}"]
    try:
        by_hydra()
    except COMPOSITION_ERRORS as error:
        with composer:
            raise InputError(composer.explain(error, [*filter(ambiguous, overrides)])) from None
    finally:
        discard_unused(folder, new)
    print(f"sweep folder: {folder}")
    return FAILED if failed_jobs else DONE


def refuse_launcher(composer: Composer, hydra_config: DictConfig) -> None:
    """Raise an InputError for a launcher that cannot run jobs as processes of their own."""
    choice = hydra_config.runtime.choices["hydra/launcher"]
    if not issubclass(get_class(hydra_config.launcher["_target_"]), Processes):
        others = ", ".join(name for name in composer.library.options_of("hydra/launcher") if name != choice)
        raise InputError(f"hydra/launcher={choice} cannot run these jobs; there are {others}")


def refuse_sweep(composer: Composer, hydra_config: DictConfig, overrides: Sequence[str]) -> None:
    """Raise an InputError for wrong options of launcher and sweeper, for no job at all, or for a sweep over sweeps."""
    refuse_launcher(composer, hydra_config)
    check_sweep(composer, [text for text in overrides if not ambiguous(text)])
    params = [f"{key}={value}" for key, value in (hydra_config.sweeper.get("params") or {}).items()]
    for override in map(parse, [*overrides, *params]):
        if not override.is_discrete_sweep() or override.value_type == ValueType.GLOB_CHOICE_SWEEP:
            continue
        text, group = override.input_line, override.key_or_group
        try:
            values = [*override.sweep_string_iterator()]
        except ValueError as error:  # of a range without a step
            raise InputError(f"{text}: {error}") from None
        if not values:
            raise InputError(f"{text}: there is no value in it, so no job would run")
        for choice in (f"{group}={value}" for value in values if composer.is_choice(f"{group}={value}")):
            if not composer.read([choice]):
                raise InputError(f"{text}: no job can leave {group} out here; run it without -m {group}=")
            path = choice.replace("=", "/")
            if composer.library.has(path) and "hydra.mode" in composer.library.keys(path):
                raise InputError(f"{text}: {choice} is a sweep of its own: run one after another")


def discard_unused(folder: Path, new: Sequence[Path]) -> None:
    """Remove what Hydra left in a sweep folder in which no job was started, and the `new` folders, innermost first."""
    if (folder / LIST).exists():
        return
    (folder / "multirun.yaml").unlink(missing_ok=True)
    for path in new:
        with suppress(OSError):  # it holds something
            path.rmdir()


def composer_of(hydra_config: DictConfig) -> tuple[Composer, list[str]]:
    """A composer of the configs that Hydra runs on, and the overrides of Hydra that every job needs."""
    conf = next(source.path for source in hydra_config.runtime.config_sources if source.provider == "main")
    return Composer(Path(conf), hydra_config.job.config_name), said(hydra_config.overrides.hydra, "hydra.searchpath")


def said(overrides: Sequence[str], key: str) -> list[str]:
    """Those of a list of overrides that are of a key, or of something in it."""
    return [text for text in overrides if within(parse(text).key_or_group.replace("/", "."), key)]


def this_script() -> str:
    """The script that this process runs, which its jobs run too."""
    return os.path.abspath(sys.argv[0])


def flags_of(args: Namespace) -> list[str]:
    """The flags of a command line, as Hydra has read them, that say where its configs are."""
    given = {"config-path": args.config_path, "config-dir": args.config_dir}
    flags = [f"--{name}={os.path.abspath(path)}" for name, path in given.items() if path]
    return flags + ([f"--config-name={args.config_name}"] if args.config_name else [])


def new_sweep(hydra_config: DictConfig, at_once: int) -> Sweep:
    """A sweep without jobs, with the flags of this process and the place that Hydra's launcher names."""
    flags = flags_of(get_args_parser().parse_args())
    flags += said(hydra_config.overrides.hydra, "hydra.searchpath")
    choice = f"hydra/launcher={hydra_config.runtime.choices['hydra/launcher']}"  # a study's too
    typed = [text for text in said(hydra_config.overrides.hydra, "hydra.launcher") if text != choice]
    launcher = [choice, *typed] if typed or not choice.endswith("=processes") else []
    return Sweep(Path(hydra_config.sweep.dir), this_script(), flags, at_once, [], launcher, place_in(hydra_config))


def place_in(hydra_config: DictConfig) -> dict[str, Any] | None:
    """The config of where jobs run that Hydra's launcher has; None for this machine."""
    launcher: Any = OmegaConf.to_container(hydra_config.launcher, resolve=True)
    return launcher.get("place")


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
        batch, at_once, trust = [], 1, set[str]()
        warnings: dict[str, None] = {}
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            try:
                config = checked(composer, [*kept, *overrides, "hydra.mode=RUN"])
            except InputError as error:
                raise InputError(f"job {number} ({' '.join(overrides)}): {error}") from None
            warnings |= dict.fromkeys(warnings_of(config))
            varied = [text for text in overrides if parse(text).key_or_group in swept]
            batch.append(Job(job_name(number, varied), list(overrides), processes(config) or 1))
            trust |= {name for _, name in foreign(config)}  # the user's own, as the command line is
            at_once = config["study"]["jobs"]
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        begun = (Path(hydra_config.sweep.dir) / LIST).exists()  # by an earlier batch
        sweep = new_sweep(hydra_config, at_once)
        if begun:
            sweep.jobs = Sweep.load(sweep.folder, this_script()).jobs
        sweep.trust = sorted(trust)
        if place_of(sweep.place).queues and sweep.at_once == 1:
            sweep.at_once = max(1, len(batch))
        with sweep.locked():
            sweep.jobs += batch
            sweep.save()
            failed_jobs.extend(run_jobs(sweep, Plan(batch)))
        return [
            JobReturn(job.overrides, status=JobStatus.COMPLETED, _return_value=sweep.run_folder(job).results())
            for job in batch
        ]
