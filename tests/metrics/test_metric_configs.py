"""Every file of conf/metrics: what it builds, the options of its extractors, and those of conf/evaluate.yaml."""

from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from tiny import CONF
from torchmetrics import SumMetric

from saddle.config import resolvers
from saddle.config.check import checked
from saddle.config.compose import Composer
from saddle.errors import InputError
from saddle.run.build import build_metrics

NAMES = sorted(path.stem for path in (CONF / "metrics").glob("*.yaml") if path.stem != "none")
DATA = {"modes": "ring", "stacked_modes": "stacked_digits"}
PACKAGED = ("fid_dinov2", "fid_clip")


def configuration(name: str) -> DictConfig:
    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"data={DATA.get(name, 'digits')}", f"metrics=[{name}]"])


@pytest.mark.parametrize("name", NAMES)
def test_every_file_builds_its_metric(name: str) -> None:
    cfg = configuration(name)
    assert [*cfg.metrics] == [name]
    if name in PACKAGED:
        pytest.importorskip("transformers")
    nodes = OmegaConf.to_container(cfg.metrics, resolve=True)
    assert [*build_metrics(nodes)] == [name]


class Unreachable(SumMetric):
    """A stock metric whose weights cannot be downloaded."""

    def __init__(self) -> None:
        raise URLError("Name or service not known")


class Faulty(SumMetric):
    """A metric with a fault."""

    def __init__(self) -> None:
        raise ZeroDivisionError("a fault")


def test_a_metric_without_its_weights_is_refused_in_one_line_that_names_it() -> None:
    node = {"_target_": f"{__name__}.Unreachable"}
    with pytest.raises(InputError, match=r"metrics=mine: .*Unreachable .*not known.*network.*leave mine out") as caught:
        build_metrics({"mine": node})
    assert "\n" not in str(caught.value)
    with pytest.raises(InstantiationException, match="a fault"):  # not the user's: a traceback
        build_metrics({"mine": {"_target_": f"{__name__}.Faulty"}})


@pytest.mark.parametrize("name", NAMES)
def test_extractors_have_the_same_options_everywhere(name: str) -> None:
    extractor = configuration(name).metrics[name].get("extractor")
    if extractor is not None:
        assert extractor.bf16 is False
        assert ("resizer" in extractor) == extractor._target_.endswith("InceptionExtractor")


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory holds a run folder x."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    resolvers.register()
    with Composer(Path(CONF), "evaluate") as composer:
        yield composer


@pytest.mark.parametrize(
    "words",
    [
        "truncation=[0.3,1.0]",
        "seeds=[0,1,2]",
        "neighbours=4",
        "metrics=fid metrics.fid.extractor.resizer=clean",
        "metrics=[ppl,cas] n=50",
    ],
)
def test_options_of_the_command(words: str, composer: Composer) -> None:
    checked(composer, ["run=x", *words.split()])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("seeds=[0,0]", "seeds=.*: give different whole numbers"),
        ("seeds=[0,-1]", "seeds=.*: give different whole numbers"),
        ("seeds=[0,1.5]", "seeds=.*: must be a list of whole numbers"),
        ("seeds=[0,true]", "seeds=.*: must be a list of whole numbers"),
        ("seeds=[]", "seeds=.*: must be a list of whole numbers"),
        ("seeds=[4]", "at least two; for one give seed=4"),
        ("real=x fake=x", "either run=DIR"),
        ("n=1", "n=1: must be at least 2"),
        ("neighbours=-1", "neighbours=-1: must be at least 0"),
        ("metrics=fid metrics.fid.extractor.resizer=best", "resizer=best: must be one of legacy, clean"),
        ("metrics=ppl metrics.ppl.space=x", "space=x: must be one of auto, z, w"),
        ("metrics=ppl metrics.ppl.epsilon=0.0", "epsilon=0.0: must be above 0"),
        ("neighbors=3", "there is no option neighbors"),
        ("truncation=[]", "truncation=.*: must be .*above 0, or a list of them"),
        ("truncation=[0.5,0]", "truncation=.*: must be .*above 0, or a list of them"),
        ("truncation=x", "truncation=.*: must be .*above 0, or a list of them"),
        ("truncation=[0.5,nan]", "truncation=.*: must be .*above 0, or a list of them"),
    ],
)
def test_wrong_options_of_the_command(words: str, says: str, composer: Composer) -> None:
    with pytest.raises(InputError, match=says):
        checked(composer, ["run=x", *words.split()])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "either run=DIR, or both real=PATH and fake=PATH"),
        ("real=x", "either run=DIR, or both real=PATH and fake=PATH"),
        ("real=x fake=x seeds=[0,1]", "seeds=.*score run=DIR"),
        ("real=x fake=x truncation=0.5", "truncation=.*score run=DIR"),
        ("real=x fake=x neighbours=3", r"neighbours=3.*give out=FILE\.json"),
        ("run=nowhere", "run=nowhere: there is no such file or folder"),
        ("run=x/config.yaml", "run=x/config.yaml: is a file, not a folder"),
        ("run=.", "run=.: is not a run folder"),
        ("real=x fake=nowhere.npz", "fake=nowhere.npz: there is no such file or folder"),
        ("run=", "run=: an empty path"),
        ("run=x out=", "out=: an empty path"),
    ],
)
def test_what_is_scored_must_be_said_and_there(words: str, says: str, composer: Composer) -> None:
    with pytest.raises(InputError, match=says):
        checked(composer, words.split())
