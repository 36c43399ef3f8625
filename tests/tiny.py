"""Tiny configurations, models and training runs for the tests, without a run folder."""

from dataclasses import fields
from pathlib import Path

import torch
from lightning.pytorch import Callback
from omegaconf import DictConfig, OmegaConf
from torch import nn

from saddle.augment import Augment, NoAugment
from saddle.config import resolvers
from saddle.config.compose import Composer
from saddle.discriminator import Discriminator
from saddle.heads import LinearHead
from saddle.losses import NonSaturating
from saddle.models.base import GAN, Facts
from saddle.models.ema import EMA
from saddle.models.optimisers import Optimisers
from saddle.prior import Prior
from saddle.randomness import generator

CONF = Path(__file__).resolve().parent.parent / "conf"
TRAIN_OVERRIDES = ["data=noise", "data.size=40", "logger=none", "trainer=cpu"]


COMPOSER = Composer(CONF, "train")  # remembers the files that it has read


def compose_config(*overrides: str) -> DictConfig:
    """The configuration of train.yaml with `overrides`, on a few random images."""
    resolvers.register()
    with COMPOSER:
        cfg = COMPOSER.compose([*TRAIN_OVERRIDES, *overrides])
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


class StopAfter(Callback):
    """Ends training after a number of iterations."""

    def __init__(self, iterations: int):
        self.iterations = iterations

    def on_train_batch_end(self, trainer, pl_module, *_):
        trainer.should_stop = pl_module.iteration >= self.iterations


def train(iterations: int, *overrides: str) -> tuple[GAN, dict[str, float]]:
    """A model of the configuration trained by Lightning's trainer, and the means of its tracked scalars."""
    from saddle.run.build import build_data, build_model, build_trainer

    cfg = compose_config(*overrides)
    model = build_model(cfg)
    trainer = build_trainer(cfg, Path("."), [StopAfter(iterations)], [], [])
    trainer.fit(model, datamodule=build_data(cfg))
    return model, model.tracked()


class Seen(Augment):
    """An augmentation by a function of images and draws."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images, draws):
        return self.function(images, draws)


class Flat(nn.Module):
    """A generator whose images are a linear function of the latents, [B, latent_dim] to [B, channels, side, side]."""

    def __init__(self, latent_dim: int, side: int = 4, channels: int = 1):
        super().__init__()
        self.latent_dim, self.shape = latent_dim, (channels, side, side)
        self.linear = nn.Linear(latent_dim, channels * side * side)

    def forward(self, latents, labels):
        return self.linear(latents).unflatten(1, self.shape)


class Dense(nn.Module):
    """A trunk of one hidden layer on flattened images; its forward calls are counted."""

    def __init__(self, pixels: int = 16, features: int = 6, independent: bool = True):
        super().__init__()
        self.features, self.independent, self.calls = features, independent, 0
        self.linear = nn.Linear(pixels, features)

    def forward(self, images):
        self.calls += 1
        return torch.tanh(self.linear(images.flatten(1)))


def parts_of(kind: type[GAN], generator: nn.Module, options: dict) -> dict:
    """The objects that a GAN is made of beside networks, loss, penalties and augmentation, from flat options.

    The names are those of the classes' arguments: d_steps, g_lr, batch_size, ... `ema`, `ema_start`, `ema_kimg` and
    `ema_warmup` are those of conf/model, `classes`, `latent_dim`, `latent` and `fake_labels` those of the prior.
    """

    def taken(owner: type) -> dict:
        names = [field.name for field in fields(owner) if field.init]
        return {name: options.pop(name) for name in names if name in options}

    prior = Prior(
        options.pop("latent_dim"),
        options.pop("latent", "normal"),
        options.pop("classes", 0),
        options.pop("fake_labels", "uniform"),
    )
    averaging = [options.pop(f"ema{name}", value) for name, value in EMA_OPTIONS.items()]
    parts = {
        "prior": prior,
        "optimisers": Optimisers(options.pop("optimizer", "adam"), **taken(Optimisers)),
        "ema": EMA(generator, *averaging),
        "rules": kind.rules_type(**taken(kind.rules_type)),
        "facts": Facts(**taken(Facts)),
        "schedules": options.pop("schedules", None),
    }
    assert not options, f"no such options: {', '.join(options)}"
    return parts


def gan_of(
    kind: type[GAN],
    generator: nn.Module,
    discriminator: Discriminator,
    loss=None,
    penalties=None,
    augment=None,
    **options,
) -> GAN:
    """A model of networks, with the flat options of `parts_of`; by default the non-saturating loss alone."""
    more = (loss or NonSaturating(), penalties or {}, augment or NoAugment())
    return kind(generator, discriminator, *more, **parts_of(kind, generator, options))


EMA_OPTIONS = {"": 0.999, "_start": 0, "_kimg": None, "_warmup": True}


def dense_gan(
    penalties=None,
    *,
    latent_dim=5,
    batch_size=8,
    independent=True,
    channels=1,
    side=4,
    loss=None,
    augment=None,
    **options,
) -> GAN:
    """A GAN of linear networks in float64, with optimisers but no trainer: call `attach` to let it step."""
    torch.manual_seed(0)
    trunk = Dense(channels * side * side, independent=independent)
    discriminator = Discriminator(trunk, LinearHead(trunk.features, 0))
    seen = Seen(augment) if augment else None
    more = {"latent_dim": latent_dim, "batch_size": batch_size, **options}
    model = gan_of(GAN, Flat(latent_dim, side, channels), discriminator, loss, penalties, seen, **more)
    return model.double()


def attach(model: GAN) -> GAN:
    """Give a model its optimisers and a plain backward pass, as a trainer would; it is in training mode."""

    class Plain:
        def __init__(self, optimizer):
            self.optimizer = optimizer

        def step(self):
            self.optimizer.step()

        def zero_grad(self):
            self.optimizer.zero_grad()

    pair = [Plain(optimizer) for optimizer in model.configure_optimizers()]
    model.optimizers = lambda: pair
    model.manual_backward = lambda loss: loss.backward()
    return model.train()


def batch(model: GAN, channels=1, side=4, seed=0, classes=1):
    """One iteration's images (uint8) and labels for one process."""
    n = model.rules.d_steps * model.share.batch_size
    images = torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8, generator=generator(seed, "images"))
    return images, torch.arange(n) % classes
