"""The shipped configs: combinations that make no sense are refused by name, and every recipe passes the check."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from saddle.config import resolvers
from saddle.config.check import checked
from saddle.config.compose import Composer
from saddle.errors import InputError

CONF = Path(__file__).parent.parent / "conf"


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    resolvers.register()
    with Composer(CONF, "train") as composer:
        yield composer


REFUSED = {
    "loss=energy": ["loss=energy", "model/head=none has none", "model=ebgan"],
    "model=began loss=hinge": ["loss=hinge", "model=began", "loss=wasserstein"],
    "model=cyclegan data=digits": ["model=cyclegan", "data=digits", "data=unpaired_digits"],
    "penalty=[r1]": ["penalty r1", "batch norm", "model.d_norm=none"],
    "penalty=[lecam,gradient_penalty]": ["penalty gradient_penalty", "batch norm", "model.d_norm=none"],
    "penalty=[r2] model.d_norm=none model.minibatch=10": ["penalty r2", "minibatch discrimination", "model.minibatch"],
    "model.packing=3": ["model.packing=3", "data.batch_size=32", "multiple of 3"],
    "model.packing=2 model/head=projection": ["model.packing=2", "model/head=projection", "model/head=none"],
    "model.top_k=0.5 loss=relativistic": ["model.top_k=0.5", "loss=relativistic"],
    "model.schedules={g_lr:{end:0,kimg:1}}": ["model.schedules", "'+model.schedules=...'"],
    "model.g_conditioning=sum": ["model.g_conditioning=sum", "none, concat, batch_norm"],
    "model=dcgan model/head=projection data=celeba": ["model=dcgan needs labels", "data=celeba"],
    "model/generator=biggan data.classes=0": ["needs labels", "data.classes=0"],
    "model/trunk=biggan data.resolution=16": ["data.resolution=16", "model/trunk=biggan", "32, 64"],
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_makes_no_sense_is_refused_with_the_reason(overrides: str, composer: Composer) -> None:
    with pytest.raises(InputError) as error:
        checked(composer, overrides.split())
    assert all(part in str(error.value) for part in REFUSED[overrides]), error.value


@pytest.mark.parametrize("monitor", ["eval/code_accuracy", "eval/frechet"])
def test_scores_of_metrics_and_of_callbacks_can_be_monitored(monitor: str, composer: Composer) -> None:
    checked(composer, ["model=infogan", "data=digits", f"checkpoint.monitor={monitor}"])


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_passes_the_check(name: str, composer: Composer) -> None:
    checked(composer, [f"experiment={name}"])


@pytest.mark.parametrize("name", ["ring", "grid"])
@pytest.mark.parametrize("method", ["model=unrolled", "model.packing=2"])
def test_the_recipes_of_points_hold_for_what_keeps_modes(name: str, method: str, composer: Composer) -> None:
    plain, other = (
        checked(composer, [f"experiment={name}"]),
        checked(composer, [f"experiment={name}", method]),
    )
    same = ["width", "latent_dim", "d_lr", "g_lr", "beta1", "optimizer", "schedules", "generator", "ema"]
    assert [other["model"][key] for key in same] == [plain["model"][key] for key in same]
    assert other["iterations"] == plain["iterations"] and other["data"] == plain["data"]
