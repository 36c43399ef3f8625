"""The command from the outside: exit statuses, one line on stderr, no torch before the check, resuming."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from toy_run import CRASHES, QUICK, REFUSED, WAITS, Run

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
    longer = command("resume=a", "iterations=6", "trainer.accumulate=2")
    assert longer.returncode == 0 and "threads" in longer.stdout
    config = Path("a/config.yaml").read_text()
    assert "iterations: 6" in config and "accumulate: 2" in config and "devices: 2" in config
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


def contents(folder: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_run_has_its_folder_for_itself(command: Run) -> None:
    """A resume, and another new run, while the first one runs: refused in one line, and nothing is touched."""
    with ThreadPoolExecutor() as pool:
        first = pool.submit(command, f"seed={WAITS}", "hydra.run.dir=a")
        while not Path("waits").exists() and not first.done():
            time.sleep(0.02)
        before = contents("a")
        for words in (["resume=a", "iterations=9"], [QUICKLY, "hydra.run.dir=a"]):
            second = command(*words)
            assert second.returncode == 1 and second.stderr.count("\n") == 1, second.stderr
            assert "error: a: another process trains this run already" in second.stderr
        assert contents("a") == before
        Path("waits").unlink()
        assert first.result().returncode == 0


def test_of_two_new_runs_in_one_folder_one_runs(command: Run) -> None:
    with ThreadPoolExecutor() as pool:
        done = [*pool.map(lambda seed: command(f"seed={seed}", "hydra.run.dir=a"), (QUICK, QUICK + 50))]
    assert sorted(each.returncode for each in done) == [0, 1]
    refused = next(each for each in done if each.returncode == 1)
    assert refused.stderr.startswith("error: a") and refused.stderr.count("\n") == 1


def test_a_resume_that_fails_leaves_the_folder_as_it_was(command: Run) -> None:
    assert command(f"seed={CRASHES}", "hydra.run.dir=a").returncode == 1
    (Path("a") / "results.json").write_text('{"status": "done", "iterations": 3, "seconds": 1.0}')
    (Path("a") / "checkpoints" / "last.ckpt").touch()
    before = contents("a")
    again = command("resume=a", "iterations=5")
    assert again.returncode == 1 and "a fault" in again.stderr
    assert contents("a") == before


def test_a_new_run_that_is_refused_leaves_no_folder(command: Run) -> None:
    refused = command(f"seed={REFUSED}")
    assert refused.returncode == 1 and refused.stderr == "error: it cannot be built\n"
    assert not [*Path("logs/train").iterdir()]
    Path("a").mkdir()  # as a sweep does for a job
    assert command(f"seed={REFUSED}", "hydra.run.dir=a").returncode == 1
    assert json.loads(Path("a/results.json").read_text())["error"] == "InputError: it cannot be built"
