"""A sweep from the command line: Hydra's sweeper names the jobs, Hydra's launcher runs them. Free of torch."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from saddle.config.check import checked, processes
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
        single = [text for text in overrides if not ambiguous(text)]
        folder = Path(composer.compose(single).hydra.sweep.dir)
    if value_of(single, "hydra.sweep.dir") is None:
        folder = make_unique(folder)
    elif (folder / LIST).exists():
        remedy = f"continue it by -m resume={folder}, or choose another folder"
        raise InputError(f"{folder} holds a sweep already: {remedy}")
    sys.argv.append(f"hydra.sweep.dir={quoted(folder)}")
    try:
        by_hydra()
    except COMPOSITION_ERRORS as error:
        with composer:
            raise InputError(composer.explain(error, [*filter(ambiguous, overrides)], sweep=True)) from None
    finally:
        discard_unused(folder)
    print(f"sweep folder: {folder}")
    return FAILED if failed_jobs else DONE


def discard_unused(folder: Path) -> None:
    """Remove what Hydra left in a sweep folder in which no job was started."""
    if (folder / LIST).exists() or not folder.is_dir():
        return
    (folder / "multirun.yaml").unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


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
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            try:
                config = checked(composer, [*kept, *overrides, "hydra.mode=RUN"])
            except InputError as error:
                raise InputError(f"job {number} ({' '.join(overrides)}): {error}") from None
            varied = [text for text in overrides if parse(text).key_or_group in swept]
            batch.append(Job(job_name(number, varied), list(overrides), processes(config) or 1))
            trust |= {name for _, name in foreign(config)}  # the user's own, as the command line is
            at_once = config["study"]["jobs"]
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
