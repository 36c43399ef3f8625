"""The optimisers of both players, and what is set of them during training."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from tiny import StopAfter, compose_config, train
from torch import nn

from saddle.models.optimisers import Optimisers


def made(**options) -> Optimisers:
    optimisers = Optimisers(**{"g_lr": 0.4, "d_lr": 0.1, "beta1": 0.0} | options)
    networks = {"discriminator": nn.Linear(2, 1), "generator": nn.Linear(1, 2)}
    assert optimisers.make(networks) == [*optimisers.made.values()]
    return optimisers


def groups(optimisers: Optimisers) -> list[dict]:
    return [optimiser.param_groups[0] for optimiser in optimisers.made.values()]


def test_they_start_with_what_is_set():
    d, g = groups(made(beta2=0.9, eps=1e-3))
    assert (d["lr"], g["lr"]) == (0.1, 0.4) and d["betas"] == g["betas"] == (0.0, 0.9) and d["eps"] == 1e-3


def test_what_is_set_later_holds_once_they_are_renewed():
    optimisers = made()
    optimisers.g_lr, optimisers.beta2, optimisers.factor = 0.2, 0.5, 3.0
    assert [group["lr"] for group in groups(optimisers)] == [0.1, 0.4]
    optimisers.renew()
    d, g = groups(optimisers)
    assert (d["lr"], g["lr"]) == (3.0 * 0.1, 3.0 * 0.2) and d["betas"] == g["betas"] == (0.0, 0.5)
    assert (optimisers.rate("discriminator"), optimisers.rate("generator")) == (d["lr"], g["lr"])


def test_forgetting_drops_the_moments_alone():
    optimisers = made()
    for optimiser in optimisers.made.values():
        for parameter in optimiser.param_groups[0]["params"]:
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
        assert optimiser.state
    optimisers.forget()
    assert not any(optimiser.state for optimiser in optimisers.made.values())
    assert [group["lr"] for group in groups(optimisers)] == [0.1, 0.4]


CLIPPED = ["model=dcgan", "data.resolution=8", "model.width=4", "data.batch_size=4", "model.latent_dim=6"]


def norms(model) -> list[float]:
    """Of D's and of G's gradient in their last step."""
    players = model.discriminator, model.generator
    return [float(torch.cat([p.grad.flatten() for p in player.parameters()]).norm()) for player in players]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_the_gradient_of_each_player_is_cut(optimizer: str):
    words = [*CLIPPED, "precision=64", f"model.optimizer={optimizer}"]
    d, g = norms(train(1, *words)[0])
    assert d > 0.1 and g > 0.01
    between = (d * g) ** 0.5  # so that one is cut and the other is not
    cut, tracked = train(1, *words, f"model.gradient_clip_val={between}")
    assert norms(cut) == pytest.approx([min(d, between), min(g, between)], rel=0.2)  # G's follows another step of D
    assert tracked["train/d_grad_norm"] == pytest.approx(d)  # what is logged is the whole


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])  # the one unscales its gradient itself
def test_under_a_scaler_the_gradient_is_cut_as_it_is(optimizer: str):
    from saddle.run.build import build_data, build_model

    words = [*CLIPPED, f"model.optimizer={optimizer}", "precision=16-mixed", "model.gradient_clip_val=0.001"]
    cfg = compose_config(*words)
    model, scaler = build_model(cfg), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trainer = Trainer(
        accelerator="cpu", max_epochs=-1, logger=False, callbacks=[StopAfter(2)],
        plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=build_data(cfg))
    assert norms(model) == pytest.approx([0.001, 0.001], rel=0.01)
