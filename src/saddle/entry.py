"""From the command line to a task and its exit status. Free of torch until the config has been checked."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from saddle.config import resolvers
from saddle.config.check import checked
from saddle.config.compose import COMPOSITION_ERRORS, Composer, ambiguous, parse, value_of
from saddle.errors import InputError
from saddle.run import rendezvous, signals
from saddle.run.folder import RUN_DIR, RunFolder, is_first_process, make_unique, new_folder
from saddle.run.resume import resumed
from saddle.run.status import DONE, EXIT_STATUS, FAILED, INTERRUPTED, PREEMPTED, Preempted, status_of
from saddle.sweep import launcher, running, search
from saddle.sweep.jobs import LIST, quoted

Task = Callable[[DictConfig], object]
Training = Callable[[DictConfig, RunFolder], str]


def main(task: Task, config_name: str) -> None:
    """Run a command that makes no run: compose its config, check it, call `task(config)`, exit.

    Args:
        task: a function of a script in the folder beside `conf/`, e.g. src/evaluate.py.
        config_name: the primary config in `conf/`.
    """

    def run(composer: Composer, overrides: list[str]) -> int:
        config = checked(composer, overrides)
        HydraConfig.instance().set_config(composer.compose(overrides))
        task(OmegaConf.create(config))
        return DONE

    sys.exit(reported(lambda: dispatch(task, config_name, run)))


def main_training(task: Training, config_name: str = "train") -> None:
    """Run the command that makes runs: as `main`, with a run folder, resuming, sweeps and results.

    Args:
        task: a function of (config, run folder) that trains and returns how the run ended: "done", "preempted" or
            "interrupted".
        config_name: the primary config in `conf/`.
    """
    signals.install()
    sys.exit(reported(lambda: dispatch(task, config_name, lambda composer, words: train(task, composer, words))))


def reported(command: Callable[[], int]) -> int:
    """Call `command`; what it raises becomes one line, or a traceback where the fault is not the user's."""
    try:
        return command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Preempted:
        return PREEMPTED
    except Exception:
        traceback.print_exc()
    return FAILED


def dispatch(task: Callable[..., Any], config_name: str, run: Callable[[Composer, list[str]], int]) -> int:
    """Serve Hydra's own flags by Hydra, a sweep by child processes, and a single run by `run`; the exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra's errors come through
    resolvers.register()
    args = get_args_parser().parse_args()
    script = Path(inspect.getfile(task)).resolve()
    conf = Path(args.config_path or script.parent.parent / "conf").resolve()
    name = args.config_name or config_name

    def by_hydra() -> None:
        hydra.main(version_base="1.3", config_path=str(conf), config_name=name)(task)()

    if args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        by_hydra()
        return DONE
    composer = Composer(conf, name, [os.path.abspath(args.config_dir)] if args.config_dir else [])
    with composer:
        single = [text for text in args.overrides if not ambiguous(text)]
        if args.multirun and value_of(single, "resume") is not None:
            return resume_sweep(composer, args.overrides)
        if not args.multirun and composer.compose(single).hydra.mode != RunMode.MULTIRUN:
            return run(composer, args.overrides)
        folder = sweep_folder(composer, single)
    return sweep(by_hydra, composer, args, folder)


# ----------------------------------------------------------------------------------------------------------- one run


def train(task: Training, composer: Composer, overrides: list[str]) -> int:
    """Begin a run, or go on with one; the exit status."""
    if value_of(overrides, "resume") is not None:
        config, folder = resumed(composer, overrides)
        if folder.finished(config):
            print(f"{folder.path}: the run is finished; to go on, give more iterations= or minutes=")
            return DONE
    else:
        config = checked(composer, overrides)
        rendezvous.refuse_other_count(config)
        wanted = composer.compose(overrides).hydra.run.dir
        folder = begin_folder(config, wanted, given=value_of(overrides, "hydra.run.dir") is not None)
    config["resume"] = None
    hydra_config = composer.compose(overrides if not value_of(overrides, "resume") else [])
    hydra_config.hydra.run.dir = str(folder.path)  # Lightning hands it to the processes that it starts
    HydraConfig.instance().set_config(hydra_config)
    if is_first_process():
        folder.begin(config)
        os.environ[RUN_DIR] = str(folder.path.resolve())
    return live(task, OmegaConf.create(config), folder)


def begin_folder(config: Mapping[str, Any], wanted: str, given: bool) -> RunFolder:
    """The folder of a new run, the same for all its processes."""
    descends = RUN_DIR in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"  # from a process that knows it
    if given or descends or not rendezvous.several_commands(config):
        return new_folder(wanted, given)
    folder = rendezvous.agree(is_first_process(), lambda: new_folder(wanted, given=False).path)
    os.environ[RUN_DIR] = str(folder.resolve())  # for the processes that this one starts
    return RunFolder(folder)


def live(task: Training, config: DictConfig, folder: RunFolder) -> int:
    """Train; write down how it ended, whatever happens; the exit status."""
    error: BaseException | None = None
    try:
        status = task(config, folder)
    except SystemExit:  # Lightning's answer to Ctrl-C outside its loop
        status = signals.received() or "failed"
    except (Exception, KeyboardInterrupt, Preempted) as caught:
        status, error = status_of(caught), caught
    if status == "failed" and error is not None and not isinstance(error, InputError):
        traceback.print_exception(error)
    elif error is not None and str(error):
        print(f"error: {error}", file=sys.stderr)
    first = is_first_process()
    status = folder.end(status, error, first)
    # Lightning kills rank 0 when another process ends badly, so the others keep quiet about ends that all agree on
    return EXIT_STATUS[status] if first or status == "failed" else DONE


# ----------------------------------------------------------------------------------------------------------- a sweep


def resume_sweep(composer: Composer, overrides: list[str]) -> int:
    """Run what is not done in the sweep folder that `-m resume=DIR` names; the exit status."""
    others = [text for text in overrides if parse(text).key_or_group != "resume"]
    if others:
        raise InputError(f"-m resume=SWEEP_DIR takes no other option: leave out {' '.join(others)}")
    folder, script = str(value_of(overrides, "resume")), launcher.this_script()
    if search.is_search(folder):
        return search.resume(folder, script, composer)
    return running.resume_sweep(folder, script)


def sweep_folder(composer: Composer, overrides: list[str]) -> Path:
    """Make the folder of a sweep.

    Args:
        composer: of the configs.
        overrides: those of the command line that have one value.

    Raises:
        InputError: if the named folder holds a sweep.
    """
    wanted = Path(composer.compose(overrides).hydra.sweep.dir)
    if value_of(overrides, "hydra.sweep.dir") is None:
        return make_unique(wanted)
    if (wanted / LIST).exists():
        raise InputError(f"{wanted} holds a sweep already: continue it by -m resume={wanted}, or choose another folder")
    return wanted


def sweep(by_hydra: Callable[[], None], composer: Composer, args: argparse.Namespace, folder: Path) -> int:
    """Let Hydra's sweeper name the jobs, and run them in `folder`; the exit status."""
    sys.argv.append(f"hydra.sweep.dir={quoted(folder)}")
    try:
        by_hydra()
    except COMPOSITION_ERRORS as error:
        with composer:
            raise InputError(composer.explain(error, [*filter(ambiguous, args.overrides)], sweep=True)) from None
    finally:
        launcher.discard_unused(folder)
    print(f"sweep folder: {folder}")
    return FAILED if launcher.failed_jobs else DONE
