"""The commands as a user types them, on the embedded digits: train, resume, sample, evaluate, the notebook."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "look_at_a_run.ipynb"
SMALL = ["model.width=4", "data.batch_size=8", "log_every=2", "evaluation.samples=64", "precision=32"]


def run(script: str, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a script of src/ and check its exit status."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "src" / script), *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def trained(tmp_path_factory, worker_once):
    """A finished run of six iterations of a conditional model, on digits."""

    def train(folder: Path) -> None:
        words = ["model=biggan", "loss=hinge", "data=digits", "iterations=6", "samples.every=3", "evaluation.every=3"]
        run("train.py", *SMALL, *words, "logger=wandb", "checkpoint.monitor=eval/frechet", f"hydra.run.dir={folder}")

    return worker_once("trained", train)


def test_a_run_folder_holds_what_the_design_says(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    assert results["status"] == "done" and results["iterations"] == 6
    assert results["kimg"] == 6 * 2 * 8 / 1000
    assert {"seconds", "images_per_second", "peak_memory_bytes", "diverged", "collapsed", "eval/frechet"} <= set(
        results
    )
    assert results["parameters/generator"] > 1000 and results["parameters/discriminator"] > 1000
    assert {p.name for p in (trained / "checkpoints").iterdir()} >= {"last.ckpt", "best.ckpt"}
    assert [p.name for p in sorted((trained / "samples").glob("*.png"))] == ["00000003.png", "00000006.png"]
    assert list((trained / "wandb").glob("offline-run-*/*.wandb"))
    rows = list(csv.DictReader((trained / "metrics.csv").open()))
    assert [int(row["iteration"]) for row in rows] == [2, 3, 4, 6]
    assert all(row["train/d_loss"] for row in rows if int(row["iteration"]) % 2 == 0)
    assert float(rows[-1]["eval/frechet"]) == results["eval/frechet"]
    assert not {"seconds", "images_per_second"} & set(rows[0])


def test_a_checkpoint_is_lightnings_and_holds_weights_only(trained: Path) -> None:
    checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    assert {"state_dict", "optimizer_states", "pytorch-lightning_version"} <= set(checkpoint)
    assert any(key.startswith("ema.module.") for key in checkpoint["state_dict"])


def test_a_grid_has_a_row_for_each_class(trained: Path) -> None:
    grid = np.asarray(Image.open(trained / "samples" / "00000006.png"))
    assert grid.shape == (10 * 34 + 2, 10 * 34 + 2, 3)
    assert grid[2:34, 2:34].std() > 0


def test_samples_are_written_and_depend_on_seed_and_class_only(trained: Path, tmp_path: Path) -> None:
    run("sample.py", f"run={trained}", "n=40", "batch=16", f"out={tmp_path}/a.npz")
    run("sample.py", f"run={trained}", "n=30", "batch=30", f"out={tmp_path}/b.npz", "truncation=0.5", "class=3")
    a, b = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert a["images"].shape == (40, 32, 32, 1) and a["images"].dtype == np.uint8
    assert set(b["labels"]) == {3} and len(set(a["labels"])) > 3
    refused = run("sample.py", f"run={trained}", f"out={tmp_path}/c.npz", "class=10", status=1)
    assert refused.stderr.count("\n") == 1 and "class=10" in refused.stderr


def test_evaluate_repeats_the_score_of_the_run(trained: Path) -> None:
    run("evaluate.py", f"run={trained}", "n=64")
    evaluation = json.loads((trained / "evaluation.json").read_text())
    results = json.loads((trained / "results.json").read_text())
    text = json.dumps(evaluation)
    assert "eval/frechet" in text
    scores = evaluation["scores"]
    assert scores["eval/frechet"] == pytest.approx(results["eval/frechet"], rel=1e-6)


def test_a_run_goes_on_as_if_it_had_not_stopped(trained: Path, tmp_path: Path) -> None:
    words = [
        *SMALL,
        "model=biggan",
        "loss=hinge",
        "data=digits",
        "samples.every=3",
        "evaluation.every=3",
        "logger=none",
    ]
    run("train.py", *words, "iterations=4", f"hydra.run.dir={tmp_path}/run")
    run("train.py", f"resume={tmp_path}/run", "iterations=6")
    whole = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    halves = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, halves["state_dict"][name]), name
    again = run("train.py", f"resume={tmp_path}/run")
    assert "finished" in again.stdout


def test_the_notebook_opens_a_run(trained: Path, monkeypatch) -> None:
    monkeypatch.setenv("SADDLE_RUN", str(trained))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3  # losses, scores, samples


@pytest.mark.slow
def test_a_sweep_records_the_job_that_fails_and_runs_the_others(tmp_path: Path) -> None:
    words = [*SMALL, "data=digits", "iterations=2", "logger=none", f"hydra.sweep.dir={tmp_path}/sweep"]
    # after one step at this learning rate G's images are not finite, which D's gradients show in the next iteration
    done = run("train.py", "-m", *words, "loss=hinge,wasserstein", "model.g_lr=1e-3,1e38", status=1)
    results = {p.parent.name: json.loads(p.read_text()) for p in (tmp_path / "sweep").glob("*/results.json")}
    assert len(results) == 4
    assert all(result["status"] == ("nonfinite" if "38" in name else "done") for name, result in results.items())
    assert sum(result["diverged"] for result in results.values()) == 2
    assert done.stdout.count(": nonfinite") == 2


@pytest.mark.slow
def test_two_processes_share_one_folder(tmp_path: Path) -> None:
    words = [*SMALL, "data=digits", "iterations=4", "logger=none", "trainer=ddp_cpu", "trainer.devices=2"]
    run("train.py", *words, f"hydra.run.dir={tmp_path}/run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["status"] == "done" and results["kimg"] == 4 * 8 / 1000
    run("train.py", f"resume={tmp_path}/run", "iterations=6", "trainer=cpu")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["iterations"] == 6
