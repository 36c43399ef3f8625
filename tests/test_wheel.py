"""The package as pip installs it: what its wheel holds, and the command `saddle` where there is no clone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from saddle.__main__ import SCRIPTS, main
from saddle.config.compose import CONF

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
QUICK = ["data=digits", "data.limit=200", "model.width=8", "iterations=2", "metrics=none", "logger=none", "trainer=cpu"]
OWN = "defaults:\n  - dcgan\n  - _self_\nwidth: 8 # at least 8\n"  # a model
FOREIGN = """
import sys
import hydra

@hydra.main(version_base="1.3", config_path=None)
def app(cfg):
    print(sorted(name for name in sys.modules if "saddle" in name))

app()
"""
Saddle = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def wheel(worker_once) -> Path:
    """The wheel of this clone, built from a copy, without a network."""

    def make(folder: Path) -> None:
        for name in ("src", "conf"):
            left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / "clone" / name, symlinks=True, ignore=left_out)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder / "clone")
        done = subprocess.run(
            [sys.executable, "-c", BUILD, ".."], cwd=folder / "clone", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    (path,) = worker_once("wheel", make).glob("*.whl")
    return path


def test_the_wheel_holds_every_config_and_script_and_one_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert "saddle = saddle.__main__:main" in archive.read(points).decode()
    configs = {f"saddle/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    scripts = {f"saddle/scripts/{path.name}" for path in (ROOT / "src").glob("*.py")}
    assert len(configs) > 200 and configs | scripts <= names
    # nothing beside the package: no hydra_plugins, which every Hydra application of an environment loads
    assert {name.split("/")[0].split("-")[0] for name in names} == {"saddle", "saddle_gan"}


def test_in_a_clone_the_package_has_links_to_the_one_copy() -> None:
    assert CONF.resolve() == ROOT / "conf"
    assert {path.resolve() for path in SCRIPTS.glob("*.py")} == set((ROOT / "src").glob("*.py"))


@pytest.mark.parametrize("word", ["trian", "model=biggan"])
def test_a_wrong_command_is_answered_by_the_right_ones(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["saddle", word])
    with pytest.raises(SystemExit, match=f"^error: there is no command {word}; there are: dashboard, .*, train$"):
        main()


@pytest.fixture(scope="session")
def environment(wheel: Path, worker_once) -> Path:
    """The programs of an environment with the wheel, the packages that it needs, and nothing of a clone."""

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=False)
        variables = {"base": str(folder), "platbase": str(folder)}
        others = Path(sysconfig.get_path("purelib", vars=variables)) / "others.pth"
        others.write_text(sysconfig.get_path("purelib"))  # whose own .pth, that of a clone, is not read then
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
        alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # no clone to be found
        subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], env=alone, check=True)

    return worker_once("environment", make) / "bin"


@pytest.fixture
def saddle(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Saddle:
    """Runs the command in an empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(*words: str, program: tuple[str, ...] = ("saddle",)) -> subprocess.CompletedProcess[str]:
        first, *others = program
        return subprocess.run(
            [str(environment / first), *others, *words], capture_output=True, text=True, timeout=300, check=False
        )

    return run


def results(folder: str) -> dict[str, object]:
    return json.loads(Path(folder, "results.json").read_text())


@pytest.mark.slow
def test_wrong_words_end_in_one_line_and_status_1(saddle: Saddle) -> None:
    for words, message in (
        (["trian"], "there is no command trian"),
        (["train", "model=bigan"], "did you mean biggan?"),
        (["train", "--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
        (["sample"], "run must be given: run="),
    ):
        done = saddle(*words)
        assert done.returncode == 1 and message in done.stderr, done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and not done.stdout
    assert not os.listdir()
    for program in (("saddle",), ("python", "-m", "saddle")):
        done = saddle("--help", program=program)
        assert done.returncode == 0 and "train      Train a GAN\n" in done.stdout
    assert "width: 96" in saddle("train", "--cfg", "job", "model.width=96").stdout


@pytest.mark.slow
def test_a_run_of_two_processes_its_samples_and_its_scores(saddle: Saddle, environment: Path) -> None:
    done = saddle("train", *QUICK, "trainer=ddp_cpu", "hydra.run.dir=r")
    assert done.returncode == 0, done.stderr
    assert results("r")["status"] == "done"
    done = saddle("sample", "run=r", "n=4", "out=samples.npz")
    assert done.returncode == 0 and Path("samples.npz").exists(), done.stderr
    done = saddle("evaluate", "run=r", "metrics=frechet", "n=20", program=("python", "-m", "saddle"))
    assert done.returncode == 0 and "frechet" in Path("r/evaluation.json").read_text(), done.stderr


@pytest.mark.slow
def test_a_sweep_with_a_model_of_ones_own_and_its_report(saddle: Saddle) -> None:
    Path("my own/model").mkdir(parents=True)
    Path("my own/model/mine.yaml").write_text(OWN)
    scored = [word for word in QUICK if not word.startswith(("model.", "metrics"))] + ["evaluation.samples=20"]
    mine = ["train", "--config-dir", "my own", "-m", *scored, "model=mine"]
    done = saddle(*mine, "loss=hinge,nonsaturating", "hydra.sweep.dir=s")
    assert done.returncode == 0, done.stdout + done.stderr
    folders = ["s/0_loss-hinge", "s/1_loss-nonsaturating"]
    assert [results(folder)["status"] for folder in folders] == ["done", "done"]
    assert yaml.safe_load(Path("s/0_loss-hinge/config.yaml").read_text())["model"]["width"] == 8
    done = saddle("report", "sweep=s")
    assert done.returncode == 0 and Path("s/report/report.html").exists(), done.stderr
    done = saddle(*mine, "model.width=7,8")
    assert done.returncode == 1 and "model.width=7: must be at least 8" in done.stderr


@pytest.mark.slow
def test_another_hydra_application_of_the_environment_sees_nothing(saddle: Saddle) -> None:
    Path("app.py").write_text(FOREIGN)
    done = saddle(program=("python", "app.py"))
    assert done.returncode == 0 and done.stdout == "[]\n", done.stderr
    done = saddle("--info", "plugins", program=("python", "app.py"))
    assert "BasicSweeper" in done.stdout and "addle" not in done.stdout and "Processes" not in done.stdout
    done = saddle("hydra/launcher=nope", program=("python", "app.py"))
    assert "\tbasic\n" in done.stderr and "processes" not in done.stderr
