"""The processes of a run: which is the first, and how all of them know its folder. Free of torch until it is needed.

A process that Lightning starts learns the folder from the environment (`RUN_DIR`). torchrun, srun and a command on each
of several machines start processes that know nothing of each other but one address, at which torch keeps a store of
keys for them anyway: there the first one says where the folder is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from saddle.config.check import processes
from saddle.errors import InputError
from saddle.run.folder import RunFolder, make_unique

RUN_DIR = "SADDLE_RUN_DIR"  # tells the processes that a run starts where its folder is
PATIENCE = timedelta(minutes=10)  # for all processes to be there
KEY = "saddle/run_folder"

_kept: list[Any] = []


def launched() -> tuple[int, int] | None:
    """Rank of this process and number of processes, where something else than this command has started them."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:  # torchrun
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if "SLURM_PROCID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):  # srun
        return int(os.environ["SLURM_PROCID"]), int(os.environ.get("SLURM_NTASKS", "1"))
    return None


def is_first_process() -> bool:
    """Whether this process is the one that writes: rank 0, as far as the environment tells before training."""
    known = launched()
    if known is not None:
        return known[0] == 0
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def refuse_other_count(config: Mapping[str, Any]) -> None:
    """Raise an InputError if the processes that were started are not as many as those of the config."""
    known, wanted = launched(), processes(config)
    if known is not None and wanted is not None and known[1] != wanted:
        raise InputError(
            f"{known[1]} processes were started, and trainer.devices * trainer.num_nodes are {wanted}: give "
            f"trainer=ddp or ddp_cpu, trainer.devices= (processes on each machine) and trainer.num_nodes="
        )


def new_folder(config: Mapping[str, Any], wanted: str, given: bool) -> RunFolder:
    """The folder of a new run, the same for all its processes.

    It is `wanted` where the user has given it; else unique by a suffix. The first process makes it.

    Raises:
        InputError: if it cannot be made, or this process cannot know the folder that another one made.
    """
    if RUN_DIR in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":  # descends from a process that knows it
        return RunFolder(os.environ[RUN_DIR])
    first, folder = is_first_process(), RunFolder(wanted)
    if given:
        if first and not folder.path.is_dir():
            try:
                folder.path.mkdir(parents=True, exist_ok=True)  # another process may be as fast
            except OSError as error:
                raise InputError(f"hydra.run.dir={wanted} cannot be made: {error.strerror}") from None
            folder.made = True
        return folder
    _, count = launched() or (0, 1)
    if count > 1 or (int(config["trainer"]["num_nodes"]) > 1 and "NODE_RANK" in os.environ):
        return RunFolder(agree(first, lambda: make_unique(folder.path)), made=first)
    if not first:
        raise InputError("processes that start by themselves need one folder: give hydra.run.dir=DIR")
    return RunFolder(make_unique(folder.path), made=True)


def agree(first: bool, make: Callable[[], Path]) -> Path:
    """The folder that the first process makes, on every process.

    Raises:
        InputError: if the address is not known, or the first process does not answer.
    """
    from torch.distributed import TCPStore

    address, port = os.environ.get("MASTER_ADDR"), int(os.environ.get("MASTER_PORT", "0"))
    if "RANK" not in os.environ and "SLURM_PROCID" in os.environ:
        from lightning.fabric.plugins.environments import SLURMEnvironment

        try:
            environment = SLURMEnvironment()
        except RuntimeError as error:  # e.g. --ntasks, where Lightning needs --ntasks-per-node
            raise InputError(f"SLURM: {error}") from None
        address, port = environment.main_address, environment.main_port
    if not address or not port:
        raise InputError("several machines need MASTER_ADDR and MASTER_PORT, the same everywhere, and NODE_RANK")
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun's agent keeps the store
    key = f"{KEY}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    folder = make() if first else None
    try:
        # torch opens the same store again when training begins: hence several tenants, and the reference that is kept
        store = TCPStore(address, port, None, first and not hosted, PATIENCE, False, multi_tenant=True)
        _kept.append(store)
        if folder is not None:
            store.set(key, str(folder.resolve()))
        return folder or Path(store.get(key).decode())
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the first process of the run does not answer at {address}:{port}: {reason}") from None
