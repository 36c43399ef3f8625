"""The deep models by the commands that a user types, on digits and Fashion-MNIST: train, resume, sample, evaluate."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_commands import run

from saddle.data.idx import FashionMNIST

SMALL = ["log_every=2", "evaluation.samples=64", "precision=32", "logger=none", "model.width=8"]
GROWING = ["model.fade_kimg=0.032", "model.stable_kimg=0.016", "model.batch_sizes=[8]", "model.max_width=16"]
STYLED = ["data.batch_size=8", "model.max_width=16"]
#: What keeps each of them small; a growing one stops in the middle of a fade, a stacked one in its second stage.
MODELS = {
    "progan": GROWING,
    "stylegan": GROWING,
    "stylegan2": STYLED,
    "stylegan2_ada": STYLED,
    "r3gan": ["data.batch_size=8"],
    "biggan_deep": ["data.batch_size=8"],
    "stacked_gan": ["data.batch_size=8", "model.encoder_iterations=2", "model.independent_iterations=2"],
    "cyclegan": ["data.batch_size=4"],
}
CASES = [(model, data) for model in MODELS for data in ("digits", "fashion_mnist") if model != "cyclegan"]
CASES.append(("cyclegan", "unpaired_digits"))  # which it picks by itself


@pytest.mark.slow
@pytest.mark.parametrize(("model", "data"), CASES)
def test_trains_resumes_samples_and_evaluates(model: str, data: str, tmp_path: Path) -> None:
    if data == "fashion_mnist" and not any(folder.exists() for folder in FashionMNIST.packaged):
        pytest.skip("Fashion-MNIST is not installed on this machine")
    folder = tmp_path / "run"
    chosen = [] if model == "cyclegan" else [f"data={data}"]
    run("train.py", f"model={model}", *chosen, *MODELS[model], *SMALL, "iterations=4", f"hydra.run.dir={folder}")
    run("train.py", f"resume={folder}", "iterations=6")
    results = json.loads((folder / "results.json").read_text())
    assert (results["status"], results["iterations"]) == ("done", 6) and not results["diverged"]
    score = "a_to_b_l1" if model == "cyclegan" else "frechet"  # a translation is compared with what it should be
    assert results[f"eval/{score}"] > 0
    run("sample.py", f"run={folder}", "n=10", f"out={tmp_path / 'samples.npz'}")
    with np.load(tmp_path / "samples.npz") as file:
        images = next(file[key] for key in file.files if file[key].ndim == 4)
    assert len(images) == 10 and images.dtype == np.uint8 and images.std() > 0
    metrics = ["metrics=swd"] if model == "cyclegan" else []
    scored = run("evaluate.py", f"run={folder}", "n=64", *metrics)
    assert ("swd" if metrics else "frechet") in scored.stdout
