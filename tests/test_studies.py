"""Every shipped study: it says what it asks, answers and costs, and every cell of it is a config that can run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from saddle.config import resolvers
from saddle.config.check import checked, scores
from saddle.config.compose import Composer
from saddle.errors import InputError
from saddle.sweep.search.options import Options, make, validate
from saddle.sweep.search.space import Space

ROOT = Path(__file__).parent.parent
STUDIES = sorted(path.stem for path in (ROOT / "conf" / "study").glob("*.yaml"))
SEARCHES = ("nsga2_dcgan", "tpe_dcgan")


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    """A composer of the shipped configs."""
    resolvers.register()
    with Composer(ROOT / "conf", "train") as one:
        yield one


def sweeper(composer: Composer, name: str) -> dict[str, Any]:
    """The sweeper's options in a study."""
    return OmegaConf.to_container(composer.compose([f"study={name}"]).hydra.sweeper, resolve=True)


def space(composer: Composer, name: str) -> Space:
    """What a study varies."""
    params = sweeper(composer, name)["params"]
    return Space.read([f"study={name}", "logger=none", *(f"{key}={value}" for key, value in params.items())])


def check(composer: Composer, cell: list[str]) -> dict[str, Any]:
    """The config of a job, as the launcher checks it."""
    return checked(composer, [*cell, "hydra.mode=RUN"])


def test_the_studies_that_ship() -> None:
    assert {"lr_beta", "loss_by_penalty", "d_steps", "batch_size", "width", "ttur", "gulrajani", *SEARCHES} <= {
        *STUDIES
    }


@pytest.mark.parametrize("name", STUDIES)
def test_the_header_tells_the_question_the_paper_and_the_right_cost(name: str, composer: Composer) -> None:
    text = (ROOT / "conf" / "study" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n# Question: ")
    assert re.search(r"^# Answers: .*(\n#   .*)*arXiv:\d{4}\.\d{5}", text, re.M)
    cost = re.search(r"^# Cost: (\d+) cells x (\d+) seeds x (\d+) s = (\d+) minutes of training", text, re.M)
    assert cost
    cells, seeds, seconds, minutes = map(int, cost.groups())
    varied, options = space(composer, name), sweeper(composer, name)
    assert seeds == len(varied.seeds)
    assert cells == options.get("trials", math.prod(len(axis.values) for axis in varied.axes))
    assert cells * seeds * seconds == 60 * minutes
    config = check(composer, [*varied.fixed])
    assert config["minutes"] == seconds / 60 and config["iterations"] is None
    assert composer.compose([f"study={name}"]).hydra.mode.name == "MULTIRUN"


@pytest.mark.parametrize("name", STUDIES)
def test_the_first_and_the_last_cell_of_a_study_make_configs(name: str, composer: Composer) -> None:
    varied = space(composer, name)
    for end in (0, -1):
        cell = varied.jobs({axis.key: axis.corners[end] for axis in varied.axes})[end]
        config = check(composer, [*varied.fixed, *cell])
        assert config["seed"] == int(varied.seeds[end]) and "eval/frechet" in scores(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_each_value_of_a_study_makes_a_config(name: str, composer: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saddle.sweep.search.space.AT_MOST_CHECKED", 0)  # each value once
    varied = space(composer, name)
    for cell in varied.corners():
        config = check(composer, [*varied.fixed, *varied.jobs(cell)[0]])
        assert config["seed"] == 0 and "eval/frechet" in scores(config)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_options_of_a_search(name: str, composer: Composer) -> None:
    options, varied = Options.read(sweeper(composer, name)), space(composer, name)
    assert len(options.objectives) == (2 if name.startswith("nsga2") else 1)
    assert bool(options.pruner) == (len(options.objectives) == 1)
    assert all(objective.failed for objective in options.objectives)
    pytest.importorskip("optuna")
    assert all(axis.distribution() for axis in varied.axes)
    sampler = make(options.sampler, "sampler", seed=3)
    assert type(sampler).__name__ == {"nsga2_dcgan": "NSGAIISampler", "tpe_dcgan": "TPESampler"}[name]


@pytest.mark.parametrize("other", ["random", "nsga2", "wandb"])
def test_a_search_by_another_sweeper(other: str, composer: Composer) -> None:
    config = composer.compose(["study=tpe_dcgan", f"hydra/sweeper={other}"])
    options = Options.read(OmegaConf.to_container(config.hydra.sweeper, resolve=True))  # type: ignore[arg-type]
    assert options.pruner and options.pruner["n_warmup_steps"] == 400
    pytest.importorskip("optuna")
    assert type(make(options.pruner, "pruner")).__name__ == "MedianPruner"


def test_one_rate_for_both_players_in_lr_beta(composer: Composer) -> None:
    model = check(composer, ["study=lr_beta", "model.g_lr=0.008"])["model"]
    assert model["d_lr"] == model["g_lr"] == 0.008


def test_a_wrong_cell_of_a_study_is_refused(composer: Composer) -> None:
    varied = Space.read(["study=width", "model.width=8,-3"])
    with pytest.raises(InputError, match=r"cell \(model.width=-3\): model.width=-3: must be at least 1"):
        pytest.importorskip("optuna")
        validate(varied, Options.read(sweeper(composer, "tpe_dcgan")), lambda cell: check(composer, [*cell]))


# ------------------------------------------------------------------------------------------ WGAN-GP's robustness table


def cell(composer: Composer, model: str, architecture: str) -> dict[str, Any]:
    """The model options of one cell."""
    words = ["study=gulrajani", f"model={model}", f"experiment=gulrajani/{architecture}"]
    return check(composer, words)["model"]


@pytest.mark.slow
def test_every_cell_of_the_table_makes_a_config(composer: Composer) -> None:
    varied = space(composer, "gulrajani")
    cells = [*varied.corners()]
    assert len(cells) == 28
    for each in cells:
        check(composer, [*varied.fixed, *varied.jobs(each)[0]])


def test_the_norm_of_d_is_layer_norm_where_each_samples_gradient_is_penalised(composer: Composer) -> None:
    assert [cell(composer, model, "baseline")["d_norm"] for model in ("wgan_gp", "lsgan")] == ["layer", "batch"]
    assert [cell(composer, model, "no_norm")["d_norm"] for model in ("wgan_gp", "wgan")] == ["none", "none"]
    assert cell(composer, "wgan_gp", "mlp")["trunk"]["norm"] == "layer"


def test_what_the_architectures_change(composer: Composer) -> None:
    models = {
        path.stem: cell(composer, "wgan_gp", path.stem) for path in (ROOT / "conf/experiment/gulrajani").glob("*.yaml")
    }
    assert len(models) == 7
    generators = {name: model["generator"] for name, model in models.items()}
    trunks = {name: model["trunk"] for name, model in models.items()}
    plain = generators["baseline"]
    assert plain["batch_norm"] and not plain["constant"] and plain["activation"] == "relu"
    assert not generators["constant"]["batch_norm"] and generators["constant"]["constant"]
    assert (generators["mlp"]["layers"], generators["mlp"]["width"], generators["mlp"]["activation"]) == (
        4,
        512,
        "relu",
    )
    assert not generators["no_norm"]["batch_norm"] and trunks["no_norm"]["norm"] == "none"
    for name in ("gated", "tanh"):
        assert generators[name]["activation"] == trunks[name]["activation"] == name
    assert generators["resnet101"]["layers"] == trunks["resnet101"]["layers"] == 101
    assert all(trunks[name] == trunks["baseline"] for name in ("constant", "mlp"))


@pytest.mark.parametrize(
    "architecture", sorted(path.stem for path in (ROOT / "conf/experiment/gulrajani").glob("*.yaml"))
)
def test_the_networks_of_the_table_can_be_built(composer: Composer, architecture: str) -> None:
    import torch

    from saddle.config.instantiate import instantiate

    model = cell(composer, "wgan_gp", architecture)
    with torch.device("meta"):
        generator, trunk = (instantiate(model[part], torch.nn.Module) for part in ("generator", "trunk"))
        images = generator(torch.randn(2, 100), torch.zeros(2, dtype=torch.long))
        assert images.shape == (2, 1, 32, 32) and trunk(images).shape == (2, trunk.features)


def test_studies_are_described(composer: Composer) -> None:
    text = (ROOT / "docs" / "studies.md").read_text()
    assert [name for name in STUDIES if f"`{name}`" not in text] == []
    options = yaml.safe_load((ROOT / "conf/hydra/sweeper/search.yaml").read_text())
    assert [key for key in options if not key.startswith("_") and f"`{key}`" not in text] == []
