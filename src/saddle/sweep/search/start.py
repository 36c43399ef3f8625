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
from saddle.run.status import DONE, FAILED
from saddle.sweep import launcher
from saddle.sweep.jobs import Job, Sweep
from saddle.sweep.running import run_jobs
from saddle.sweep.search.options import Check, Options, validate
from saddle.sweep.search.plan import Search
from saddle.sweep.search.space import Axis, Space

LIST = "search.json"
PROCESSES = "hydra_plugins.saddle_launcher.ProcessLauncher"


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
    composer, kept = launcher.composer_of(hydra_config)
    options, space = read(hydra_config, arguments, kept)
    check = checker(composer)
    at_once = validate(space, options, check)
    folder = Path(hydra_config.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")
    sweep = launcher.new_sweep(folder, at_once, hydra_config.launcher)
    with sweep.locked():
        write_atomic(folder / LIST, json.dumps({"space": asdict(space), "options": asdict(options)}, indent=2) + "\n")
        sweep.save()
        launcher.failed_jobs.extend(run(sweep, space, options, check))


def read(hydra_config: DictConfig, arguments: Sequence[str], kept: Sequence[str]) -> tuple[Options, Space]:
    """The options and the space of a sweeper's config and the command line, which wins."""
    given: Any = OmegaConf.to_container(hydra_config.sweeper, resolve=True)
    params = [f"{key}={value}" for key, value in (given.get("params") or {}).items()]
    return Options.read(given), Space.read([*params, *arguments], kept)


def checker(composer: Composer) -> Check:
    """What refuses the config of a wrong job."""
    return lambda overrides: checked(composer, [*overrides, "hydra.mode=RUN"])


def run(sweep: Sweep, space: Space, options: Options, check: Check) -> list[Job]:
    """Search until enough cells were tried; the jobs that did not end well. The caller holds the sweep's lock."""
    search = Search(sweep, space, options, check)
    try:
        return run_jobs(sweep, search)
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
