"""Wrong configs are refused in one line that names the input; right ones pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from toy_run import write_project

from saddle.config import resolvers
from saddle.config.check import check_types, checked, length, plain, processes, scores
from saddle.config.compose import Composer
from saddle.errors import InputError


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's configs; composing remembers them, so the tests of this file share them."""
    return write_project(tmp_path_factory.mktemp("project")).parent.parent


@pytest.fixture(scope="module")
def composer(project: Path) -> Iterator[Composer]:
    """Composes the toy's configs."""
    resolvers.register()
    with Composer(project / "conf", "train") as composer:
        yield composer


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("model=bigan", ["model=bigan", "did you mean biggan?", "dcgan"]),
        ("loss=hing", ["loss=hing", "did you mean hinge?"]),
        ("penalty=[r1,lecan]", ["penalty=lecan", "did you mean lecam?"]),
        ("data.batchsize=64", ["data.batchsize", "did you mean data.batch_size?"]),
        ("batch_size=64", ["batch_size", "did you mean data.batch_size?"]),
        ("modle=dcgan", ["modle", "did you mean model?"]),
        ("xyzzy=3", ["no option xyzzy"]),
        ("+xyzzy=3", ["no option xyzzy"]),
        ("+model.extra=3", ["no option model.extra"]),
        ("iterations=abc", ["iterations=abc", "whole number of at least 0, or null"]),
        ("iterations=1.5", ["iterations=1.5", "whole number"]),
        ("iterations=true", ["iterations=true", "whole number"]),
        ("minutes=0", ["minutes=0", "above 0"]),
        ("precision=31", ["precision=31", "bf16-mixed"]),
        ("compile=1", ["compile=1", "true or false"]),
        ("checkpoint.every=0", ["checkpoint.every=0", "at least 1"]),
        ("~seed", ["seed must be there"]),
        ("model.g_lr=fast", ["model.g_lr=fast", "a number", "0.0002"]),
        ("model.width=1.5", ["model.width=1.5", "whole number", "64"]),
        ("model.width=null", ["model.width=null", "whole number"]),
        ("model.d_norm=3", ["model.d_norm=3", "a text"]),
        ("model.betas=0.5", ["model.betas=0.5", "a list"]),
        ("model.betas=[0.0,x]", ["model.betas[1]=x", "a number"]),
        ("data.flip=1", ["data.flip=1", "true or false"]),
        ("model=biggan data=plain", ["model=biggan", "data=plain", "labels"]),
        ("data.resolution=33", ["data.resolution=33", "model/generator=dcgan", "16, 32"]),
        ("trainer=ddp_cpu data.batch_size=63", ["data.batch_size=63", "2 processes", "multiple of 2"]),
        ("trainer.accumulate=3", ["data.batch_size=64", "trainer.accumulate=3", "multiple of 3"]),
        ("data.batch_size=0", ["data.batch_size=0"]),
        ("penalty=[r1]", ["r1", "model.d_norm=none"]),
        ("checkpoint.monitor=eval/frechet", ["checkpoint.monitor=eval/frechet", "metrics="]),
        ("metrics=frechet checkpoint.monitor=eval/frechett", ["did you mean eval/frechet?"]),
        ("model=dcgan,biggan", ["model=dcgan,biggan", "-m"]),
        ("data.path=a=b", ["data.path=a=b", "quote"]),
        ("data.path=${nowhere}", ["data.path", "nowhere"]),
    ],
)
def test_wrong_input_is_refused_in_one_line(composer: Composer, overrides: str, said: list[str]) -> None:
    with pytest.raises(InputError) as refusal:
        checked(composer, overrides.split())
    message = str(refusal.value)
    assert "\n" not in message
    for words in said:
        assert words in message


@pytest.mark.parametrize(
    "overrides",
    [
        "",
        "precision=32",
        "precision=bf16-mixed",
        "minutes=1",
        "minutes=0.5 iterations=0",
        "model.g_lr=1",
        "model.g_lr=1e-3",
        "model.ema=0.99",
        "model.ema=none",
        "data.path=/somewhere",
        "model=biggan",
        "data=plain",
        "model=biggan data.resolution=33",
        "penalty=[r1,lecam] model.d_norm=none",
        "penalty=[lecam]",
        "trainer=ddp_cpu data.batch_size=62",
        "metrics=frechet checkpoint.monitor=eval/frechet",
        "metrics=[frechet,scores] checkpoint.monitor=eval/classes",
    ],
)
def test_right_input_passes(composer: Composer, overrides: str) -> None:
    checked(composer, overrides.split())


def test_a_broken_yaml_is_named(composer: Composer, project: Path) -> None:
    (project / "conf" / "loss" / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(InputError, match=r"broken\.yaml, line \d"):
        checked(composer, ["loss=broken"])


def test_a_model_chooses_its_loss_and_the_command_line_wins(composer: Composer) -> None:
    assert checked(composer, [])["loss"]["_target_"] == "saddle.toy.Wasserstein"
    assert checked(composer, ["loss=hinge"])["loss"]["_target_"] == "saddle.toy.Hinge"


def test_the_config_is_resolved_and_names_its_choices(composer: Composer) -> None:
    config = checked(composer, ["model.width=96", "penalty=[lecam]"])
    assert config["model"]["generator"]["width"] == 96
    assert config["choices"]["model"] == "dcgan"
    assert config["choices"]["penalty"] == ["lecam"]
    assert "hydra" not in config


@pytest.mark.parametrize(
    ("iterations", "minutes", "expected"),
    [(None, None, (None, 5.0)), (10, None, (10, None)), (None, 2, (None, 2)), (10, 2, (10, 2)), (0, None, (0, None))],
)
def test_a_run_without_a_length_takes_five_minutes(iterations: Any, minutes: Any, expected: Any) -> None:
    assert length({"iterations": iterations, "minutes": minutes}) == expected


@pytest.mark.parametrize(("devices", "count"), [(2, 4), ([0, 1, 3], 6), ("auto", None), (-1, None)])
def test_processes(devices: Any, count: int | None) -> None:
    assert processes({"trainer": {"devices": devices, "num_nodes": 2}}) == count


def test_scores_are_listed_or_the_name_of_the_metric() -> None:
    metrics = {"frechet": {}, "both": {"facts": {"scores": ["a", "b"]}}}
    assert scores({"metrics": metrics}) == ["eval/frechet", "eval/a", "eval/b"]


@pytest.mark.parametrize("default", [None, "auto"])
def test_an_open_default_takes_anything(default: Any) -> None:
    for value in (1, 1.5, "x", [1], None, True):
        check_types(value, default, "key")


def test_what_a_resolver_refuses_is_said_in_its_own_words() -> None:
    def refuse() -> None:
        raise InputError("pictures cannot be listed")

    OmegaConf.register_new_resolver("refuse", refuse, replace=True)
    try:
        with pytest.raises(InputError, match=r"^pictures cannot be listed$"):
            plain(OmegaConf.create({"data": {"classes": "${refuse:}"}}))
    finally:
        OmegaConf.clear_resolver("refuse")
