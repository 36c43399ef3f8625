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
    "penalty.r1.weight=1": ["penalty.r1.weight", "r1 is not chosen", "add penalty=["],
    "model=stylegan2 penalty=[lecam] penalty.r1.weight=1": ["penalty.r1.weight", "r1 is not chosen", "add penalty=["],
    "augment.kimg=5": ["augment.kimg", "augment=ada or augment=apa has it"],
    "model=stylegan2_ada augment=none augment.kimg=5": ["augment.kimg", "augment=ada or augment=apa has it"],
    "model.trunk.group=2": ["model.trunk.group", "model/trunk=progan", "model/trunk=stylegan2 has it"],
    "model=sagan model/generator=dcgan model.generator.attention=true": ["attention", "model/generator=resnet"],
    "model=stylegan2 model.generator.norm=spectral": ["model.generator.norm", "model/generator=dcgan"],
    "model.unroll_steps=3": ["model.unroll_steps", "model=unrolled has it"],
    "model/head=d2d_ce model.head.dmi=3": ["model.head.dmi", "did you mean model.head.dim?"],
    "model=unrolled model.unroll_lr=fast": ["model.unroll_lr=fast", "above 0, or null"],
    "~callbacks.walks": ["callbacks.walks must be there"],
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


@pytest.mark.parametrize(
    ("overrides", "penalties", "kimg"),
    [
        ("model=stylegan2", {"r1": (1.0, 16), "path_length": (2.0, 4)}, None),
        ("model=stylegan2 penalty=[lecam]", {"lecam": (0.3, 1)}, None),
        ("model=stylegan2 penalty=[lecam,r1] penalty.r1.every=8", {"lecam": (0.3, 1), "r1": (1.0, 8)}, None),
        ("model=stylegan2_ada", {"r1": (1.0, 16)}, 100.0),
        ("model=stylegan2_ada augment=apa penalty=none", {}, 100.0),
        ("model=stylegan2_ada augment=none", {"r1": (1.0, 16)}, None),
        ("experiment=stylegan2_ada_cifar10 model/trunk=dcgan", {"r1": (0.01, 16)}, 500),
        ("experiment=r3gan_cifar10 augment=none penalty=[r2]", {"r2": (0.05, 1)}, None),
        ("augment=ada", {}, 500.0),
    ],
)
def test_what_a_file_sets_goes_with_the_option_that_it_is_for(
    overrides: str, penalties: dict, kimg: float | None, composer: Composer
) -> None:
    config = checked(composer, overrides.split())
    assert {name: (node["weight"], node["every"]) for name, node in config["penalty"].items()} == penalties
    assert config["augment"].get("kimg") == kimg
    assert config["choices"]["penalty"] == [*penalties]
    assert "group" not in config["model"]["trunk"] or config["model"]["trunk"]["_target_"].endswith("stylegan2.Trunk")


@pytest.mark.parametrize("part", ["generator", "trunk", "head"])
def test_bases_are_no_options(part: str, composer: Composer) -> None:
    with pytest.raises(InputError, match=f"no such model/{part}"):
        checked(composer, [f"model/{part}=base"])
    options = {path.stem for path in (CONF / "model" / part).glob("*.yaml")}
    assert not options & {path.stem for path in (CONF / "model" / "base").glob("*.yaml")}


def test_what_a_file_sets_and_no_option_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for name, text in {"top": "iteratons: 5", "deep": "model:\n  trunk:\n    activatoin: relu"}.items():
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    with Composer(CONF, "train", [str(tmp_path)]) as own:
        for name, words in {
            "top": "iteratons; did you mean iterations",
            "deep": "activatoin; did you mean .*activation",
        }.items():
            with pytest.raises(InputError, match=words):
                checked(own, [f"experiment={name}"])


def test_the_range_of_an_option_of_ones_own_yaml_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a=b, c" / "model"  # what Hydra's grammar would read
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults:\n  - dcgan\n  - _self_\nwidth: 8 # at least 8\n")
    resolvers.register()
    with Composer(CONF, "train", [str(folder.parent)]) as own:
        assert checked(own, ["model=mine"])["model"]["width"] == 8
        with pytest.raises(InputError, match="model.width=7: must be at least 8"):
            checked(own, ["model=mine", "model.width=7"])
