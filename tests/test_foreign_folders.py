"""What somebody else made cannot run code: run folders and sweep folders, tried with a marker that code would leave.

A config's `_target_`s are replaced one by one, of every group that the yamls under conf/ have: by what is of another
package (refused by its name, before anything is imported) and by what is of this one but of another kind (refused
before it is called).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tiny import TRAIN_OVERRIDES, compose_config

from saddle.config import resolvers
from saddle.config.check import checked
from saddle.config.compose import Composer
from saddle.config.instantiate import foreign, instantiate, nodes_of, refuse_foreign
from saddle.errors import InputError
from saddle.losses import Loss, NonSaturating
from saddle.metrics.evaluate import evaluate
from saddle.run import build
from saddle.run.checkpoint import AtomicCheckpointIO
from saddle.run.folder import RunFolder, write_atomic
from saddle.run.resume import resumed
from saddle.sampling import sample_run
from saddle.sweep import resume as sweeps
from saddle.sweep.jobs import Job, Sweep

CONF = Path(__file__).resolve().parent.parent / "conf"
COMPOSERS = {name: Composer(CONF, name) for name in ("train", "evaluate", "sample")}  # each keeps what it composed
ENTRIES = ("penalty", "metrics", "callbacks", "logger")  # groups whose nodes have names
FOREIGN = (
    "builtins.open",
    "torch.load",
    "saddle_evil.Loss",
    "saddle",
    "saddle.losses.Hinge()",
    None,
    ["saddle.losses"],
)
OTHER_KINDS = (
    "saddle.run.folder.write_atomic",  # a function
    "saddle.run.folder.os.system",
    "saddle.run.folder.RunFolder.begin",
    "saddle.run.folder.Path",  # a class of another package
    "saddle.sweep.places.Tree",  # a class that starts a process
)


# ----------------------------------------------------------------------------- every group, and what is nested in it


def kind_of(key: str) -> str:
    """The place of a `_target_` in a config, without the names of entries: `metrics.*.extractor`."""
    parts = key.removesuffix("_target_").rstrip(".").split(".")
    return ".".join([parts[0], "*", *parts[2:]] if parts[0] in ENTRIES else parts)


def shipped() -> Iterator[tuple[str, dict[str, Any]]]:
    """The config of each yaml that describes objects, in its place."""
    for path in sorted(CONF.rglob("*.yaml")):
        group = path.relative_to(CONF).parts[:-1]
        config: Any = OmegaConf.to_container(OmegaConf.load(path))
        if not group or group[0] in ("hydra", "experiment", "study") or "_target_" not in path.read_text():
            continue
        if "# @package _global_" not in path.read_text():
            for name in reversed(group[:1] if group[0] in ENTRIES else [name for name in group if name != "base"]):
                config = {name: config}
        yield "/".join([*group, path.stem]), config


SHIPPED = dict(shipped())


def targets(config: Any) -> list[str]:
    return [key for key, _ in nodes_of(config) if key.endswith("_target_")]


def replaced(config: Any, key: str, value: Any) -> dict[str, Any]:
    """The config with another value under a dotted key."""
    changed = OmegaConf.create(config)
    OmegaConf.update(changed, key, value, merge=False, force_add=True)
    plain: Any = OmegaConf.to_container(changed)
    return plain


@pytest.mark.parametrize("name", SHIPPED)
def test_each_target_of_a_config_must_be_of_this_package(name: str) -> None:
    config = SHIPPED[name]
    assert targets(config) and list(foreign(config)) == []
    for key in targets(config):
        for value in FOREIGN[:3]:
            with pytest.raises(InputError, match="which a folder may not name") as error:
                refuse_foreign(replaced(config, key, value), [], "config.yaml")
            assert key in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("value", FOREIGN)
@pytest.mark.parametrize("shape", ["loss", "in a list", "nested", "a new group", "an argument"])
def test_wherever_a_target_is(value: Any, shape: str) -> None:
    node = {"_target_": value, "file": "x", "_partial_": True}
    config: dict[str, Any] = {
        "loss": {"loss": node},
        "in a list": {"penalty": {"a": {"_target_": "saddle.penalties.R1", "_args_": [1, [node]]}}},
        "nested": {"model": {"a": {"b": {"c": [{"d": node}]}}}},
        "a new group": {"anything": node},
        "an argument": {"metrics": {"x": {"_target_": "torchmetrics.image.fid.X", "feature": node}}},
    }[shape]
    if value == "saddle":  # no class, but of this package: for `locate` to refuse
        with pytest.raises(InputError):
            instantiate(node, object)
    else:
        with pytest.raises(InputError, match="which a folder may not name"):
            refuse_foreign(config, [], "config.yaml")


def test_libraries_are_of_their_groups_alone() -> None:
    allowed = {
        "metrics": "torchmetrics.image.fid.FrechetInceptionDistance",
        "callbacks": "lightning.pytorch.callbacks.EarlyStopping",
        "logger": "lightning.pytorch.loggers.CSVLogger",
    }
    for group in ("model", "loss", "penalty", "augment", "data", "trainer", *allowed):
        named = [name for name in allowed.values() if not list(foreign({group: {"a": {"_target_": name}}}))]
        assert named == [name for key, name in allowed.items() if key == group]


RICH = [
    ["model=began", "penalty=[r1]", "logger=wandb", "trainer=ddp_cpu", "augment=ada"],
    ["data=ring", "model=gan", "model/generator=mlp", "model/trunk=mlp", "metrics=[modes,frechet,ppl]"],
]
BUILDERS: dict[str, Callable[[DictConfig, Path], object]] = {
    "model": lambda cfg, folder: build.build_model(cfg),
    "loss": lambda cfg, folder: build.build_model(cfg),
    "penalty": lambda cfg, folder: build.build_model(cfg),
    "augment": lambda cfg, folder: build.build_model(cfg),
    "data": lambda cfg, folder: build.build_data(cfg),
    "metrics": lambda cfg, folder: build.build_metrics(cfg.metrics),
    "callbacks": lambda cfg, folder: build.build_callbacks(cfg, folder),
    "logger": lambda cfg, folder: build.build_loggers(cfg, folder),
    "trainer": lambda cfg, folder: build.build_trainer(cfg, folder, [], [], []),
}


@pytest.fixture(scope="module")
def rich() -> dict[str, tuple[dict[str, Any], str]]:
    """For each kind of place a config that has it, small, and the key."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for overrides in RICH:
        given = [text for text in overrides if not text.startswith("data=")]
        resolvers.register()
        with COMPOSERS["train"] as composer:
            data = ["data=ring"] if "data=ring" in overrides else ["data=noise", "data.resolution=8"]
            cfg = composer.compose([*data, "data.batch_size=4", "model.width=2", "precision=32", *given])
            config: Any = OmegaConf.to_container(
                OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]), resolve=True
            )
        for key in targets(config):
            found.setdefault(kind_of(key), (config, key))
    return found


def test_every_kind_of_place_is_tried(rich: dict[str, Any]) -> None:
    assert {kind_of(key) for config in SHIPPED.values() for key in targets(config)} <= set(rich)


@pytest.mark.parametrize("value", [OTHER_KINDS[0], OTHER_KINDS[-1]])
def test_what_is_of_this_package_must_be_of_the_kind(value: str, rich: dict[str, Any], tmp_path: Path) -> None:
    for config, key in rich.values():
        group, entry = key.split(".")[:2]
        if group in ENTRIES:  # the others would be built first
            config = {**config, group: {entry: config[group][entry]}}
        config = {**config, "metrics": config["metrics"] if group == "metrics" else {}}
        changed = OmegaConf.create(replaced(config, key, value))
        with pytest.raises(InputError) as error:
            BUILDERS[group](changed, tmp_path)
        assert value in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_no_check_is_left_to_hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra 1.3.2 refuses no target; it is not asked for any but ours."""
    monkeypatch.setattr(hydra.utils, "instantiate", lambda *a, **k: pytest.fail("it was called"))
    for value in ("os.system", "builtins.eval", *OTHER_KINDS):
        with pytest.raises(InputError):
            instantiate({"_target_": value, "command": "true"}, Loss)


# --------------------------------------------------------------------------------------------------------- run folders


def opens(marker: Path) -> dict[str, Any]:
    """A node that leaves a marker."""
    return {"_target_": "builtins.open", "file": str(marker), "mode": "w"}


class Evil:
    """Leaves a marker when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (str(self.marker), "w")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a checkpoint, of a model with penalties and an augmentation that have buffers."""
    folder = RunFolder(tmp_path_factory.mktemp("finished") / "run")
    options = ["model.width=2", "data.resolution=8", "data.batch_size=4", "precision=32", "metrics=none"]
    chosen = ["penalty=[lecam]", "augment=ada", "callbacks=default", "iterations=0"]
    cfg = compose_config(*options, *chosen)
    model = build.build_model(cfg)
    assert {name.partition(".")[0] for name in model.state_dict()} >= {"penalties", "augment"}
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    with COMPOSERS["train"] as composer:
        choices = checked(composer, [*TRAIN_OVERRIDES, *options, *chosen])["choices"]
    folder.begin(config | {"choices": choices})
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, folder.checkpoints / "last.ckpt")
    return folder.path


@pytest.fixture
def edited(finished: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that makes a copy of the run folder with other values in its config."""

    def edit(**values: Any) -> Path:
        config: Any = OmegaConf.to_container(OmegaConf.load(finished / "config.yaml"))
        for key, value in values.items():
            config = replaced(config, key.replace("__", "."), value)
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir()
        write_atomic(folder.config_file, OmegaConf.to_yaml(OmegaConf.create(config)))
        (folder.path / "checkpoints").mkdir()
        (folder.path / "checkpoints/last.ckpt").write_bytes((finished / "checkpoints/last.ckpt").read_bytes())
        return folder.path

    return edit


def command_config(name: str, *overrides: str) -> DictConfig:
    """The config of a command that makes no run."""
    with COMPOSERS[name] as composer:
        cfg = composer.compose(overrides)
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])


def by_evaluate(run: Path, *more: str) -> object:
    return evaluate(command_config("evaluate", f"run={run}", "n=4", *more))


def by_sample(run: Path, *more: str) -> object:
    return sample_run(command_config("sample", f"run={run}", "n=2", f"out={run.parent}/samples.npz", *more))


def by_resume(run: Path, *more: str) -> object:
    with COMPOSERS["train"] as composer:
        return resumed(composer, [f"resume={run}", *more], RunFolder(run))


COMMANDS = (by_evaluate, by_sample, by_resume)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "group", ["model__generator", "loss", "penalty__lecam", "callbacks__new", "logger__new", "data"]
)
def test_a_run_folder_calls_nothing(group: str, command: Callable, edited: Callable[..., Path], tmp_path: Path) -> None:
    run = edited(**{group: opens(tmp_path / "marker")})
    with pytest.raises(InputError, match="builtins.open, which a folder may not name"):
        command(run)
    assert not (tmp_path / "marker").exists() and not (tmp_path / "samples.npz").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_in_a_run_folder_is_resolved(
    command: Callable, edited: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    config = edited() / "config.yaml"
    config.write_text(config.read_text().replace("cls: null", "") + "note: [a, '${oc.env:SECRET}']\n")
    with pytest.raises(InputError, match="note.1 is") as error:
        command(config.parent)
    assert "hunter2" not in str(error.value)


def test_a_run_folder_is_sampled_without_its_penalties_and_augmentation(edited: Callable[..., Path]) -> None:
    run = edited()
    by_sample(run)
    _, model = build.load_run(run)
    whole = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert set(whole) - set(model.state_dict()) == {k for k in whole if k.startswith(("penalties.", "augment."))}
    assert all(torch.equal(x, whole[name]) for name, x in model.state_dict().items())
    config: Any = by_resume(run)
    assert config["penalty"]["lecam"] and config["trust"] == []


def test_a_yaml_elsewhere_is_not_a_choice(edited: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text("accelerator: ${oc.env:HOME}\n")
    with pytest.raises(InputError, match="is no name of an option"):
        by_resume(edited(choices__trainer=f"../../../../../../..{tmp_path}/evil"), "trainer.devices=1")


def test_results_are_sent_and_written_where_the_user_says(edited: Callable[..., Path]) -> None:
    config = {"logger": {"mine": {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": "inside"}}}
    refuse_foreign(config, [], "config.yaml")
    for value in ("/etc", "~/x", "../other", "a/../../b", "https://evil.example", "file:/tmp/x"):
        config["logger"]["mine"]["save_dir"] = value
        with pytest.raises(InputError, match="logger.mine.save_dir"):
            refuse_foreign(config, [], "config.yaml")
        refuse_foreign(config, [value], "config.yaml")
    run = edited(**config)
    with pytest.raises(InputError, match="logger.mine.save_dir"):
        by_resume(run)
    by_resume(run, f"trust=['{value}']")
    resumed_config: Any = by_resume(run, "logger=none")
    assert resumed_config["logger"] == {}


@pytest.mark.parametrize("name", ["results.json", "metrics.csv", "checkpoints", "samples/x.png"])
def test_no_link_leads_out_of_a_folder_that_is_written_to(
    name: str, edited: Callable[..., Path], tmp_path: Path
) -> None:
    run = edited()
    link = run / name
    link.parent.mkdir(exist_ok=True)
    if link.is_dir():
        (link / "last.ckpt").unlink()
        link.rmdir()
    link.symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="is a link out of the folder"):
        by_resume(run)
    by_resume(run, f"trust=['{tmp_path}']")  # as where the checkpoints are on another disk


# ------------------------------------------------------------------------------------------------- what the user trusts


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of the user's with a loss, whose import leaves a marker."""
    text = "from saddle.losses import Hinge, NonSaturating\nopen({!r}, 'w').close()\n"
    text += "class Mine(NonSaturating):\n    pass\n"
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/my_losses.py").write_text(text.format(str(tmp_path / "marker")))
    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield "my_losses"
    sys.modules.pop("my_losses", None)


def test_a_package_of_ones_own_is_named_on_the_command_line(
    package: str, edited: Callable[..., Path], tmp_path: Path
) -> None:
    run = edited(loss___target_="my_losses.Mine")
    for command in COMMANDS:
        with pytest.raises(InputError, match=r"trust=\[PACKAGE\]"):
            command(run)
    with pytest.raises(InputError, match="trust"):
        by_resume(run, "trust=[my_loss]")
    assert not (tmp_path / "marker").exists()  # it was not even imported
    by_resume(run, f"trust=[{package}]")
    by_sample(run, f"trust=[{package}]")
    assert (tmp_path / "marker").exists()


def test_a_folder_does_not_trust_by_itself(package: str, edited: Callable[..., Path]) -> None:
    run = edited(loss___target_="my_losses.Mine", trust=[package, "builtins"])
    for command in COMMANDS:
        with pytest.raises(InputError, match="may not name"):
            command(run)


def test_an_installed_package_says_that_it_may_be_named(package: str, tmp_path: Path) -> None:
    config = {"loss": {"_target_": "my_losses.Mine"}}
    with pytest.raises(InputError):
        refuse_foreign(config, [], "config.yaml")
    info = tmp_path / "packages/my_losses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-losses\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[saddle.plugins]\nmine = my_losses\n")
    refuse_foreign(config, [], "config.yaml")
    assert isinstance(instantiate(config["loss"], Loss), NonSaturating)
    with pytest.raises(InputError):
        refuse_foreign({"loss": {"_target_": "my_losses_evil.Mine"}}, [], "config.yaml")


def test_what_is_trusted_is_still_a_class_of_the_kind(package: str) -> None:
    for value in ("my_losses.open", "my_losses.Hinge"):  # a builtin, and a class that it only imports
        with pytest.raises(InputError):
            instantiate({"_target_": value}, Loss)


# ---------------------------------------------------------------------------------------------------- files of weights


def test_a_library_unpickles_no_file_that_a_config_names(tmp_path: Path) -> None:
    torch.save(Evil(tmp_path / "marker"), tmp_path / "weights.pth")
    for node in (
        {
            "_target_": "torchmetrics.image.fid.FrechetInceptionDistance",
            "feature_extractor_weights_path": str(tmp_path / "weights.pth"),
        },
        {
            "_target_": "saddle.metrics.frechet.FrechetDistance",
            "extractor": {
                "_target_": "saddle.metrics.features.InceptionExtractor",
                "weights": str(tmp_path / "weights.pth"),
            },
        },
    ):
        with pytest.raises(InputError):
            build.build_metrics({"mine": node})["mine"].extractor.load()
    assert not (tmp_path / "marker").exists()


# ------------------------------------------------------------------------------------------------------- sweep folders


@pytest.fixture
def resume(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Job]]:
    """A function that goes on with the sweep in s/ as `-m resume=s` does; the jobs that it would run."""
    ran: list[Job] = []
    monkeypatch.setattr(sweeps, "run_jobs", lambda sweep, plan: ran.extend(iter(plan.next, None)))
    resolvers.register()

    def go(*more: str, flags: tuple[str, ...] = ()) -> list[Job]:
        ran.clear()
        searchpath = [text.partition("=")[2] for text in flags]
        with Composer(project / "conf", "train", searchpath) as composer:
            sweeps.resume_sweep(composer, ["resume=s", *more], flags)
        return ran

    (project / "s").mkdir()
    return go


def write_jobs(*overrides: str, folder: str = "0", **more: Any) -> None:
    jobs = [{"folder": folder, "overrides": list(overrides), "processes": 1}]
    listed = {"flags": [], "launcher": [], "at_once": 1, "jobs": jobs, **more}
    Path("s/jobs.json").write_text(json.dumps(listed))


@pytest.mark.parametrize("folder", ["../victim", "/tmp/victim", "a/b", "..", ".", "", "a\0b", 3, None, ["a"]])
def test_the_folder_of_a_job_is_inside(folder: Any, resume: Callable, project: Path) -> None:
    victim = RunFolder(project / "victim")
    victim.path.mkdir()
    victim.record(status="failed")
    write_jobs(folder=folder)
    with pytest.raises(InputError, match="jobs.json") as error:
        resume()
    assert "\n" not in str(error.value) and victim.results() == {"status": "failed"}


@pytest.mark.parametrize(
    "override",
    [
        "model.generator._target_=builtins.open",
        "+penalty.x={_target_: builtins.open}",
        "+penalty.x={a: [{_target_: builtins.open}]}",
        "hydra.run.dir=elsewhere",
        "hydra.searchpath=[file:///tmp]",
        "+hydra.job.env_set.X=1",
        "hydra/launcher=processes",
        "resume=other",
        "trust=[builtins]",
        "data.path='${oc.env:HOME}'",
        "data.path='${hydra:runtime.cwd}'",
        "data.path='${oc.decode:${model.width}}'",
        "loss=../../evil",
        "loss=/tmp/evil",
        "penalty=[r1,../../evil]",
    ],
)
def test_an_override_of_a_job_is_a_value_or_a_choice(override: str, resume: Callable, project: Path) -> None:
    (project.parent / "evil.yaml").write_text("_target_: saddle.losses.Hinge\n")
    write_jobs(override)
    with pytest.raises(InputError) as error:
        resume()
    assert "\n" not in str(error.value)


def test_a_sweep_of_ones_own_goes_on(resume: Callable, tmp_path: Path) -> None:
    overrides = [
        "loss=hinge",
        "penalty=[lecam]",
        "model.width=8",
        "data.path='/data/a b'",
        "model.ema='${model.g_lr}'",
    ]
    write_jobs(*overrides)
    assert resume() == [Job("0", overrides)]
    for given in ({"flags": ["--config-dir=/mine"]}, {"launcher": ["hydra/launcher=other"]}):
        write_jobs(*overrides, **given)
        with pytest.raises(InputError, match="began with .*, which a folder is not believed"):
            resume()
    (tmp_path / "mine/loss").mkdir(parents=True)
    (tmp_path / "mine/loss/own.yaml").write_text("_target_: my_losses.Mine\n")
    flags = (f"--config-dir={tmp_path / 'mine'}",)
    write_jobs("loss=own", flags=flags)
    with pytest.raises(InputError, match=r"my_losses.Mine.*trust=\[PACKAGE\]"):
        resume(flags=flags)
    assert resume("trust=[my_losses]", flags=flags) == [Job("0", ["loss=own"])]


def test_jobs_that_began_are_told_what_is_trusted(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "train.py", ["--config-dir=x"], trust=["mine", "http://a,b"])
    job = Job("0", ["seed=1"])
    assert sweep.command(job)[2:4] == ["--config-dir=x", "seed=1"]
    sweep.run_folder(job).begin({})
    assert "trust=['mine','http://a,b']" in sweep.command(job)
    sweep.save()
    assert Sweep.load(tmp_path, "train.py").trust == []  # that is said again too


@pytest.mark.parametrize("part", ["sampler", "pruner"])
def test_a_search_calls_nothing(part: str, resume: Callable, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    good = {"sampler": {"_target_": "optuna.samplers.RandomSampler"}, "pruner": None}
    axis = {"key": "seed", "values": ["1", "2"]}
    for node in (
        opens(tmp_path / "marker"),
        {"_target_": "optuna.samplers.NSGAIISampler", "crossover": opens(tmp_path / "marker")},
        {"_target_": "optuna.samplers.NSGAIISampler", "population_size": "${oc.env:HOME}"},
        {"_target_": "optuna.samplers._base.warnings.warn"},
        {"_target_": "optuna.study.create_study"},
    ):
        options = {"trials": 1, "objectives": [{"score": "eval/x"}], "seed": 0, **good, part: node}
        found = {"space": {"fixed": [], "axes": [axis], "seeds": []}, "options": options}
        Path("s/search.json").write_text(json.dumps(found))
        write_jobs()
        with pytest.raises(InputError) as error:
            resume()
        assert "\n" not in str(error.value) and not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", [".lock", "0", "0/output.log", "0/checkpoints", "optuna.journal", "trials.csv"])
def test_no_link_leads_out_of_a_sweep_folder(name: str, resume: Callable, project: Path) -> None:
    (project / "victim").write_text("mine")
    write_jobs()
    link = Path("s") / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(project / "victim")
    with pytest.raises(InputError, match="is a link out of the folder"):
        resume()
    assert (project / "victim").read_text() == "mine"
