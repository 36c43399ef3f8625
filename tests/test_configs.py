"""Every shipped configuration composes, passes the check, and runs for two iterations at tiny size."""

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from tiny import StopAfter

from saddle.run.build import build_data, build_model, build_trainer

CONF = Path(__file__).parent.parent / "conf"
TINY = ["data.batch_size=4", "model.width=4", "precision=32", "logger=none", "metrics=none"]


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def run_two_iterations(cfg: DictConfig, tmp_path: Path) -> dict[str, float]:
    model, data = build_model(cfg), build_data(cfg)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    build_trainer(cfg, tmp_path, [StopAfter(2)], [], []).fit(model, datamodule=data)
    assert model.iteration == 2
    moved = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert {"generator", "discriminator", "ema"} <= moved
    assert all(torch.isfinite(p).all() for p in model.parameters())
    return model.tracked()


@pytest.mark.parametrize("name", names("model"))
def test_every_model_runs(name: str, compose, tmp_path: Path) -> None:
    scalars = run_two_iterations(compose(*TINY, f"model={name}"), tmp_path)
    assert {"train/d_loss", "train/g_loss", "train/real_logits", "train/d_accuracy_fake"} <= set(scalars)


@pytest.mark.parametrize("model", ["dcgan", "biggan"])
@pytest.mark.parametrize("name", names("loss"))
def test_every_loss_runs_on_both_networks(name: str, model: str, compose, tmp_path: Path) -> None:
    run_two_iterations(compose(*TINY, f"model={model}", f"loss={name}"), tmp_path)


@pytest.mark.parametrize("name", [n for n in names("penalty") if n != "none"])
def test_every_penalty_runs(name: str, compose, tmp_path: Path) -> None:
    scalars = run_two_iterations(compose(*TINY, f"penalty=[{name}]", "model.d_norm=none"), tmp_path)
    assert (f"train/penalty/{name}" in scalars) == (name != "weight_clip")


@pytest.mark.parametrize("name", [n for n in names("penalty") if n not in ("none", "r1")])
def test_every_penalty_runs_on_biggan(name: str, compose, tmp_path: Path) -> None:
    run_two_iterations(compose(*TINY, "model=biggan", f"penalty=[{name}]"), tmp_path)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "spectral", "none"])
def test_every_discriminator_norm_runs(norm: str, compose, tmp_path: Path) -> None:
    run_two_iterations(compose(*TINY, f"model.d_norm={norm}"), tmp_path)
