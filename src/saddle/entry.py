"""From the command line to a task and its exit status. Free of torch until the config has been checked."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from saddle.config import resolvers
from saddle.config.check import checked, plain, warnings_of
from saddle.config.compose import Composer, ambiguous, parse, quoted, value_of, within
from saddle.errors import InputError
from saddle.run import signals, terminal
from saddle.run.folder import RunFolder
from saddle.run.launch import RUN_DIR, agree, check_environment, is_first_process, new_folder
from saddle.run.resume import resumed
from saddle.run.status import DONE, EXIT_STATUS, FAILED, Preempted, status_of
from saddle.sweep import plugins
from saddle.sweep.launcher import flags_of, refuse_launcher, sweep
from saddle.sweep.resume import resume_sweep

Task = Callable[[DictConfig], object]
Training = Callable[[DictConfig, RunFolder], str]


def main(task: Task, config_name: str) -> None:
    """Run a command that makes no run: compose its config, check it, call `task(config)`, exit.

    The task is a function of a script in the folder beside `conf/`, e.g. src/evaluate.py.
    """

    def run(composer: Composer, overrides: list[str]) -> int:
        for text in overrides:
            if within(parse(text).key_or_group.replace("/", "."), "hydra"):
                raise InputError(f"{text}: this command makes no run and no sweep; leave it out")
        task(OmegaConf.create(checked(composer, overrides)))
        return DONE

    sys.exit(dispatch(task, config_name, run))


def main_training(task: Training, config_name: str = "train") -> None:
    """Run the command that makes runs: as `main`, with a run folder, resuming, sweeps and results.

    The task trains and returns how the run ended: "done", "preempted" or "interrupted".
    """
    run = partial(train, task)
    sys.exit(dispatch(task, config_name, run, sweeps=True))


def dispatch(
    task: Callable[..., Any], config_name: str, run: Callable[[Composer, list[str]], int], sweeps: bool = False
) -> int:
    """Serve Hydra's own flags by Hydra, a sweep by child processes, and a single run by `run`; the exit status.

    What is raised becomes one line, or a traceback where the fault is not the user's.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra's errors come through
    terminal.outlive()
    signals.install()
    resolvers.register()
    plugins.register()
    try:
        args = arguments(sweeps)
        script = Path(inspect.getfile(task)).resolve()
        conf = Path(args.config_path or script.parent.parent / "conf").resolve()
        name = args.config_name or config_name
        if args.config_dir and not os.path.isdir(args.config_dir):
            raise InputError(f"--config-dir {args.config_dir}: there is no such folder; give one of yaml files")
        by_hydra = hydra.main(version_base="1.3", config_path=str(conf), config_name=name)(task)
        composer = Composer(conf, name, [os.path.abspath(args.config_dir)] if args.config_dir else [])
        with composer:
            single = [text for text in args.overrides if not ambiguous(text)]
            hydra_config = composer.compose(single).hydra
            shown = args.help or args.hydra_help or args.cfg or args.info or args.shell_completion
            if sweeps and not shown:
                refuse_launcher(composer, hydra_config)
            if args.multirun and value_of(single, "resume") is not None:
                return resume_sweep(composer, args.overrides, flags_of(args))
            if not shown and not args.multirun and hydra_config.mode != RunMode.MULTIRUN:
                return run(composer, args.overrides)
        if shown:
            by_hydra()
            return DONE
        return sweep(by_hydra, composer, args.overrides)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except (KeyboardInterrupt, Preempted) as asked:
        return EXIT_STATUS[status_of(asked)]
    except Exception:
        traceback.print_exc()
    return FAILED


def arguments(sweeps: bool) -> Namespace:
    """The arguments of this process, as Hydra's parser reads them.

    Raises:
        InputError: for those that this command does not know, or does nothing with.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args()
    sys.argv[1:] = [
        *(text for text in sys.argv[1:] if text not in args.overrides),
        *args.overrides,
    ]  # Hydra's own order
    if args.multirun and not sweeps:
        raise InputError("-m sweeps over training runs only: call this command once for each")
    if args.experimental_rerun:
        raise InputError("--experimental-rerun does nothing here: resume=RUN_DIR goes on with a run")
    if (args.resolve or args.package) and not args.cfg:
        raise InputError("--resolve and --package say how a config is shown: add --cfg job")
    return args


def _refuse(message: str) -> NoReturn:
    raise InputError(f"{message}; write key=value, or --help for what there is")


def train(task: Training, composer: Composer, overrides: list[str]) -> int:
    """Begin a run, or go on with one; the exit status. The first process holds the folder as long as it lives."""
    first, resumes = is_first_process(), value_of(overrides, "resume")
    if resumes is not None:
        folder, hydra_config = RunFolder(str(resumes)), composer.compose([])
        folder.config()  # there is a run in it
    else:
        config, hydra_config = checked(composer, overrides), composer.compose(overrides)
        check_environment(config)
        folder = new_folder(config, hydra_config.hydra.run.dir, value_of(overrides, "hydra.run.dir") is not None)
    with folder.locked() if first else nullcontext():
        if resumes is not None:
            config = resumed(composer, overrides, folder)
            check_environment(config)
            if folder.finished(config):
                print(f"{folder.path}: the run is finished; to go on, give more iterations= or minutes=")
                return DONE
            folder.refuse_lost(config["checkpoint"]["every"])
            agree(config, lambda: folder.path)
        elif first:
            folder.refuse_second()
        for warning in warnings_of(config) if first else ():
            print(f"warning: {warning}", file=sys.stderr)
        config |= {"resume": None, "trust": []}
        # Lightning hands it to the processes that it starts, between double quotes
        hydra_config.hydra.run.dir = quoted(str(folder.path), Quote.double)[1:-1]
        HydraConfig.instance().set_config(hydra_config)
        os.environ[RUN_DIR] = str(folder.path.resolve())
        return live(task, OmegaConf.create(config), folder, new=resumes is None)


def live(task: Training, config: DictConfig, folder: RunFolder, new: bool) -> int:
    """Train; write down how it ended, whatever happens; the exit status.

    A run that goes on and fails before it has begun to write leaves its folder as it was. A new one that is refused
    leaves none, unless the folder was there before, as that of a sweep's job.
    """
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
    if new and not folder.begun and not (folder.made and isinstance(error, InputError)):
        folder.begin(plain(config), first)
    status = folder.end(status, error, first)
    # Lightning kills rank 0 when another process ends badly, so the others keep quiet about ends that all agree on
    return EXIT_STATUS[status] if first or status == "failed" else DONE
