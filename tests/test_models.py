"""What the models that are yaml alone compose to, and the published recipes of their experiments."""

from pathlib import Path

import pytest
import torch
from tiny import compose_config, train
from torch import nn
from torch.nn.utils import parametrize

from saddle.config import resolvers
from saddle.config.check import checked, plain
from saddle.config.compose import Composer
from saddle.config.instantiate import instantiate
from saddle.errors import InputError
from saddle.networks.blocks import SelfAttention
from saddle.networks.norm import ClassBatchNorm
from saddle.run.build import build_discriminator

CONF = Path(__file__).parent.parent / "conf"
TINY = ("data.batch_size=4", "model.width=4", "precision=32", "data.channels=1")

#: model: loss, penalties, networks, head, D's norm, G's norm, how G reads labels, optimiser, D steps
MODELS = {
    "gan": ("NonSaturating", [], "mlp", "LinearHead", "none", "none", "none", "sgd", 1),
    "cgan": ("NonSaturating", [], "mlp", "Concat", "none", "none", "concat", "sgd", 1),
    "lsgan": ("LeastSquares", [], "dcgan", "LinearHead", "batch", "none", "none", "adam", 1),
    "wgan": ("Wasserstein", ["weight_clip"], "dcgan", "LinearHead", "batch", "none", "none", "rmsprop", 5),
    "wgan_gp": ("Wasserstein", ["gradient_penalty"], "dcgan", "LinearHead", "none", "none", "none", "adam", 5),
    "dragan": ("NonSaturating", ["dragan"], "dcgan", "LinearHead", "batch", "none", "none", "adam", 1),
    "rsgan": ("Relativistic", [], "dcgan", "LinearHead", "spectral", "none", "none", "adam", 1),
    "rasgan": ("RelativisticAverage", [], "dcgan", "LinearHead", "spectral", "none", "none", "adam", 1),
    "sngan": ("Hinge", [], "resnet", "LinearHead", "spectral", "none", "none", "adam", 1),
    "projection_gan": ("Hinge", [], "resnet", "Projection", "spectral", "none", "batch_norm", "adam", 2),
    "sagan": ("Hinge", [], "resnet", "Projection", "spectral", "spectral", "batch_norm", "adam", 1),
}

#: experiment: resolution, width, latent length, batch, D steps, rates of G and D, beta1, beta2
EXPERIMENTS = {
    "gan_mnist": (28, 1200, 100, 100, 1, 0.1, 0.0125, 0.5, 0.99),
    "lsgan_lsun": (64, 64, 1024, 64, 1, 1e-3, 1e-3, 0.5, 0.999),
    "wgan_lsun": (64, 64, 100, 64, 5, 5e-5, 5e-5, 0.0, 0.99),
    "wgan_gp_cifar10": (32, 128, 128, 64, 5, 2e-4, 2e-4, 0.0, 0.9),
    "sngan_cifar10": (32, 256, 128, 64, 5, 2e-4, 2e-4, 0.0, 0.9),
    "projection_gan_imagenet128": (128, 64, 128, 64, 5, 2e-4, 2e-4, 0.0, 0.9),
    "sagan_imagenet128": (128, 64, 128, 256, 1, 1e-4, 4e-4, 0.0, 0.9),
    "dragan_mnist": (32, 64, 100, 128, 1, 1e-4, 1e-4, 0.5, 0.9),
    "rasgan_cifar10": (32, 64, 128, 32, 1, 2e-4, 2e-4, 0.5, 0.999),
}


@pytest.fixture
def composer():
    resolvers.register()
    with Composer(CONF, "train") as composer:
        yield composer


@pytest.fixture
def config(composer):
    """A function of overrides to the configuration, which it does not check."""

    def composed(*overrides):
        cfg = composer.compose(overrides)
        return plain(cfg) | {"choices": dict(cfg.hydra.runtime.choices)}

    return composed


def last(node):
    return node["_target_"].rpartition(".")[2]


def family(node):
    return node["_target_"].split(".")[-2]


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_is_made_of(name, config):
    found = config(f"model={name}")
    model = found["model"]
    loss, penalties, networks, head, *options = MODELS[name]
    assert (last(found["loss"]), list(found["penalty"])) == (loss, penalties)
    assert (family(model["generator"]), family(model["trunk"]), last(model["head"])) == (networks, networks, head)
    assert [model[key] for key in ("d_norm", "g_norm", "g_conditioning", "optimizer", "d_steps")] == options
    assert "arXiv:" in model["paper"] or "doi:" in model["paper"]
    assert model["head"]["facts"]["needs_labels"] == (name in ("cgan", "projection_gan", "sagan"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_published_recipe(name, config):
    found = config(f"experiment={name}")
    model, data = found["model"], found["data"]
    keys = ("width", "latent_dim", "d_steps", "g_lr", "d_lr", "beta1", "beta2")
    width, latent, steps, *rest = [model[key] for key in keys]
    assert (data["resolution"], width, latent, data["batch_size"], steps, *rest) == EXPERIMENTS[name]
    assert found["choices"]["model"] == name.rpartition("_")[0].removesuffix("_128")
    assert model["ema"] == 0 and found["iterations"] >= 20000


def networks(*overrides):
    """The generator and the discriminator of a configuration, on the meta device."""
    cfg = compose_config(*overrides)
    with torch.device("meta"):
        return instantiate(cfg.model.generator, torch.nn.Module), build_discriminator(cfg)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_sngan_recipe_are_the_published_ones():
    generator, discriminator = networks("model=sngan", "model.width=256", "data.channels=3")
    assert (parameters(generator), parameters(discriminator)) == (4_276_739, 1_053_825)


def test_the_wgan_gp_recipe_has_128_channels_in_both_networks():
    generator, discriminator = networks("experiment=wgan_gp_cifar10")
    for network in (generator, discriminator.trunk):
        blocks = [m.out_channels for m in network.blocks.modules() if isinstance(m, nn.Conv2d)]
        assert set(blocks) == {128}
    assert discriminator.trunk.pooling == "mean"
    assert discriminator.independent


def count(module, kind):
    return sum(isinstance(m, kind) for m in module.modules())


def spectral(module):
    return sum(parametrize.is_parametrized(m) for m in module.modules())


def test_what_sngan_projection_gan_and_sagan_add_to_each_other():
    pairs = {name: networks(*TINY, f"model={name}") for name in ("sngan", "projection_gan", "sagan")}
    found = {
        name: (count(g, ClassBatchNorm), count(g, SelfAttention), count(d, SelfAttention), spectral(g) > 0)
        for name, (g, d) in pairs.items()
    }
    assert found == {
        "sngan": (0, 0, 0, False),
        "projection_gan": (6, 0, 0, False),
        "sagan": (6, 1, 1, True),
    }
    for _, discriminator in pairs.values():
        weighted = count(discriminator, (nn.Conv2d, nn.Linear, nn.Embedding))
        assert spectral(discriminator) == weighted > 0


def test_wgan_keeps_every_weight_of_the_critic_clipped():
    model, scalars = train(1, *TINY, "model=wgan")
    assert max(p.abs().max().item() for p in model.discriminator.parameters()) <= 0.01
    assert max(p.abs().max().item() for p in model.generator.parameters()) > 0.01
    assert "train/estimate/wasserstein" in scalars


@pytest.mark.parametrize("name", ["gan", "cgan"])
def test_linear_networks_train_on_points_with_dropout(name):
    shape = ["data.resolution=1", "data.channels=2", "data.classes=3"]
    dropout = ["model.trunk.dropout=0.5", "model.trunk.input_dropout=0.2"]
    _, scalars = train(2, "data.batch_size=4", "precision=32", "model.width=8", *shape, *dropout, f"model={name}")
    assert {"train/d_loss", "train/g_loss"} <= set(scalars)


@pytest.mark.parametrize(
    ("overrides", "head", "how"),
    [
        (["model=projection_gan", "model/head=none"], "LinearHead", "batch_norm"),
        (["model=dcgan", "model/head=projection"], "Projection", "concat"),
        (["model=lsgan", "model/generator=resnet", "model/trunk=mlp"], "LinearHead", "none"),
    ],
)
def test_parts_of_a_model_can_be_exchanged(overrides, head, how, config):
    model = config(*overrides)["model"]
    assert (last(model["head"]), model["g_conditioning"]) == (head, how)
    if len(overrides) == 3:
        assert (family(model["generator"]), family(model["trunk"])) == ("resnet", "mlp")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=cgan", "data=lsun"], "needs labels"),
        (["model=sagan", "data=noise", "data.classes=0"], "needs labels"),
        (["model=sngan", "data.resolution=28"], "model/generator=resnet supports 32, 48, 64, 128"),
        (["model=gan", "model.g_conditioning=batch_norm"], "model/generator=mlp has none, concat"),
        (["model=wgan_gp", "model.d_norm=batch"], "model.d_norm"),
        (["model=sngan", "model.trunk.pooling=max"], "model.trunk.pooling=max: must be one of sum, mean"),
        (["model=gan", "model.trunk.activation=sigmoid"], "one of maxout, relu, leaky_relu, tanh"),
        (["model=gan", "model.trunk.dropout=1.0"], "model.trunk.dropout=1.0"),
    ],
)
def test_misfits_are_refused_by_name(overrides, message, composer):
    with pytest.raises(InputError, match=message):
        checked(composer, overrides)


def test_dragan_may_keep_batch_norm(composer):
    assert checked(composer, ["model=dragan"])["model"]["d_norm"] == "batch"
