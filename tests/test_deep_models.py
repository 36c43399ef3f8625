"""ProGAN, StyleGAN, StyleGAN2, R3GAN and BigGAN-deep as their yaml files compose them, and their published recipes."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tiny import compose_config, train

from saddle.callbacks.growth import GrowthGrid
from saddle.callbacks.styles import StyleMixing, Truncation
from saddle.config import resolvers
from saddle.config.check import checked, plain
from saddle.config.compose import Composer
from saddle.config.instantiate import instantiate
from saddle.errors import InputError
from saddle.heads.equalised import MappedProjection
from saddle.heads.labels import Projection
from saddle.heads.r3gan import LabelProjection
from saddle.models.base import GAN
from saddle.models.progan import Growth, ProGAN, of_stage
from saddle.models.stylegan import StyleBased, StyleGAN
from saddle.randomness import SampleDraws, layer_noise_from
from saddle.run.build import build_callbacks, build_discriminator, build_model

CONF = Path(__file__).parent.parent / "conf"

NONE = "NoAugment"
#: model: class, loss, {penalty: (weight, every)}, networks, head, augmentation
MODELS = {
    "progan": (
        ProGAN, "Wasserstein", {"gradient_penalty": (10, 1), "drift": (0.001, 1)}, "progan", "EqualisedHead", NONE,
    ),
    "stylegan": (StyleGAN, "NonSaturating", {"r1": (10.0, 1)}, "stylegan", "EqualisedHead", NONE),
    "stylegan2": (
        StyleBased, "NonSaturating", {"r1": (1.0, 16), "path_length": (2, 4)}, "stylegan2", "EqualisedHead", NONE,
    ),
    "stylegan2_ada": (StyleBased, "NonSaturating", {"r1": (1.0, 16)}, "stylegan2", "EqualisedHead", "ADA"),
    "r3gan": (GAN, "Relativistic", {"r1": (0.05, 1), "r2": (0.05, 1)}, "r3gan", "UnbiasedHead", NONE),
    "biggan_deep": (GAN, "Hinge", {}, "biggan_deep", "Projection", NONE),
}  # fmt: skip

#: experiment: resolution, batch size (None: by resolution), kimg, width, max_width, latent, g_lr, d_lr, beta1, beta2
EXPERIMENTS = {
    "progan_celebahq": (1024, None, 12_000, 16, 512, 512, 1e-3, 1e-3, 0, 0.99),
    "stylegan_ffhq": (1024, None, 25_000, 16, 512, 512, 1e-3, 1e-3, 0, 0.99),
    "stylegan2_ffhq": (1024, 32, 25_000, 32, 512, 512, 2e-3, 2e-3, 0, 0.99),
    "stylegan2_ada_cifar10": (32, 64, 100_000, 512, 512, 512, 2e-3, 2.5e-3, 0, 0.99),
    "r3gan_cifar10": (32, 512, 20_000, 96, None, 64, 2e-4, 2e-4, 0, 0.9),
    "r3gan_ffhq64": (64, 256, 20_000, 96, None, 64, 2e-4, 2e-4, 0, 0.9),
    "biggan_deep_imagenet128": (128, 2048, 819_200, 128, None, 128, 5e-5, 2e-4, 0, 0.999),
}

#: experiment: millions of parameters of G and D
PARAMETERS = {
    "progan_celebahq": (23.1, 23.1),
    "stylegan2_ffhq": (30.4, 29.0),
    "stylegan2_ada_cifar10": (20.2, 23.1),
}


@pytest.fixture
def composer():
    resolvers.register()
    with Composer(CONF, "train") as composer:
        yield composer


def last(node):
    return node["_target_"].rpartition(".")[2]


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_is_made_of(name, composer):
    found = checked(composer, [f"model={name}"])
    model = found["model"]
    cls, loss, penalties, networks, head, augment = MODELS[name]
    assert (model["_target_"].rpartition(".")[2], last(found["loss"])) == (cls.__name__, loss)
    assert {key: (node["weight"], node["every"]) for key, node in found["penalty"].items()} == penalties
    for part in ("generator", "trunk"):
        assert model[part]["_target_"].split(".")[-2] == networks
    assert (last(model["head"]), last(found["augment"])) == (head, augment)
    assert model["head"]["facts"]["needs_labels"] == (name == "biggan_deep")
    assert "arXiv:" in model["paper"]
    if name != "biggan_deep":
        assert model["beta1"] == 0 and model["d_norm"] == "none" and model["generator"]["classes"] == 0


def test_biggan_deep_keeps_what_it_shares_with_biggan(composer):
    deep, plain_one = (checked(composer, [f"model={name}"])["model"] for name in ("biggan_deep", "biggan"))
    same = ("init", "g_norm", "d_norm", "d_steps", "g_lr", "d_lr", "beta1", "beta2", "ema", "paper")
    assert {key: deep[key] for key in same} == {key: plain_one[key] for key in same}


def test_the_strength_of_a_penalty_can_be_set_where_it_always_can(composer):
    options = ["model=stylegan2", "penalty.r1.weight=3", "penalty.r1.every=2"]
    assert checked(composer, options)["penalty"]["r1"]["weight"] == 3
    assert checked(composer, ["model=stylegan2", "penalty=[lecam,r1]"])["penalty"]["r1"]["weight"] == 1
    with pytest.raises(InputError, match="penalty.r1.weight=-1"):
        checked(composer, ["model=stylegan2", "penalty.r1.weight=-1"])
    alone = checked(composer, ["model=dcgan", "model.d_norm=none", "penalty=[r1,r2]", "augment=ada"])
    assert [(node["weight"], node["every"]) for node in alone["penalty"].values()] == [(10.0, 1), (10.0, 1)]
    assert alone["augment"]["kimg"] == 500


def test_what_makes_no_sense_is_refused(composer):
    for override, words in {
        "model.d_norm=batch": "model.d_norm=batch: must be one of none",
        "data.resolution=48": "data.resolution=48: model/generator=stylegan2 supports 8, 16, 32",
        "model.g_conditioning=batch_norm": "model/generator=stylegan2 has none, concat",
        "model.style_mixing=2": "model.style_mixing=2",
    }.items():
        with pytest.raises(InputError, match=words):
            checked(composer, ["model=stylegan2", override])
    with pytest.raises(InputError, match="needs labels"):
        checked(composer, ["model=r3gan", "model/head=r3gan_projection", "data.classes=0"])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_published_recipe(name, composer):
    found = checked(composer, [f"experiment={name}"])
    model, data = found["model"], found["data"]
    resolution, batch, kimg, width, max_width, *rest = EXPERIMENTS[name]
    assert (data["resolution"], model["width"], model.get("max_width")) == (resolution, width, max_width)
    assert [model[key] for key in ("latent_dim", "g_lr", "d_lr", "beta1", "beta2")] == rest
    assert found["choices"]["model"] == name.rpartition("_")[0]
    if name.startswith("r3gan"):
        assert model["generator"]["width"] == model["trunk"]["width"] == 768 and model["generator"]["full"] == 4
    if batch is None:
        stages = range(["progan_celebahq", "stylegan_ffhq"].index(name), 9)
        growth = Growth(stages, model["fade_kimg"], model["stable_kimg"], model["batch_sizes"])
        shown = growth.images_at(found["iterations"])
        assert growth.phases[-1].stage == 8 and growth.phases[-1].batch_size == (4, 32)[stages.start]
    else:
        assert data["batch_size"] == batch
        shown = found["iterations"] * model["d_steps"] * batch
    assert shown == pytest.approx(1000 * kimg, abs=2 * (batch or 32))


def test_the_rates_of_stylegan_at_each_resolution(composer):
    model = checked(composer, ["experiment=stylegan_ffhq"])["model"]
    rates = [model["g_lr"] * of_stage(model["lr_factors"], stage) for stage in range(9)]
    assert rates == pytest.approx([1e-3] * 5 + [1.5e-3, 2e-3, 3e-3, 3e-3])
    assert [of_stage(model["batch_sizes"], stage) for stage in range(1, 9)] == [256, 128, 64, 32, 32, 32, 32, 32]
    assert model["start_resolution"] == 8 and model["ema_kimg"] == 10


def test_r3gan_goes_along_half_a_cosine():
    """Rates, beta2, gamma, p and half-life at the start, in the middle and at the end of 20 million images."""
    small = ["data=noise", "data.resolution=8", "model.width=1", "logger=none", "trainer=cpu", "precision=32"]
    model = build_model(compose_config("experiment=r3gan_cifar10", *small))
    seen = []
    for images in (0, 10_000_000, 30_000_000):
        model.schedules.apply(0, images / 1000)
        penalties = [model.penalties[name].weight for name in ("r1", "r2")]
        own = model.optimisers
        seen.append([own.d_lr, own.g_lr, own.beta2, *penalties, float(model.augment.p)])
        seen[-1].append(model.ema.half_life)
    start, end = [2e-4, 2e-4, 0.9, 0.05, 0.05, 0, 0], [5e-5, 5e-5, 0.99, 0.005, 0.005, 0.55, 5000]
    assert seen[0] == pytest.approx(start) and seen[2] == pytest.approx(end)
    assert seen[1] == pytest.approx([(a + b) / 2 for a, b in zip(start, end, strict=True)])
    assert not model.augment.adaptive


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_recipes_are_the_published_ones(name):
    cfg = compose_config(f"experiment={name}", "data.channels=3", f"data.resolution={EXPERIMENTS[name][0]}")
    with torch.device("meta"):
        generator, discriminator = instantiate(cfg.model.generator, torch.nn.Module), build_discriminator(cfg)
    found = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (generator, discriminator)]
    assert found == pytest.approx(PARAMETERS[name], rel=0.01)


def test_labels_reach_both_networks_where_the_head_asks_for_them():
    for name, head, kind in (
        ("stylegan2", "mapped_projection", MappedProjection),
        ("r3gan", "r3gan_projection", LabelProjection),
        ("progan", "projection", Projection),
    ):
        options = ["data.classes=4", "data.resolution=8", "model.width=4", "model.latent_dim=6", "precision=32"]
        cfg = compose_config(f"model={name}", f"model/head={head}", *options)
        assert cfg.model.generator.classes == 4
        generator = instantiate(cfg.model.generator, torch.nn.Module)
        discriminator = build_discriminator(cfg)
        assert isinstance(discriminator.head, kind)
        latents, labels = torch.randn(1, 6).expand(4, -1), torch.arange(4)
        with layer_noise_from(SampleDraws(0, "noise", 0, 4)):
            images = generator.eval()(latents, labels)
        assert (images[0] - images[1]).abs().max() > 1e-3
        logits = [discriminator(images[:1].expand(4, -1, -1, -1), y.expand(4)).logits[0].item() for y in labels]
        assert len(set(logits)) == 4


def test_the_grids_come_with_the_models(composer, tmp_path):
    for name, kinds in {
        "progan": {GrowthGrid},
        "stylegan": {GrowthGrid, StyleMixing, Truncation},
        "stylegan2": {StyleMixing, Truncation},
        "r3gan": set(),
    }.items():
        found = checked(composer, [f"model={name}", "metrics=none"])
        found.pop("choices")
        callbacks = build_callbacks(OmegaConf.create(found), tmp_path)
        drawn = {type(callback) for callback in callbacks} & {GrowthGrid, StyleMixing, Truncation}
        assert drawn == kinds
    found = plain(composer.compose(["model=stylegan2", "callbacks=spectra"]))
    assert {"spectra", "style_mixing", "samples"} <= set(found["callbacks"])


GROWING = ["model.fade_kimg=0.032", "model.stable_kimg=0.008", "model.batch_sizes=[8]"]


@pytest.mark.parametrize(
    "options",
    [
        ["model=progan", "model/head=auxiliary", *GROWING, "trainer.accumulate=2"],
        ["model=stylegan", *GROWING, "model.start_resolution=4", "augment=diffaugment", "model/head=projection"],
        ["model=stylegan2", "model/head=mapped_projection", "penalty=[r1,path_length,consistency]", "model.packing=1"],
        ["model=stylegan2_ada", "augment.p=0.8", "model.d_steps=2"],
        ["model=r3gan", "model/head=r3gan_projection", "augment=ada", "augment.adaptive=false", "augment.p=0.5"],
    ],
    ids=lambda options: options[0],
)
def test_with_other_parts_each_model_trains(options):
    small = ["data.resolution=8", "data.classes=4", "data.batch_size=8", "model.width=4", "model.latent_dim=6"]
    model, scalars = train(3, *options, *small, "precision=32")
    assert model.iteration == 3 and all(torch.tensor(value).isfinite() for value in scalars.values())
    images, labels = model.sample(0, 5, truncation=0.7)
    assert images.shape == (5, 3, 8, 8) and images.isfinite().all() and labels.max() < 4
