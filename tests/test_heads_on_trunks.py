"""Any head on any trunk: two iterations of training at tiny size."""

import pytest
import torch
from omegaconf import OmegaConf
from tiny import CONF, compose_config, train

from saddle.heads import Head

HEADS, TRUNKS = (sorted(path.stem for path in (CONF / f"model/{part}").glob("*.yaml")) for part in ("head", "trunk"))
FAMILIES = ("dcgan", "biggan", "mlp", "resnet", "began")  # different enough for every head to be tried on
OWN = {"information": ["model=infogan"]}  # a head that asks something of the latents
PAIRS = [(head, trunk) for head in HEADS for trunk in TRUNKS if head == "none" or trunk == "dcgan"]
KINDS = ("projection", "concat", "auxiliary", "contrastive", "d2d_ce", "reconstruction", "began")  # likewise of heads
PAIRS += [(head, trunk) for head in KINDS for trunk in FAMILIES[1:]]
TERMS = {"auxiliary", "contrastive", "d2d_ce"}  # heads with a term of their own
TINY = ["data.batch_size=4", "data.classes=3", "model.width=8", "model.latent_dim=20", "precision=32"]


def overrides(trunk: str, *more: str) -> list[str]:
    """A DCGAN with another trunk, at the smallest resolution that this one supports, 8 at least."""
    supported = OmegaConf.load(CONF / f"model/trunk/{trunk}.yaml").get("facts", {}).get("resolutions") or [8]
    resolution = min(r for r in supported if r >= 8)
    return [*TINY, "model=dcgan", f"data.resolution={resolution}", f"model/trunk={trunk}", *more]


@pytest.mark.parametrize(("head", "trunk"), PAIRS)
def test_any_head_trains_on_any_trunk(head: str, trunk: str) -> None:
    chosen = overrides(trunk, *OWN.get(head, [f"model/head={head}"]))
    model, scalars = train(2, *chosen)
    assert model.iteration == 2
    assert all(p.isfinite().all() for p in model.parameters())
    has_term = type(model.discriminator.head).loss is not Head.loss
    assert ("train/d_head" in scalars) is ("train/g_head" in scalars) is has_term
    assert has_term or head not in TERMS
    stepped = model.optimizers()[0].optimizer.state  # every parameter that had a gradient
    missing = [name for name, p in model.discriminator.head.named_parameters() if p not in stepped]
    assert not missing


@pytest.mark.parametrize("variant", ["tac", "adc"])
def test_the_other_classifiers_train(variant: str) -> None:
    model, scalars = train(2, *overrides("dcgan", "model/head=auxiliary", f"model.head.variant={variant}"))
    assert all(p.isfinite().all() for p in model.parameters())
    assert {"train/d_head", "train/g_head"} <= set(scalars)


def test_the_frozen_head_is_trained_in_no_turn_of_the_generator() -> None:
    """The head's parameters move in D's step only, G's gradient comes through them all the same."""
    from saddle.models.base import GAN

    seen = []
    step = GAN.generator_step

    def listening(model: GAN, number: int, reals: object) -> None:
        before = {name: p.detach().clone() for name, p in model.discriminator.named_parameters()}
        step(model, number, reals)
        seen.append(all(torch.equal(p, before[name]) for name, p in model.discriminator.named_parameters()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GAN, "generator_step", listening)
        for head in sorted(TERMS):
            train(2, *overrides("dcgan", f"model/head={head}", f"model.head.d_weight={1.0}"))
    assert seen == [True] * 6


@pytest.mark.parametrize("head", HEADS)
def test_a_head_follows_the_norm_of_the_discriminator(head: str) -> None:
    node = OmegaConf.to_container(compose_config(f"model/head={head}").model.head)
    for part in (node, node.get("decoder", {})):  # those of equalised learning rates have none
        assert part.get("norm", "${model.d_norm}") == "${model.d_norm}"
