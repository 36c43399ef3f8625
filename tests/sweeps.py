"""Sweep folders as training leaves them, with scores that a test chooses."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

LOSSES = {"hinge": "Hinge", "wasserstein": "Wasserstein", "nonsaturating": "NonSaturating"}
Scorer = Callable[[Mapping[str, Any], int], float | None]


def config_of(values: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A config in which choices and widths repeat themselves, as in a real one."""
    width, loss = values.get("model.width", 32), values.get("loss", "hinge")
    model = values.get("model", "dcgan")
    config = {
        "seed": seed,
        "iterations": 1000,
        "loss": {"_target_": f"saddle.losses.{LOSSES[loss]}"},
        "penalty": {},
        "data": {"resolution": 32, "batch_size": values.get("data.batch_size", 64)},
        "model": {
            "d_norm": "batch" if model == "dcgan" else "none",
            "width": width,
            "d_steps": values.get("model.d_steps", 1),
            "g_lr": values.get("model.g_lr", 2e-4),
            "d_lr": values.get("model.g_lr", 2e-4) * 2,
            "beta1": values.get("model.beta1", 0.5),
            "ema": values.get("model.ema", 0.999),
            "generator": {"width": width, "resolutions": [32, 64]},
            "trunk": {"width": width // 2, "norm": "batch" if model == "dcgan" else "none"},
        },
        "logger": {"wandb": {"name": f"run-{seed}", "id": str((model, loss, width, seed))}},
        "choices": {"model": model, "loss": loss, "logger": "wandb", "penalty": [], "metrics": ["frechet"]},
    }
    return config


def write_run(
    folder: Path, config: Mapping[str, Any], score: float | None, status: str | None = "done", **results: Any
) -> None:
    """One run folder; a status of None writes no results.json, as of a run that goes on or was killed."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(dict(config))))
    if status:
        ended = {"status": status, "error": None, "iterations": 1000, "seconds": 60.0, "eval/frechet": score}
        (folder / "results.json").write_text(json.dumps({**ended, "diverged": False, "collapsed": False, **results}))
    final = 50.0 if score is None else score
    lines = ["iteration,train/d_loss,train/g_loss,eval/frechet"]
    lines += [f"{i},{1.4 - i / 2000},{0.7 + i / 1000},{final * (1 + 400 / i) if i % 200 == 0 else ''}"
              for i in range(100, 1001, 100)]  # fmt: skip
    lines[-1] = f"1000,0.9,1.7,{'' if score is None else score}"
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    (folder / "timing.csv").write_text("iteration,seconds\n1000,60\n")


def write_grid(folder: Path, shade: int) -> None:
    """A sample grid of 10 by 10 images."""
    (folder / "samples").mkdir()
    pixels = np.random.default_rng(shade).integers(0, 255, size=(342, 342, 3), dtype=np.uint8)
    Image.fromarray(np.uint8(0.3 * pixels + 0.7 * shade)).save(folder / "samples" / "00001000.png")


def write_grid_sweep(
    folder: Path, axes: Mapping[str, Sequence[Any]], scorer: Scorer, seeds: int = 3, grids: bool = False
) -> Path:
    """A full grid over `axes`, with `seeds` runs of each combination, and the list of its jobs."""
    jobs = {}
    for number, (*values, seed) in enumerate(itertools.product(*axes.values(), range(seeds))):
        chosen = dict(zip(axes, values, strict=True))
        run = folder / f"{number}_{'_'.join(f'{k}-{v}' for k, v in chosen.items())}_seed-{seed}"
        write_run(run, config_of(chosen, seed), scorer(chosen, seed))
        if grids:
            write_grid(run, 40 + 5 * number % 200)
        jobs[run.name] = [*(f"{key}={value}" for key, value in chosen.items()), f"seed={seed}"]
    write_jobs(folder, jobs)
    return folder


def write_jobs(folder: Path, jobs: Mapping[str, Sequence[str]]) -> None:
    """The list that a sweep keeps of its jobs: of each its run folder and its overrides."""
    listed = [{"folder": name, "overrides": [*words]} for name, words in jobs.items()]
    (folder / "jobs.json").write_text(json.dumps({"flags": [], "at_once": 1, "jobs": listed}))
