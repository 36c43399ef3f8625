"""How a run appears on Weights & Biases. What it sends is tested in tests/test_wandb.py."""

import json
import shutil
import subprocess

import pytest
import wandb
import wandb_file

from saddle.run import tracking
from saddle.run.account import logged_in
from saddle.run.folder import RunFolder
from saddle.run.tracking import WandbRun, choices_of, code_version, sweep_of


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_RUN_GROUP", "WANDB_SWEEP_ID", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_a_login_is_found_where_wandb_keeps_it(monkeypatch, tmp_path) -> None:
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + 40 * "k")
    assert logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", 40 * "k")
    assert logged_in()


@pytest.mark.parametrize(
    ("mode", "variable", "key", "expected"),
    [("auto", None, False, "offline"), ("auto", None, True, "online"), ("auto", "disabled", True, "disabled"),
     ("offline", None, True, "offline"), ("online", "offline", False, "online")],
)  # fmt: skip
def test_the_mode(monkeypatch, tmp_path, mode, variable, key, expected) -> None:
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", 40 * "k")
    assert WandbRun(str(tmp_path), project="p", mode=mode)._wandb_init["mode"] == expected


def test_where_nobody_answers_a_run_goes_on_offline(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setenv("WANDB_API_KEY", 40 * "k")
    begin, modes = wandb.init, []

    def init(mode, settings=None, **options):
        modes.append((mode, settings and settings.init_timeout <= 30))
        if mode == "online":
            raise wandb.errors.CommError("no such host\nConsider more time")
        return begin(mode="disabled", **options)

    monkeypatch.setattr(wandb, "init", init)
    logger = WandbRun(str(tmp_path), project="p")
    logger.log_metrics({"train/d_loss": 1.0}, 1)
    assert modes == [("online", True), ("offline", None)]
    assert capsys.readouterr().out == "Weights & Biases: no such host: the run goes on offline\n"


def test_the_group_is_the_sweep_unless_the_user_says_otherwise(monkeypatch, tmp_path) -> None:
    run = tmp_path / "sweep" / "0_a"
    run.mkdir(parents=True)
    assert sweep_of(run) is None
    monkeypatch.setenv("WANDB_SWEEP_ID", "agents")
    assert sweep_of(run) == "agents"
    (tmp_path / "sweep" / "jobs.json").touch()
    assert sweep_of(run) == "sweep"
    assert WandbRun(str(run), project="p")._wandb_init["group"] == "sweep"
    assert WandbRun(str(run), project="p", group="mine")._wandb_init["group"] == "mine"
    monkeypatch.setenv("WANDB_RUN_GROUP", "theirs")
    assert sweep_of(run) == "theirs"


def test_a_resumed_folder_is_the_same_run(tmp_path) -> None:
    first, second = WandbRun(str(tmp_path), project="p"), WandbRun(str(tmp_path), project="p")
    assert first._wandb_init["id"] == second._wandb_init["id"]
    assert first._wandb_init["resume"] == "allow"


def test_tags_name_what_a_run_is_made_of(tmp_path) -> None:
    assert choices_of(tmp_path) == []
    choices = {"model": "dcgan", "loss": "hinge", "data": "digits", "experiment": None, "study": "lr_beta", "x": "y"}
    RunFolder(tmp_path).begin({"choices": choices})
    assert choices_of(tmp_path) == ["dcgan", "hinge", "digits", "lr_beta"]
    assert WandbRun(str(tmp_path), project="p", tags=["hinge", "mine"])._wandb_init["tags"] == [
        "dcgan", "hinge", "digits", "lr_beta", "mine"
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_code_is_named_by_its_commit(monkeypatch, tmp_path) -> None:
    file = tmp_path / "tracking.py"
    file.write_text("1")
    monkeypatch.setattr(tracking, "__file__", str(file))
    assert code_version() == {"commit": None, "dirty": None}

    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    assert code_version() == {"commit": None, "dirty": None}  # somebody else's repository
    git("add", "tracking.py")
    git("commit", "-m", "a")
    assert code_version() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    file.write_text("2")
    assert code_version()["dirty"] is True


def test_a_run_that_failed_says_so(tmp_path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin({"seed": 0})
    logger = WandbRun(str(tmp_path), project="p", mode="offline")
    logger.log_hyperparams({"seed": 0})
    logger.log_metrics({"train/d_loss": 1.0}, 2)
    logger.log_metrics({"eval/frechet": float("nan")}, 2)
    logger.log_metrics({"train/d_loss": 0.5}, 4)
    folder.record(status="nonfinite", diverged=True, error="iteration 5")
    logger.finalize("failed")
    logger.finalize("failed")  # nothing is left to end
    wandb.teardown()  # its own process closes the file
    run = wandb_file.read(tmp_path)
    assert run.exit_code == 3
    assert run.summary["status"] == "nonfinite" and run.summary["diverged"] == 1
    assert run.column("train/d_loss") == {2: 1.0, 4: 0.5}  # both calls of iteration 2 are one row
    assert len(run.history) == 2 and json.dumps(run.column("eval/frechet")[2]) in ("NaN", '"NaN"')
    assert "status" not in run.keys
