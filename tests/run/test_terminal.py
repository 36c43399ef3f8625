"""What is printed may be read by nobody."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_run import QUICK, Run

from saddle.run import terminal

TRAIN = f"{sys.executable} src/train.py seed={QUICK} iterations=3"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("broken", ["pipe", "/dev/full"])
def test_what_cannot_be_written_is_lost_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: str
) -> None:
    if broken == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(broken, os.O_WRONLY)
    stream = io.TextIOWrapper(io.FileIO(writer, "w"), "utf-8", write_through=True)
    for each in (name, f"__{name}__"):
        monkeypatch.setattr(sys, each, stream)
    terminal.outlive()
    for _ in range(2):
        print("a", file=getattr(sys, name), flush=True)
    assert os.readlink(f"/proc/self/fd/{writer}") == os.devnull


def test_a_stream_that_somebody_has_replaced_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    replaced = sys.stdout
    terminal.outlive()
    assert sys.stdout is replaced


def test_a_run_outlives_who_reads_it(command: Run) -> None:
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["bash", "-c", f"{TRAIN} 2>&1 | true; exit ${{PIPESTATUS[0]}}"], env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0
