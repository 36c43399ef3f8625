"""The processes of a run: which is the first, and how all of them know its folder. Free of torch until it is needed.

A process that Lightning starts learns the folder from the environment (`RUN_DIR`). torchrun, srun and a command on each
of several machines start processes that know nothing of each other but one address, at which torch keeps a store of
keys for them anyway: there the first one says where the folder is. What else the environment says of ranks is of
another job, and is not believed.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from saddle.config.check import processes
from saddle.errors import InputError
from saddle.run.folder import RunFolder, make_unique

RUN_DIR = "SADDLE_RUN_DIR"  # tells the processes that a run starts where its folder is
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
INTERACTIVE = ("bash", "interactive")  # names of SLURM's jobs that are shells, as Lightning knows them
PATIENCE = 600.0  # seconds, for all processes to be there
QUIET = 3.0  # seconds of waiting that need no word
ATTEMPT = 2.0  # seconds; Python looks at signals in between
KEY = "saddle/run_folder"

T = TypeVar("T")

_kept: list[Any] = []


def launched() -> tuple[int, int] | None:
    """Rank of this process and number of processes, where something else than this command has started them."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:  # torchrun
        return number("RANK"), number("WORLD_SIZE")
    if "SLURM_PROCID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in INTERACTIVE:  # srun
        return number("SLURM_PROCID"), number("SLURM_NTASKS", 1)
    return None


def number(name: str, missing: int = 0) -> int:
    """An environment variable that holds a whole number of at least 0; an InputError if it holds something else."""
    value = os.environ.get(name, str(missing))
    if not value.isdecimal():
        raise InputError(f"{name}={value} in the environment: must be a whole number of at least 0; unset {name}")
    return int(value)


def was_started_by_a_run() -> bool:
    """Whether another process of the same run has started this one."""
    return RUN_DIR in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def is_first_process() -> bool:
    """Whether this process is the one that writes: rank 0, as far as the environment tells before training."""
    known = launched()
    if known is not None:
        return known[0] == 0
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def check_environment(config: Mapping[str, Any]) -> None:
    """Compare what the environment says of this process with the config.

    Where this command starts all processes of the run itself, what is left of another job is dropped, if it would do no
    harm: rank 0, and an address.

    Raises:
        InputError: if the processes that were started are not as many as those of the config, or a rank is not of this
            run: such a process would train and write nothing.
    """
    if was_started_by_a_run():
        return
    known, wanted, nodes = launched(), processes(config), int(config["trainer"]["num_nodes"])
    if known is not None:
        rank, count = known
        names = ("RANK", "WORLD_SIZE") if "RANK" in os.environ else ("SLURM_PROCID", "SLURM_NTASKS")
        if rank >= count or (wanted is not None and count != wanted):
            said = " and ".join(f"{name}={os.environ.get(name, 1)}" for name in names)
            raise InputError(
                f"{said} say that {count} processes were started, and trainer.devices * trainer.num_nodes are "
                f"{wanted or 'all GPUs'}: give trainer=ddp or ddp_cpu, trainer.devices= (processes on each machine) "
                f"and trainer.num_nodes=; or, if they are left from another job, unset {' '.join(names)}"
            )
        if "RANK" in os.environ and count > 1 and "LOCAL_RANK" not in os.environ:
            raise InputError(
                "RANK and WORLD_SIZE are in the environment without LOCAL_RANK: start by torchrun, or unset both"
            )
        return
    if nodes > 1 and ("NODE_RANK" not in os.environ or number("NODE_RANK") >= nodes):
        raise InputError(
            f"trainer.num_nodes={nodes}: start by torchrun or srun, or run the command on each machine with NODE_RANK "
            f"from 0 to {nodes - 1}, MASTER_ADDR and MASTER_PORT in the environment"
        )
    for name in RANKS:
        if name == "NODE_RANK" and nodes > 1:
            continue
        if os.environ.get(name, "0") != "0":
            raise InputError(
                f"{name}={os.environ[name]} is in the environment, and nothing else says that other processes of this "
                f"run were started: it is left from another job; unset {name}"
            )
    for name in RANKS if nodes == 1 else RANKS[:-1]:
        os.environ.pop(name, None)
    for name in ADDRESS if nodes == 1 else ():  # of processes that all are on this machine
        os.environ.pop(name, None)


def new_folder(config: Mapping[str, Any], wanted: str, given: bool) -> RunFolder:
    """The folder of a new run, the same for all its processes.

    It is `wanted` where the user has given it; else the first process makes it, unique by a suffix.

    Raises:
        InputError: if it holds a run, or this process cannot know the folder that another one made.
    """
    if was_started_by_a_run():
        return RunFolder(os.environ[RUN_DIR])
    folder = RunFolder(wanted)
    if given and is_first_process() and folder.config_file.exists():
        remedy = f"continue it by resume={wanted}, or choose another hydra.run.dir"
        raise InputError(f"{wanted} holds a run already: {remedy}")
    return RunFolder(agree(config, lambda: folder.path if given else make_unique(folder.path)))


def agree(config: Mapping[str, Any], make: Callable[[], Path]) -> Path:
    """The folder that the first process makes, on every process of a run; they wait for each other here.

    torch would wait for them in C++, where no signal is answered.

    Raises:
        InputError: if the address is not known, or somebody does not come.
    """
    nodes = int(config["trainer"]["num_nodes"])
    count = (launched() or (0, nodes))[1]
    if was_started_by_a_run() or count == 1:
        return make()
    from torch.distributed import TCPStore

    first, (address, port) = is_first_process(), meeting_place()
    where, patience = f"at {address}:{port} (MASTER_ADDR:MASTER_PORT)", timedelta(seconds=ATTEMPT * 10)
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun's agent keeps the store
    key = f"{KEY}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    folder = make() if first else None
    try:
        # torch opens the same store again when training begins: hence several tenants, and the references that are kept
        if first and not hosted:
            _kept.append(TCPStore("localhost", port, None, True, patience, False, multi_tenant=True))
        unanswered = f"the first process of the run does not answer {where}"
        wait_for(lambda: answers(address, port), unanswered)
        store = awaited(lambda: TCPStore(address, port, None, False, patience, False), unanswered)
        _kept.append(store)
        if folder is not None:
            store.set(key, str(folder.resolve()))
        store.add(f"{key}/present", 1)
        wait_for(
            lambda: store.add(f"{key}/present", 0) >= count, f"not all {count} processes of the run are there, {where}"
        )
        return folder or Path(store.get(key).decode())
    except RuntimeError as error:
        raise InputError(f"the processes of the run cannot meet {where}: {str(error).splitlines()[0]}") from None


def meeting_place() -> tuple[str, int]:
    """The address and the port at which the first process is found.

    Raises:
        InputError: if they are not known.
    """
    if "RANK" not in os.environ and "SLURM_PROCID" in os.environ:
        from lightning.fabric.plugins.environments import SLURMEnvironment

        try:
            environment = SLURMEnvironment()
        except RuntimeError as error:  # e.g. --ntasks, where Lightning needs --ntasks-per-node
            raise InputError(f"SLURM: {error}") from None
        return environment.main_address, environment.main_port
    if not os.environ.get("MASTER_ADDR") or not number("MASTER_PORT"):
        raise InputError("several machines need MASTER_ADDR and MASTER_PORT, the same everywhere, and NODE_RANK")
    return os.environ["MASTER_ADDR"], number("MASTER_PORT")


def answers(address: str, port: int) -> bool:
    """Whether anything listens there, asked for a short time."""
    try:
        socket.create_connection((address, port), timeout=ATTEMPT).close()
    except OSError:
        return False
    return True


def wait_for(reached: Callable[[], bool], complaint: str) -> None:
    """Look until something is `reached`; say what is waited for, and give up after `PATIENCE`.

    Raises:
        InputError: with the complaint.
    """
    since, said = time.monotonic(), False
    while not reached():
        waited = time.monotonic() - since
        if waited > PATIENCE:
            raise InputError(f"{complaint}, after {PATIENCE / 60:.0f} minutes")
        if waited > QUIET and not said:
            said = True
            print(f"waiting: {complaint} yet", flush=True)
        time.sleep(0.1)


def awaited(call: Callable[[], T], complaint: str) -> T:
    """What a call returns that may block where Python sees no signals: it is made in a thread, and waited for.

    Raises:
        InputError: with the complaint.
    """
    found: Future[T] = Future()

    def make() -> None:
        try:
            found.set_result(call())
        except Exception as error:
            found.set_exception(error)

    Thread(target=make, daemon=True).start()
    wait_for(found.done, complaint)
    return found.result()


def cluster_environment() -> Any:
    """Who has started the processes, in Lightning's words, which would look at the environment itself."""
    from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment

    if launched() is None or was_started_by_a_run():
        return LightningEnvironment()
    return TorchElasticEnvironment() if "RANK" in os.environ else SLURMEnvironment()
