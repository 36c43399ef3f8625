"""Every shipped configuration composes, passes the check, and runs for two iterations at tiny size."""

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tiny import StopAfter, attach

from saddle.run.build import build_data, build_model, build_trainer

CONF = Path(__file__).parent.parent / "conf"
TINY = ["data.batch_size=4", "model.width=4", "precision=32", "logger=none", "metrics=none"]


#: What a model needs beside being tiny.
EXTRA = {"cyclegan": ["data=unpaired_noise"], "stacked_gan": ["model.encoder_iterations=1"]}


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
    scalars = run_two_iterations(compose(*TINY, f"model={name}", *EXTRA.get(name, [])), tmp_path)
    assert {"train/d_loss", "train/g_loss", "train/real_logits", "train/d_accuracy_fake"} <= set(scalars)


LOSSES = [name for name in names("loss") if name != "energy"]
PENALTIES = [name for name in names("penalty") if name != "none"]


@pytest.mark.parametrize("loss", LOSSES)
def test_any_loss_with_any_penalty_trains_two_iterations(loss: str, compose) -> None:
    _train_with_each_penalty(
        compose("data.resolution=8", "data.batch_size=4", "model.width=2", "model.d_norm=none"), loss
    )


def test_energy_with_any_penalty_trains_two_iterations_on_its_autoencoder(compose) -> None:
    _train_with_each_penalty(
        compose("data.resolution=8", "data.batch_size=4", "model=ebgan", "model.width=2"), "energy"
    )


def _train_with_each_penalty(cfg: DictConfig, loss: str) -> None:
    cfg.precision, cfg.loss = 32, OmegaConf.load(CONF / "loss" / f"{loss}.yaml")
    for name in PENALTIES:
        cfg.penalty = OmegaConf.load(CONF / "penalty" / f"{name}.yaml")
        for option in ("every", "start"):  # so that a term that begins late is there too
            if option in cfg.penalty[name]:
                cfg.penalty[name][option] = {"every": 1, "start": 0}[option]
        if cfg.model.d_norm == "batch" and "per_sample_gradient" in cfg.penalty[name].get("facts", {}):
            cfg.model.d_norm = "none"
        model = attach(build_model(cfg))
        size = (4 * model.rules.d_steps, cfg.data.channels, 8, 8)
        for iteration in range(2):
            images = torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(iteration))
            model.training_step((images, torch.zeros(len(images), dtype=torch.int64)), iteration)
        scalars = model.tracked()
        assert any(key.startswith(f"train/penalty/{name}") for key in scalars) == (name != "weight_clip"), name
        assert all(torch.tensor(value).isfinite() for value in scalars.values()), (name, scalars)
        assert all(p.isfinite().all() for p in model.parameters()), name


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_runs_on_biggan(name: str, compose, tmp_path: Path) -> None:
    run_two_iterations(compose(*TINY, "model=biggan", f"loss={name}"), tmp_path)


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_runs_on_biggan(name: str, compose, tmp_path: Path) -> None:
    scalars = run_two_iterations(compose(*TINY, "model=biggan", f"penalty=[{name}]"), tmp_path)
    assert any(key.startswith(f"train/penalty/{name}") for key in scalars) == (name != "weight_clip")


@pytest.mark.parametrize(
    "options",
    ["model.packing=2", "model.minibatch=5", "model.top_k=0.5", "model.packing=2 model.minibatch=3 model.d_steps=2"],
)
def test_every_option_of_any_model_runs(options: str, compose, tmp_path: Path) -> None:
    run_two_iterations(compose(*TINY, *options.split()), tmp_path)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "spectral", "none"])
def test_every_discriminator_norm_runs(norm: str, compose, tmp_path: Path) -> None:
    run_two_iterations(compose(*TINY, f"model.d_norm={norm}"), tmp_path)
