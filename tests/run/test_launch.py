"""Processes that torchrun, SLURM, or a command on each of two machines start: one run folder, process 0's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from toy_run import QUICK, Run

from saddle.errors import InputError
from saddle.run.folder import RunFolder
from saddle.run.launch import RUN_DIR, agree, is_first_process, new_folder, refuse_other_count

HERE = Path(__file__).parents[1]
ALONE = {"trainer": {"num_nodes": 1}}


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


def test_another_number_of_processes_is_refused(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = command(f"seed={QUICK}", "trainer=ddp_cpu", RANK="0", WORLD_SIZE="3", LOCAL_RANK="0")
    assert refused.returncode == 1 and "3 processes were started" in refused.stderr, refused.stderr
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with pytest.raises(InputError, match="4 processes"):
        refuse_other_count({"trainer": {"devices": 2, "num_nodes": 1}})
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    refuse_other_count({"trainer": {"devices": 2, "num_nodes": 1}})


def test_the_address_must_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="MASTER_ADDR"):
        agree(True, Path)


def test_a_folder_with_a_run_is_refused(project: Path) -> None:
    RunFolder("a").begin({"seed": 0})
    with pytest.raises(InputError, match="resume=a"):
        new_folder(ALONE, "a", given=True).refuse_second()
    Path("b").mkdir()
    assert new_folder(ALONE, "b", given=True).path == Path("b")
    assert new_folder(ALONE, "a", given=False).path == Path("a-1")


def test_a_process_that_rank_0_started_uses_its_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_DIR, "/elsewhere")
    assert new_folder(ALONE, "a", given=False).path == Path("a")  # rank 0 of another run
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()
    assert new_folder(ALONE, "a", given=True).path == Path("/elsewhere")
    monkeypatch.delenv(RUN_DIR)
    with pytest.raises(InputError, match=r"hydra\.run\.dir"):
        new_folder(ALONE, "a", given=False)
    assert new_folder(ALONE, "a", given=True).path == Path("a")


def test_in_an_interactive_allocation_this_machine_starts_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive"}.items():
        monkeypatch.setenv(name, value)
    assert is_first_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()
    monkeypatch.setenv("SLURM_JOB_NAME", "saddle")  # by srun
    assert is_first_process()
