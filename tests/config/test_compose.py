"""What is typed is taken as it is typed, or refused for what it is, before anything is composed of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.override_parser.types import Quote

from saddle.config import resolvers
from saddle.config.check import checked, warnings_of
from saddle.config.compose import Composer, quoted, value_of
from saddle.errors import InputError

CONF = Path(__file__).parent.parent.parent / "conf"


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    resolvers.register()
    with Composer(CONF, "train") as composer:
        yield composer


@pytest.mark.parametrize("path", ["2024_01_02", "1e3", "007", "true", "1_000", "'a b'"])
def test_a_path_is_taken_as_it_is_typed(path: str, composer: Composer) -> None:
    typed = path.strip("'")
    for key in ("resume", "hydra.run.dir", "hydra.sweep.dir"):
        assert value_of([f"{key}=other", f"{key}={path}"], key) == typed
    config = composer.compose([f"resume={path}", f"hydra.run.dir={path}", f"data.path={path}"])
    assert (config.resume, config.hydra.run.dir, config.data.path) == (typed, typed, typed)


def test_a_path_in_a_sweep_too(composer: Composer) -> None:
    assert composer.read(["data.path=2024_01_02,b", "seed=1_0,2"], sweep=True) == [
        "data.path='2024_01_02','b'",
        "seed=1_0,2",
    ]


def test_a_text_is_taken_as_it_is_typed_and_a_number_is_not_a_text(composer: Composer) -> None:
    assert checked(composer, ["logger.wandb.entity=1e3"])["logger"]["wandb"]["entity"] == "1e3"
    with pytest.raises(InputError, match="paper=3: must be a text"):
        checked(composer, ["model.paper=3"])


def test_nothing_is_chosen_where_nothing_is_chosen(composer: Composer) -> None:
    assert checked(composer, ["experiment=null", "study=null"])["choices"]["experiment"] is None


def test_parts_and_arguments_of_ones_own_are_taken(composer: Composer) -> None:
    words = [
        "+callbacks.mine._target_=a.B",
        "+callbacks.mine.c=3",
        "+logger.wandb.notes=first",
        "+metrics.x={_target_: a.C}",
    ]
    config = checked(composer, words)
    assert config["callbacks"]["mine"] == {"_target_": "a.B", "c": 3}
    assert config["logger"]["wandb"]["notes"] == "first" and config["metrics"]["x"] == {"_target_": "a.C"}
    config = checked(composer, ["+model.schedules={g_lr:{end:0,kimg:1}}", "callbacks=[default,spectra]"])
    assert config["model"]["schedules"]["g_lr"] == {"end": 0, "kimg": 1} and "spectra" in config["choices"]["callbacks"]


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        ("loss=wasserstein", True),
        ("loss=wasserstein model.d_norm=layer penalty=[lecam]", True),
        ("loss=wasserstein model.d_norm=spectral", False),
        ("loss=wasserstein penalty=[weight_clip]", False),
        ("model=wgan_gp", False),
        ("model=began", False),
        ("model=progan", False),
        ("", False),
    ],
)
def test_a_critic_that_nothing_holds_is_warned_of(words: str, warned: bool, composer: Composer) -> None:
    said = [*warnings_of(checked(composer, words.split()))]
    assert len(said) == warned and all("loss=wasserstein" in line and "\n" not in line for line in said)


# ------------------------------------------------------------------- a composer of their own: Hydra knows one at a time


def test_what_a_file_sets_of_hydra_and_nothing_reads_is_refused(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text("# @package _global_\nhydra: {job: {env_set: {A: 1}}}\n")
    with Composer(CONF, "train", [str(tmp_path)]) as own, pytest.raises(InputError, match=r"nothing reads hydra\.job"):
        checked(own, ["experiment=own"])


def test_comments_of_ones_own_files_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "own.yaml").write_text(
        "_target_: a.B\nmargin: 1.0 # above 0\nrate: 0.1 # one of those we tried\n"
    )
    with Composer(CONF, "train", [str(tmp_path)]) as own:
        assert checked(own, ["loss=own", "loss.rate=0.2"])["loss"]["rate"] == 0.2
        with pytest.raises(InputError, match="loss.margin=-1: must be above 0"):
            checked(own, ["loss=own", "loss.margin=-1"])


@pytest.mark.parametrize("path", ['a"b', "a'b", 'a\\"b', "a b\\", '"', "a=b, [c]"])
def test_a_folder_between_lightnings_double_quotes_is_read_as_it_is(path: str) -> None:
    assert value_of([f'hydra.run.dir="{quoted(path, Quote.double)[1:-1]}"'], "hydra.run.dir") == path
    assert value_of([f"hydra.run.dir={quoted(path)}"], "hydra.run.dir") == path


def test_what_lightning_says_to_its_processes_is_let_through(composer: Composer) -> None:
    said = ["hydra.job.name=train_ddp_process_1", "hydra.output_subdir=null"]
    assert composer.read([*said, "seed=3"]) == ["seed=3"]
    with pytest.raises(InputError, match="nothing reads this option of Hydra's"):
        composer.read(["hydra.job.name=x"])
