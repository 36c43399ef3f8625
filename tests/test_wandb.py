"""What reaches Weights & Biases: a sweep of two jobs on two processes each, read back from the offline files."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb_file
import yaml

ROOT = Path(__file__).parent.parent
WORDS = [
    "model=sngan", "loss=hinge", "penalty=[lecam]", "data=digits", "seed=0,1", "iterations=6", "trainer=ddp_cpu",
    "model.width=4", "data.batch_size=8", "precision=32", "logger=wandb", "logger.wandb.tags=[mine]",
    "logger.wandb.artifact=true", "checkpoint.monitor=eval/frechet", "log_every=2", "evaluation.every=3",
    "evaluation.samples=64", "samples.every=3", "callbacks.health.every=3", "callbacks.walks.every=3",
    "callbacks.histograms.every=3", "callbacks.walks.rows=2", "callbacks.walks.columns=3",
]  # fmt: skip


@pytest.fixture(scope="session")
def sweep(worker_once) -> Path:
    """The sweep folder."""

    def train(folder: Path) -> None:
        environment = os.environ | {"WANDB_MODE": "offline", "WANDB_X_STATS_SAMPLING_INTERVAL": "0.1"}
        command = [sys.executable, str(ROOT / "src" / "train.py"), "-m", *WORDS, f"hydra.sweep.dir={folder}"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    return worker_once("wandb_sweep", train)


@pytest.fixture(scope="session")
def jobs(sweep: Path) -> dict[Path, wandb_file.OfflineRun]:
    """What each job told W&B; `read` refuses more or less than one W&B run in a folder."""
    folders = sorted(path.parent for path in sweep.glob("*/config.yaml"))
    return {folder: wandb_file.read(folder) for folder in folders}


def test_each_job_is_one_run_of_two_processes_in_the_group_of_its_sweep(sweep: Path, jobs) -> None:
    assert len(jobs) == 2 and len({run.run.run_id for run in jobs.values()}) == 2
    for folder, run in jobs.items():
        assert run.run.run_group == sweep.name
        assert run.run.job_type == "train"
        assert run.run.display_name == folder.name
        assert set(run.run.tags) == {"sngan", "hinge", "digits", "mine"}
        assert run.run.run_id == (folder / "wandb" / "id").read_text()
        assert run.exit_code == 0


def test_the_config_is_the_resolved_one_and_the_code_is_named(jobs) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    for folder, run in jobs.items():
        config = yaml.safe_load((folder / "config.yaml").read_text())
        for key in ("seed", "loss", "data", "trainer", "choices"):
            assert run.config[key] == config[key]
        assert float(run.config["model"]["g_lr"]) == float(config["model"]["g_lr"])
        assert run.config["model"]["trunk"]["width"] == config["model"]["trunk"]["width"]
        if commit:
            assert len(run.config["code"]["commit"]) == 40 and isinstance(run.config["code"]["dirty"], bool)


def test_the_scalars_are_those_of_the_files_at_the_same_iterations(jobs) -> None:
    for folder, run in jobs.items():
        for file, prefix in (("metrics.csv", ""), ("timing.csv", "timing/")):
            rows = list(csv.DictReader((folder / file).open()))
            for name in [name for name in rows[0] if name != "iteration"]:
                written = {int(row["iteration"]): float(row[name]) for row in rows if row[name]}
                assert run.column(prefix + name) == pytest.approx(written), name
        expected = {
            "train/d_loss", "train/g_loss", "train/real_logits", "train/fake_logits", "train/d_grad_norm",
            "train/g_grad_norm", "train/penalty/lecam", "train/d_accuracy_real", "eval/frechet", "health/diversity",
            "timing/images_per_second", "spectrum/generator/layers.0/0",
        }  # fmt: skip
        assert {key for key in expected if key in run.keys} >= expected - {"spectrum/generator/layers.0/0"}
        assert any(key.startswith("spectrum/generator/") for key in run.keys)


@pytest.mark.parametrize("key", ["samples", "samples/walks"])
def test_pictures_are_on_a_slider_of_iterations(jobs, key: str) -> None:
    for folder, run in jobs.items():
        assert run.column(f"{key}._type") == {3: "images/separated", 6: "images/separated"}
        names = [name for row in run.column(f"{key}.filenames").values() for name in row]
        pictures = folder / "samples" / key.removeprefix("samples").strip("/")
        for name, picture in zip(names, sorted(pictures.glob("*.png")), strict=True):
            (sent,) = (folder / "wandb").glob(f"offline-run-*/files/{name}")
            assert sent.read_bytes() == picture.read_bytes()
            assert name in run.files


def test_histograms_are_of_logits_weights_and_gradients(jobs) -> None:
    for run in jobs.values():
        kinds = {key: kind for key, kind in run.summary.items() if key.endswith("._type") and kind == "histogram"}
        assert {"logits/real._type", "logits/fake._type"} <= set(kinds)
        for player in ("generator", "discriminator"):
            weights = {key.split("/", 1)[1] for key in kinds if key.startswith(f"weights/{player}/")}
            assert weights == {key.split("/", 1)[1] for key in kinds if key.startswith(f"gradients/{player}/")} != set()
        assert sum(run.column("logits/real.values")[6]) == 8  # the global batch, of both processes


def test_the_summary_says_how_the_run_ended(jobs) -> None:
    for folder, run in jobs.items():
        results = json.loads((folder / "results.json").read_text())
        for key in ("status", "kimg", "diverged", "collapsed", "parameters/generator", "eval/frechet"):
            assert run.summary[key] == results[key]
        assert run.summary["status"] == "done"


def test_system_statistics_and_the_best_checkpoint_are_there(jobs) -> None:
    for run in jobs.values():
        assert any("proc.memory.rssMB" in row for row in run.stats)
        (artifact,) = run.artifacts
        assert artifact.type == "model" and "best" in artifact.aliases
        assert [entry.path for entry in artifact.manifest.contents] == ["best.ckpt"]
