"""A search begins in a new sweep folder, or goes on in an old one. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from saddle.config.check import checked
from saddle.config.compose import Composer
from saddle.errors import InputError
from saddle.run.folder import write_atomic
from saddle.sweep import launcher
from saddle.sweep.running import run_jobs
from saddle.sweep.search.options import Check, Options, validate
from saddle.sweep.search.plan import Search
from saddle.sweep.search.space import Axis, Space

LIST = "search.json"
PROCESSES = "saddle.sweep.launcher.Processes"


def begin(config: DictConfig, arguments: Sequence[str]) -> None:
    """Search in a new sweep folder: that of Hydra's config, as its sweeper and the command line ask for.

    Raises:
        InputError: if anything is wrong; then no job has started.
    """
    if config.hydra.launcher.get("_target_") != PROCESSES:
        raise InputError("a search runs its jobs by hydra/launcher=processes, submitit_local, submitit_slurm or ray")
    space, options, check, at_once = prepare(config.hydra, arguments)
    sweep = launcher.new_sweep(config.hydra, at_once)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, sweep.folder / "multirun.yaml")
    with sweep.locked():
        found = {"space": asdict(space), "options": asdict(options)}
        write_atomic(sweep.folder / LIST, json.dumps(found, indent=2) + "\n")
        sweep.save()
        launcher.failed_jobs.extend(run_jobs(sweep, Search(sweep, space, options, check)))


def prepare(hydra_config: DictConfig, arguments: Sequence[str]) -> tuple[Space, Options, Check, int]:
    """What is searched and how, what refuses the config of a wrong job, and how many jobs run at once.

    A sweeper's config says so, and the command line, which wins.

    Raises:
        InputError: if anything is wrong.
    """
    composer, kept = launcher.composer_of(hydra_config)
    given: Any = OmegaConf.to_container(hydra_config.sweeper, resolve=True)
    params = [f"{key}={value}" for key, value in (given.get("params") or {}).items()]
    options, space, check = Options.read(given), Space.read([*params, *arguments]), checker(composer, kept)
    return space, options, check, validate(space, options, check)


def checker(composer: Composer, kept: Sequence[str] = ()) -> Check:
    """What refuses the config of a wrong job; those `kept` are overrides that every job needs."""
    return lambda overrides: checked(composer, [*kept, *overrides, "hydra.mode=RUN"])


def is_search(folder: Path) -> bool:
    """Whether the sweep in a folder is a search."""
    return (folder / LIST).is_file()


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
