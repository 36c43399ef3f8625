"""The optimisers of both players, and what is set of them during training."""

import torch
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
