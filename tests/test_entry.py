"""The command from the outside: exit statuses, one line on stderr, no torch before the check, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_run import CRASHES, QUICK, Run

QUICKLY = f"seed={QUICK}"


WRONG = [
    "model=bigan",
    "data.batchsize=64",
    "iterations=abc",
    "resume=nowhere",
    "hydra.run.dir=/dev/null/x",
    "-m seed=range(3,0)",
    "-m hydra/launcher=basic seed=0,1",
    "-m study=rates,rates",
    "-m hydra.sweep.dir=/dev/null/x seed=0,1",
    "--config-dir=nowhere",
    "--bogus",
    "--resolve",
    "--experimental-rerun x",
]


@pytest.mark.parametrize("words", WRONG)
def test_wrong_input_gets_one_line_status_1_and_no_folder(command: Run, words: str) -> None:
    done = command(*words.split())
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not Path("logs").exists()


def test_a_run_makes_its_folder_and_resumes_only_if_more_is_asked(command: Run) -> None:
    assert command(QUICKLY, "hydra.run.dir=a", "iterations=5", "trainer=ddp_cpu").returncode == 0
    assert json.loads(Path("a/results.json").read_text())["status"] == "done"
    again = command(QUICKLY, "hydra.run.dir=a")
    assert again.returncode == 1 and "resume=a" in again.stderr
    finished = command("resume=a")
    assert finished.returncode == 0 and "is finished" in finished.stdout
    changed = command("resume=a", "iterations=6", "model.width=3")
    assert changed.returncode == 1 and "model.width=3 cannot be changed" in changed.stderr
    longer = command("resume=a", "iterations=6", "trainer.num_nodes=2")
    assert longer.returncode == 0 and "threads" in longer.stdout
    config = Path("a/config.yaml").read_text()
    assert "iterations: 6" in config and "num_nodes: 2" in config and "devices: 2" in config
    assert sorted(path.name for path in Path().iterdir()) == ["a", "conf", "src"]


def test_a_folder_is_called_what_was_typed(command: Run) -> None:
    assert command(QUICKLY, "hydra.run.dir=2024_01_02", "iterations=5").returncode == 0
    assert "is finished" in command("resume=2024_01_02").stdout
    assert command("hydra.mode=MULTIRUN", "hydra.sweep.dir=1e3", QUICKLY).returncode == 0
    assert sorted(path.name for path in Path().iterdir()) == ["1e3", "2024_01_02", "conf", "src"]


def test_words_and_flags_come_in_any_order(command: Run) -> None:
    done = command(QUICKLY, "-m", "hydra.sweep.dir=a", "iterations=1,2")
    assert done.returncode == 0, done.stderr
    assert len([*Path("a").glob("*/results.json")]) == 2


def test_an_error_is_written_down_and_leads_to_status_1(command: Run) -> None:
    done = command(f"seed={CRASHES}")
    assert done.returncode == 1 and "Traceback" in done.stderr
    (folder,) = Path("logs/train").iterdir()
    results = json.loads((folder / "results.json").read_text())
    assert results == {"status": "failed", "error": "RuntimeError: a fault was injected"}


def test_hydra_shows_the_config(command: Run) -> None:
    done = command("--cfg", "job", "model.width=96")
    assert done.returncode == 0 and "width: 96" in done.stdout
