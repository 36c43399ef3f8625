"""A signal in the middle of an evaluation: it is cut short, and the resumed run leaves what an undisturbed one does."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import faults
import pytest
from faults import Runs, differences
from omegaconf import DictConfig, OmegaConf

from saddle.metrics import evaluator
from saddle.run import cut, signals
from saddle.run.folder import RunFolder
from saddle.run.training import train

WORDS = [
    *["data=noise", "data.size=40", "data.batch_size=8", "data.resolution=16", "model=gan", "model.width=4"],
    *["callbacks=spectra", "callbacks.spectra.every=2", "callbacks.health.every=2", "callbacks.health.samples=4"],
    *["evaluation.every=2", "evaluation.samples=8", "callbacks.evaluation.batch=2", "samples.every=2", "log_every=1"],
    *["iterations=5", "checkpoint.every=2", "callbacks.histograms.every=0", "callbacks.walks.every=2", "metrics=swd"],
    "precision=32",
]


pytestmark = pytest.mark.usefixtures("signal_handlers")


@pytest.fixture
def config(compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DictConfig:
    """Of a run of five iterations that is scored after each second one and at the end, four batches each time."""
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path / "cache"))
    return OmegaConf.create(OmegaConf.to_container(compose(*WORDS), resolve=True))


def go(config: DictConfig, folder: Path) -> str:
    """Train in a folder, or go on there; how it ended."""
    signals.forget()
    RunFolder(folder).begin(config)
    return train(config, RunFolder(folder))


def pictures(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.[pn][np]*"))


@pytest.mark.parametrize(
    ("call", "number", "status", "iteration"),
    [(3, signal.SIGTERM, "preempted", 2), (13, signal.SIGINT, "interrupted", 5)],  # three evaluations of five calls
)
def test_a_signal(
    config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, number: int, status: str, iteration: int
) -> None:
    whole, asked = tmp_path / "whole", tmp_path / "asked"
    assert go(config, whole) == "done"
    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "give_way", cut.give_way)  # given back afterwards
        faults.ask_in_evaluation(0, number, call)
        assert go(config, asked) == status
    results = json.loads((asked / "results.json").read_text())
    assert results["status"] == status and results["iterations"] == iteration
    assert go(config, asked) == "done"
    assert differences(asked, whole) == [] and pictures(asked) == pictures(whole)
    both: list[dict[str, Any]] = [json.loads((run / "results.json").read_text()) for run in (asked, whole)]
    clock = {*faults.CLOCK}
    assert {k: v for k, v in both[0].items() if k not in clock} == {k: v for k, v in both[1].items() if k not in clock}


@pytest.mark.slow
@pytest.mark.parametrize("call", [2, 8])  # three evaluations of three calls
def test_a_signal_to_one_of_two_processes(tmp_path: Path, call: int) -> None:
    runs = Runs(tmp_path / "runs")
    words = [*WORDS, "logger=none"]
    ends = {}
    for name, inject in {"whole": (), "asked": ("ask_in_evaluation", 1, signal.SIGTERM, call)}.items():
        both = runs.several(2, *words, f"hydra.run.dir={tmp_path}/{name}", inject=inject)
        for process in both:
            process.join(120)
        ends[name] = [process.exitcode for process in both]
    assert ends == {"whole": [0, 0], "asked": [75, 0]}, (tmp_path / "runs" / "output.log").read_text()
    for process in (both := runs.several(2, f"resume={tmp_path}/asked")):
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0], (tmp_path / "runs" / "output.log").read_text()
    assert differences(tmp_path / "asked", tmp_path / "whole") == []
