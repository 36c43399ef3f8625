"""How the processes of a run that start by themselves learn from the first one where its folder is.

torchrun, srun and a command on each of several machines start their processes without knowing of each other's folders.
They all know one address, at which torch keeps a store of keys for them anyway. Free of torch until it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from saddle.config.check import processes
from saddle.errors import InputError

PATIENCE = timedelta(minutes=10)  # for all processes to be there
KEY = "saddle/run_folder"


def launched() -> int | None:
    """How many processes something else than this command has started for the run; None if the command does it."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:  # torchrun
        return int(os.environ["WORLD_SIZE"])
    if "SLURM_PROCID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):  # srun
        return int(os.environ.get("SLURM_NTASKS", "1"))
    return None


def refuse_other_count(config: Mapping[str, Any]) -> None:
    """Compare the processes that were started with those of the config.

    Raises:
        InputError: if they are not as many.
    """
    found, wanted = launched(), processes(config)
    if found is not None and wanted is not None and found != wanted:
        raise InputError(
            f"{found} processes were started, and trainer.devices * trainer.num_nodes are {wanted}: give "
            f"trainer=ddp or ddp_cpu, trainer.devices= (processes on each machine) and trainer.num_nodes="
        )


def several_commands(config: Mapping[str, Any]) -> bool:
    """Whether other processes of this run do not descend from the first one."""
    nodes = int(config["trainer"]["num_nodes"])
    return (launched() or 1) > 1 or (nodes > 1 and "NODE_RANK" in os.environ)


def agree(first: bool, make: Callable[[], Path]) -> Path:
    """The folder that the first process makes, on every process.

    Args:
        first: whether this is the first process.
        make: makes the folder; called by the first one.

    Raises:
        InputError: if the address is not known, or the first process does not answer.
    """
    import torch.distributed as dist

    if "RANK" not in os.environ and "SLURM_PROCID" in os.environ:
        from lightning.fabric.plugins.environments import SLURMEnvironment

        try:
            environment = SLURMEnvironment()
        except RuntimeError as error:  # e.g. --ntasks, where Lightning needs --ntasks-per-node
            raise InputError(f"SLURM: {error}") from None
        address, port = environment.main_address, environment.main_port
    else:
        address, port = os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", "0"))
    if not address or not port:
        raise InputError("several machines need MASTER_ADDR and MASTER_PORT, the same everywhere, and NODE_RANK")
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun's agent keeps the store
    key = f"{KEY}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    folder = make() if first else None
    try:
        # torch opens the same store again when training begins: hence several tenants, and the reference that is kept
        store = dist.TCPStore(address, port, None, first and not hosted, PATIENCE, False, multi_tenant=True)
        _kept.append(store)
        if folder is not None:
            store.set(key, str(folder.resolve()))
        return folder or Path(store.get(key).decode())
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the first process of the run does not answer at {address}:{port}: {reason}") from None


_kept: list[Any] = []
