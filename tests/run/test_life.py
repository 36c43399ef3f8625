"""Runs that end in every way, and go on to the very same end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from toy_model import IMAGES, fit
from toy_run import Run

from saddle.errors import InputError, NonFinite
from saddle.run import signals
from saddle.run.checkpoint import find_weights
from saddle.run.folder import RunFolder
from saddle.run.life import Life, collapsed
from saddle.run.stopwatch import Stopwatch


def config(**changes: Any) -> DictConfig:
    """What the toy reads of a config."""
    nodes: dict[str, Any] = {
        "log_every": 2,
        "checkpoint": {"every": 5, "monitor": "eval/frechet", "keep": {}},
        "evaluation": {"every": 4},
        "trainer": {"devices": 1},
        "iterations": 12,
        "minutes": None,
    }
    return OmegaConf.create({**nodes, **changes})


pytestmark = pytest.mark.usefixtures("signal_handlers")


def run(path: Path, monkeypatch: pytest.MonkeyPatch, fault: str = "", **changes: Any) -> str:
    """Train the toy in a folder."""
    monkeypatch.setenv("TOY_FAULT", fault)
    signals.forget()
    path.mkdir(exist_ok=True)
    return fit(config(**changes), RunFolder(path))


def last(path: Path) -> dict[str, Any]:
    return torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_end(a: Path, b: Path) -> None:
    """Weights, optimisers and scalars agree to the bit."""
    assert (a / "metrics.csv").read_bytes() == (b / "metrics.csv").read_bytes()
    first, second = last(a), last(b)
    for part in ("state_dict", "optimizer_states", "iteration"):
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)


def test_a_run_of_given_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, monkeypatch) == "done"
    results = RunFolder(tmp_path).results()
    assert results["status"] == "done" and results["iterations"] == 12
    assert results["kimg"] == 12 * IMAGES / 1000
    assert (results["parameters/generator"], results["parameters/discriminator"]) == (12, 4)
    assert results["eval/frechet"] == pytest.approx(4.1)
    assert results["images_per_second"] > 0 and results["peak_memory_bytes"] > 1e6
    assert results["collapsed"] and not results["diverged"]  # the toy's score falls to 0.1 and rises to 4.1
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["iteration"] == 8
    assert last(tmp_path)["callbacks"]["Checkpointer"] == {"best": [(pytest.approx(0.1), 8)], "kept": []}
    rows = (tmp_path / "timing.csv").read_text().splitlines()
    assert rows[0] == "iteration,seconds,images_per_second" and len(rows) == 7


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ({}, []),
        ({"every": 5}, [5, 10]),
        ({"kimg": 0.05}, [7]),  # 8 images an iteration
        ({"best": 2}, [4, 8]),
        ({"best": 3, "every": 6, "kimg": 0.04}, [4, 5, 6, 8, 10, 12]),
    ],
)
def test_what_is_kept_and_a_cut_run_keeps_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: dict[str, float], kept: list[int]
) -> None:
    checkpoint = {"every": 5, "monitor": "eval/frechet", "keep": keep}
    assert run(tmp_path / "whole", monkeypatch, checkpoint=checkpoint) == "done"
    for fault in ("SIGTERM@4", "SIGTERM@9", ""):
        run(tmp_path / "cut", monkeypatch, fault, checkpoint=checkpoint)
    assert_same_end(tmp_path / "cut", tmp_path / "whole")
    for path in (tmp_path / "whole" / "checkpoints", tmp_path / "cut" / "checkpoints"):
        names = [f"iteration_{iteration:08d}.ckpt" for iteration in kept]
        assert sorted(p.name for p in path.glob("*.ckpt")) == ["best.ckpt", *names, "last.ckpt", "previous.ckpt"]
        for name, iteration in zip(names, kept, strict=True):
            assert torch.load(path / name, weights_only=True)["iteration"] == iteration
            assert find_weights(path, iteration) == path / name
        assert torch.load(path / "best.ckpt", weights_only=True)["iteration"] == 8
        if 8 in kept:
            assert (path / names[kept.index(8)]).samefile(path / "best.ckpt")  # one file on the disk
    with pytest.raises(InputError, match=r"weights=3: .* no such checkpoint \(there are: last, best"):
        find_weights(tmp_path / "whole" / "checkpoints", 3)


def test_a_score_that_is_not_new_is_not_ranked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module keeps a score until the next: it is the same snapshot's, not a better one's."""
    checkpoint = {"every": 50, "monitor": "eval/frechet", "keep": {"best": 9}}
    run(tmp_path, monkeypatch, checkpoint=checkpoint)
    assert [when for _, when in last(tmp_path)["callbacks"]["Checkpointer"]["best"]] == [8, 4, 12]


def test_a_run_says_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, monkeypatch, iterations=4)
    assert "goes on" not in capsys.readouterr().out
    run(tmp_path, monkeypatch, iterations=5)
    assert f"{tmp_path}: goes on after iteration 4 of 5\n" in capsys.readouterr().out


def test_another_config_than_the_checkpoints_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch, iterations=4)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"log_every=3 is not what the run was trained with: put 2 back"):
        run(tmp_path, monkeypatch, iterations=8, log_every=3)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_no_iterations_build_everything_and_leave_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, monkeypatch, iterations=0) == "done"
    assert last(tmp_path)["iteration"] == 0
    assert RunFolder(tmp_path).results()["iterations"] == 0
    assert run(tmp_path, monkeypatch) == "done"
    assert last(tmp_path)["iteration"] == 12


@pytest.mark.parametrize(
    ("fault", "status"), [("SIGTERM@7", "preempted"), ("SIGUSR1@0", "preempted"), ("SIGINT@7", "interrupted")]
)
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, status: str
) -> None:
    assert run(tmp_path / "cut", monkeypatch, fault) == status
    results = RunFolder(tmp_path / "cut").results()
    assert results["status"] == status and results["iterations"] == int(fault.partition("@")[2]) + 1
    assert last(tmp_path / "cut")["iteration"] == results["iterations"]
    run(tmp_path / "cut", monkeypatch)
    run(tmp_path / "whole", monkeypatch)
    assert_same_end(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize(
    ("fault", "error"), [("nan@7", NonFinite), ("error@7", RuntimeError), ("error@3", RuntimeError)]
)
def test_a_fault_keeps_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(tmp_path / "cut", monkeypatch, fault)
    results = RunFolder(tmp_path / "cut").results()
    assert results["status"] == ("nonfinite" if error is NonFinite else "failed")
    assert results["diverged"] is (error is NonFinite)
    assert (tmp_path / "cut" / "checkpoints" / "last.ckpt").exists() is (fault != "error@3")
    run(tmp_path / "cut", monkeypatch)
    run(tmp_path / "whole", monkeypatch)
    assert_same_end(tmp_path / "cut", tmp_path / "whole")


def test_minutes_end_a_run_and_count_over_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = 0.2 / 60
    run(tmp_path, monkeypatch, iterations=None, minutes=minutes)
    results = RunFolder(tmp_path).results()
    assert results["status"] == "done" and 0.2 <= results["seconds"] < 2
    iterations = results["iterations"]
    run(tmp_path, monkeypatch, iterations=None, minutes=minutes)
    assert RunFolder(tmp_path).results()["iterations"] == iterations
    run(tmp_path, monkeypatch, iterations=None, minutes=2 * minutes)
    assert RunFolder(tmp_path).results()["iterations"] > iterations


def test_the_stopwatch_counts_what_is_not_paused() -> None:
    watch = Stopwatch()
    watch.before = 100.0
    with watch.paused():
        time.sleep(0.02)
    assert watch.seconds == 100.0
    watch.start()
    with watch.paused(), watch.paused():
        before = watch.seconds
        time.sleep(0.05)
        assert watch.seconds == before
    time.sleep(0.01)
    assert before < watch.seconds
    watch.stop()
    stopped = watch.seconds
    assert watch.seconds == stopped < before + 0.05


@pytest.mark.parametrize(
    ("votes", "status"),
    [
        ([], None),
        (["done"], "done"),
        (["done"] * 900, "done"),
        (["done", "preempted"], "preempted"),
        (["preempted"] * 900, "preempted"),
        (["done", "preempted", "interrupted"], "interrupted"),
        (["interrupted"] * 900, "interrupted"),
    ],
)
def test_votes_of_many_processes(tmp_path: Path, votes: list[str], status: str | None) -> None:
    life = Life(RunFolder(tmp_path), {"iterations": None, "minutes": 0.0, "log_every": 1})
    module: Any = SimpleNamespace(stop_vote=0.0, stop_votes=sum(signals.VOTES[vote] for vote in votes))
    trainer: Any = SimpleNamespace(world_size=len(votes) + 2, should_stop=False)
    assert life.end(trainer, module, 5) == status
    assert module.stop_vote == signals.VOTES["done"]  # its own minutes are up


@pytest.mark.parametrize(
    ("scores", "best", "answer"),
    [
        ({}, None, False),
        ({"eval/classes": 4.9, "eval/classes_real": 10.0}, None, True),
        ({"eval/classes": 5.1, "eval/classes_real": 10.0}, None, False),
        ({"eval/frechet": 10.1}, 1.0, True),
        ({"eval/frechet": 9.9}, 1.0, False),
        ({"eval/fid": 50.0}, 4.0, True),
    ],
)
def test_collapsed(scores: dict[str, float], best: float | None, answer: bool) -> None:
    assert collapsed(scores, best) is answer


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["SIGKILL@7", "SIGTERM@7", "nan@7", "error@7"])
@pytest.mark.parametrize("trainer", ["cpu", "ddp_cpu"])
def test_processes_that_die_leave_a_run_that_resumes(command: Run, fault: str, trainer: str) -> None:
    options = ("iterations=12", "metrics=frechet", "checkpoint.monitor=eval/frechet", f"trainer={trainer}")
    assert command("hydra.run.dir=whole", *options).returncode == 0
    cut = command("hydra.run.dir=cut", *options, TOY_FAULT=fault)
    expected = {"SIGKILL@7": (-9, 1), "SIGTERM@7": (75,), "nan@7": (3, 1), "error@7": (1,)}[fault]
    assert cut.returncode in expected, cut.stderr
    if fault == "SIGTERM@7":
        assert json.loads(Path("cut/results.json").read_text())["status"] == "preempted"
    assert command("resume=cut").returncode == 0
    assert_same_end(Path("cut"), Path("whole"))


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    life = Life(RunFolder(tmp_path), config())
    with pytest.raises(InputError, match="another version of the code"):
        life.load_state_dict({"seconds": 1.0, "best_frechet": None, "peak_memory": 0})
