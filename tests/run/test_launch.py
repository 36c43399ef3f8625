"""Processes that torchrun, SLURM, or a command on each of two machines start: one run folder, process 0's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment
from toy_run import QUICK, Run

from saddle.errors import InputError
from saddle.run import launch
from saddle.run.folder import RunFolder
from saddle.run.launch import (
    ADDRESS,
    RANKS,
    RUN_DIR,
    agree,
    check_environment,
    cluster_environment,
    is_first_process,
    new_folder,
)
from saddle.run.status import Preempted

HERE = Path(__file__).parents[1]


def port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def ranks(kind: str) -> list[dict[str, str]]:
    """The environment of two processes, as their launcher sets it."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port()}
    if kind == "torchrun":
        own = [{"RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": "2", "GROUP_RANK": "0"} for i in range(2)]
        return [address | {"LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"} | one for one in own]
    if kind == "slurm":
        job = {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "saddle", "SLURM_NODELIST": "127.0.0.1", "SLURM_NNODES": "1"}
        job |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
        own = [{"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i), "SLURM_NODEID": "0"} for i in range(2)]
        return [address | job | one for one in own]
    return [address | {"NODE_RANK": str(i)} for i in range(2)]  # a command on each machine


WORDS = {"nodes": ["trainer.devices=1", "trainer.num_nodes=2"]}


@pytest.mark.parametrize("kind", ["torchrun", *(pytest.param(k, marks=pytest.mark.slow) for k in ("slurm", "nodes"))])
def test_processes_that_start_by_themselves_share_the_first_ones_folder(project: Path, kind: str) -> None:
    words = [sys.executable, "src/train.py", "trainer=ddp_cpu", "iterations=4", *WORDS.get(kind, [])]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(words, env=environment | one, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for one in ranks(kind)
    ]
    said = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(said)
    (folder,) = Path("logs/train").iterdir()
    results = json.loads((folder / "results.json").read_text())
    assert results["status"] == "done" and results["iterations"] == 4
    assert (folder / "checkpoints" / "last.ckpt").exists()


@pytest.fixture
def alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of processes."""
    for name in (*RANKS, *ADDRESS, "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_NAME", RUN_DIR):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def config(nodes: int = 1, devices: int = 1) -> dict[str, dict[str, int]]:
    return {"trainer": {"num_nodes": nodes, "devices": devices}}


def test_another_number_of_processes_is_refused(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("RANK", "0")
    alone.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="WORLD_SIZE=3 say that 3 processes were started.*unset RANK WORLD_SIZE"):
        check_environment(config(devices=2))
    alone.delenv("RANK")
    alone.setenv("SLURM_PROCID", "0")
    alone.setenv("SLURM_NTASKS", "4")
    with pytest.raises(InputError, match="4 processes.*unset SLURM_PROCID SLURM_NTASKS"):
        check_environment(config(devices=2))
    alone.setenv("SLURM_JOB_NAME", "interactive")
    check_environment(config(devices=2))


@pytest.mark.parametrize(
    ("left", "nodes", "remedy"),
    [
        ({"NODE_RANK": "1"}, 1, "unset NODE_RANK"),
        ({"LOCAL_RANK": "1"}, 1, "unset LOCAL_RANK"),
        ({"RANK": "3"}, 1, "unset RANK"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, 1, "unset RANK WORLD_SIZE"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, 2, "unset both"),
        ({"NODE_RANK": "2"}, 2, "NODE_RANK from 0 to 1"),
        ({}, 2, "NODE_RANK from 0 to 1"),
        ({"NODE_RANK": "1", "LOCAL_RANK": "1"}, 2, "unset LOCAL_RANK"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, 2, "unset RANK"),
    ],
)
def test_ranks_of_another_job_are_refused(
    alone: pytest.MonkeyPatch, left: dict[str, str], nodes: int, remedy: str
) -> None:
    for name, value in left.items():
        alone.setenv(name, value)
    with pytest.raises(InputError, match=remedy):
        check_environment(config(nodes))


def test_what_would_do_no_harm_is_dropped(alone: pytest.MonkeyPatch) -> None:
    for name, value in {"LOCAL_RANK": "0", "NODE_RANK": "0", "MASTER_ADDR": "10.255.255.1"}.items():
        alone.setenv(name, value)
    check_environment(config(devices=2))
    assert not {"LOCAL_RANK", "NODE_RANK", "MASTER_ADDR"} & set(os.environ)
    assert isinstance(cluster_environment(), LightningEnvironment)


def test_a_shell_in_an_allocation_starts_the_processes_itself(alone: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "mine", "SLURM_JOB_ID": "7"}.items():
        alone.setenv(name, value)  # salloc: no task has been started
    check_environment(config(devices=2))
    assert isinstance(cluster_environment(), LightningEnvironment)


def test_a_run_refuses_a_rank_that_is_left(command: Run) -> None:
    refused = command(f"seed={QUICK}", NODE_RANK="1")
    assert refused.returncode == 1 and refused.stderr.startswith("error: NODE_RANK=1"), refused.stderr
    assert not Path("logs").exists()


def test_the_address_must_be_known(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("NODE_RANK", "0")
    with pytest.raises(InputError, match="MASTER_ADDR"):
        agree(config(2), Path)


def test_nobody_waits_for_ever(alone: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    alone.setattr(launch, "PATIENCE", 0.3)
    alone.setattr(launch, "QUIET", 0.0)
    alone.setenv("MASTER_ADDR", "127.0.0.1")
    alone.setenv("MASTER_PORT", port())
    alone.setenv("NODE_RANK", "1")
    with pytest.raises(InputError, match=r"the first process of the run does not answer at 127\.0\.0\.1"):
        agree(config(2), Path)
    assert "waiting: the first process of the run does not answer" in capsys.readouterr().out
    alone.setenv("NODE_RANK", "0")
    with pytest.raises(InputError, match="not all 2 processes of the run are there"):
        agree(config(2), lambda: Path("made"))


@pytest.mark.parametrize("rank", ["0", "1"])  # the one waits for the other, which waits for what is no store
def test_who_waits_answers_signals(alone: pytest.MonkeyPatch, rank: str) -> None:
    alone.setenv("MASTER_ADDR", "127.0.0.1")
    alone.setenv("MASTER_PORT", port())
    alone.setenv("NODE_RANK", rank)
    if rank == "1":
        listener = socket.create_server(("127.0.0.1", int(os.environ["MASTER_PORT"])))
        alone.setattr(launch, "_kept", [listener])
        alone.setattr(launch, "ATTEMPT", 0.1)
    before = signal.signal(signal.SIGALRM, lambda number, frame: (_ for _ in ()).throw(Preempted()))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(Preempted):
            agree(config(2), lambda: Path("made"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_folder_with_a_run_is_refused(alone: pytest.MonkeyPatch) -> None:
    RunFolder("a").begin({"seed": 0})
    with pytest.raises(InputError, match="resume=a"):
        new_folder(config(), "a", given=True)
    Path("b").mkdir()
    assert new_folder(config(), "b", given=True).path == Path("b")
    assert new_folder(config(), "a", given=False).path == Path("a-1")


def test_a_process_that_rank_0_started_uses_its_folder(alone: pytest.MonkeyPatch) -> None:
    alone.setenv(RUN_DIR, "/elsewhere")
    assert new_folder(config(), "a", given=False).path == Path("a")  # rank 0 of another run
    alone.setenv("LOCAL_RANK", "1")
    assert not is_first_process()
    check_environment(config())
    assert new_folder(config(), "a", given=True).path == Path("/elsewhere")


def test_in_an_interactive_allocation_this_machine_starts_the_processes(alone: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive"}.items():
        alone.setenv(name, value)
    assert is_first_process()
    alone.setenv("LOCAL_RANK", "1")
    assert not is_first_process()
    alone.setenv("SLURM_JOB_NAME", "saddle")  # by srun
    assert is_first_process()
