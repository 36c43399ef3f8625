"""Lightning's own loggers, callbacks and options of the trainer, from the configuration alone."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import Runs
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from tiny import CONF

from saddle.callbacks.samples import SampleGrid
from saddle.config import resolvers
from saddle.config.check import checked
from saddle.config.compose import Composer
from saddle.errors import InputError
from saddle.run.build import build_callbacks, build_loggers, build_trainer
from saddle.run.folder import RunFolder
from saddle.run.training import train

LIGHTNING = "lightning.pytorch"
WORDS = [
    *["data=noise", "data.size=40", "data.batch_size=8", "data.resolution=16", "model=gan", "model.width=4"],
    *["logger=none", "trainer=cpu", "precision=32", "callbacks.walks.every=0", "log_every=1"],
    *["metrics=swd", "evaluation.every=2", "evaluation.samples=8"],
]


def nodes(**described: Any) -> DictConfig:
    return OmegaConf.create({"metrics": {}, "iterations": 5, "minutes": None, **described})


def of(target: str, **options: Any) -> dict[str, Any]:
    return {"_target_": f"{LIGHTNING}.{target}", **options}


@pytest.mark.parametrize("partial", [{}, {"_partial_": True}])
def test_any_callback_of_lightnings_is_made_whole(tmp_path: Path, partial: dict[str, bool]) -> None:
    own = {"_target_": "saddle.callbacks.samples.SampleGrid", "every": 3, **partial}
    cfg = nodes(callbacks={"a": of("callbacks.Timer", **partial), "b": own})
    timer, grid = build_callbacks(cfg, tmp_path)
    assert isinstance(timer, Timer)
    assert isinstance(grid, SampleGrid) and grid.folder == tmp_path and grid.every == 3


def test_loggers_get_the_folder_by_the_name_that_they_have_for_it(tmp_path: Path) -> None:
    (logger,) = build_loggers(nodes(logger={"csv": of("loggers.CSVLogger")}), tmp_path)
    assert isinstance(logger, CSVLogger) and logger.save_dir == str(tmp_path)
    (logger,) = build_loggers(nodes(logger={"csv": of("loggers.CSVLogger", save_dir="/elsewhere")}), tmp_path)
    assert logger.save_dir == "/elsewhere"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        pytest.param(
            of("loggers.MLFlowLogger"),
            "logger.mine: .*mlflow",
            marks=pytest.mark.skipif(find_spec("mlflow") is not None, reason="mlflow is here"),
        ),
        (of("loggers.CSVLogger", flush=3), "logger.mine: .*unexpected keyword argument 'flush'"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_line(tmp_path: Path, node: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        build_loggers(nodes(logger={"mine": node}), tmp_path)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def compose() -> Iterator[Callable[..., dict[str, Any]]]:
    """A function of overrides to the checked config; composing remembers the files, so the tests share it."""
    resolvers.register()
    with Composer(CONF, "train") as composer:
        yield lambda *words: checked(composer, words)


def test_several_loggers_are_a_list(compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("saddle.config.check.find_spec", lambda name: None)
    with pytest.raises(InputError, match="logger=tensorboard .*pip install tensorboard"):
        compose("logger=[wandb,tensorboard]")
    monkeypatch.setattr("saddle.config.check.find_spec", lambda name: sys)
    both = compose("logger=[wandb,tensorboard]")
    assert both["choices"]["logger"] == [*both["logger"]] == ["wandb", "tensorboard"]
    assert compose("logger=none")["logger"] == compose("logger=[]")["logger"] == {}
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", True)
    del both["logger"]["wandb"]
    (logger,) = build_loggers(nodes(logger=both["logger"]), tmp_path)
    assert isinstance(logger, TensorBoardLogger) and Path(logger.log_dir) == tmp_path / "tensorboard"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("trainer", ["gpu", "ddp"])
def test_a_gpu_that_is_not_there_is_told_in_a_line(compose, tmp_path: Path, trainer: str) -> None:
    with pytest.raises(InputError, match=r"^trainer\.accelerator=gpu.*No supported gpu.*trainer=auto") as raised:
        build_trainer(OmegaConf.create(compose(f"trainer={trainer}")), tmp_path, [], [], [])
    assert "\n" not in str(raised.value)


def test_options_of_lightnings_trainer_reach_it(compose, tmp_path: Path) -> None:
    words = ["trainer=ddp_cpu", "trainer.devices=1", "trainer.deterministic=true", "trainer.detect_anomaly=true"]
    try:
        cfg = OmegaConf.create(compose(*words, "trainer.profiler=simple"))
        trainer: Any = build_trainer(cfg, tmp_path, [], [], [])
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
        assert trainer._detect_anomaly and trainer.profiler.dirpath == tmp_path
    finally:
        torch.use_deterministic_algorithms(False)
    with pytest.raises(InputError, match=r"did you mean model\.gradient_clip_val"):
        compose("trainer.gradient_clip_val=1")


STOP = of("callbacks.EarlyStopping", monitor="eval/swd", patience=1, mode="min", min_delta=1e9)


def test_early_stopping_ends_a_run_as_done(compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path / "cache"))
    cfg = OmegaConf.create(compose(*WORDS, "iterations=20"))
    cfg.callbacks = {
        **cfg.callbacks,
        "stop": STOP,
        "rates": of("callbacks.LearningRateMonitor"),
        "keep": of("callbacks.ModelCheckpoint", dirpath=str(tmp_path / "kept"), monitor="eval/swd", save_top_k=-1),
    }
    folder = RunFolder(tmp_path / "run")
    folder.begin(cfg)
    assert [type(each) for each in build_callbacks(cfg, folder.path)][-3:-1] == [EarlyStopping, LearningRateMonitor]
    assert train(cfg, folder) == "done"
    results = json.loads(folder.results_file.read_text())
    assert (results["status"], results["iterations"]) == ("done", 4)
    rows = list(csv.DictReader((folder.path / "metrics.csv").open()))
    assert {name for name in rows[0] if name.startswith("lr-")} == {"lr-SGD", "lr-SGD-1"}
    assert len([*(tmp_path / "kept").iterdir()]) == 2


@pytest.mark.slow
def test_early_stopping_ends_two_processes_at_the_same_iteration(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    stop = ",".join(f"{key}:{value}" for key, value in STOP.items())
    both = runs.several(2, *WORDS, "iterations=20", f"+callbacks.stop={{{stop}}}", f"hydra.run.dir={tmp_path}/run")
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0], (tmp_path / "runs" / "output.log").read_text()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["status"], results["iterations"]) == ("done", 4)


def test_a_monitored_score_that_nobody_logs_is_refused(compose) -> None:
    with pytest.raises(InputError, match=r"callbacks\.stop\.monitor=eval/fid: no chosen metric logs eval/fid"):
        compose(*WORDS, f"+callbacks.stop={{_target_:{STOP['_target_']},monitor:eval/fid}}")
