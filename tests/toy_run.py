"""A run in small: the real entry point, folder, writer, checkpoints, signals and trainer around a two-player toy."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from saddle.errors import InputError

Run = Callable[..., subprocess.CompletedProcess[str]]

QUICK, CRASHES, DIES, REFUSED, WAITS = 100, 101, 102, 103, 104  # seeds of runs that need no training
PRIMARY = """
defaults:
  - loss: hinge
  - penalty: none
  - data: digits
  - model: dcgan
  - trainer: cpu
  - logger: none
  - metrics: none
  - study: null
  - _self_
  - override hydra/launcher: processes
penalty: {}
metrics: {}
logger: {}
seed: 0 # at least 0
iterations: null # a whole number of at least 0
minutes: null # above 0
precision: auto # one of auto, 32, 64, bf16-mixed, 16-mixed
compile: false
nonfinite: stop
resume: null # a path
trust: []
log_every: 2
checkpoint:
  every: 5 # at least 1
  monitor: null
  keep: {every: 0, kimg: 0, best: 1}
evaluation: {every: 4, samples: 100}
samples: {every: 0}
study: {jobs: 1}
hydra:
  run:
    dir: logs/train/${now:%Y-%m-%d_%H-%M-%S} # a path
  sweep:
    dir: logs/sweep/${now:%Y-%m-%d_%H-%M-%S} # a path
"""
OPTIONS = {
    "hydra/launcher/processes": "{_target_: saddle.sweep.launcher.Processes, _recursive_: false, place: null}",
    "loss/hinge": "_target_: saddle.toy.Hinge",
    "loss/wasserstein": "_target_: saddle.toy.Wasserstein",
    "penalty/none": "{}",
    "penalty/r1": "r1: {_target_: saddle.toy.R1, weight: 10.0, facts: {per_sample_gradient: true}}",
    "penalty/lecam": "lecam: {_target_: saddle.toy.LeCam, weight: 0.3}",
    "data/digits": "{resolution: 32, channels: 1, classes: 10, batch_size: 64, path: null, flip: false}",
    "data/plain": "{resolution: 32, channels: 1, classes: 0, batch_size: 64, path: null, flip: false}",
    "model/dcgan": (
        "defaults:\n  - generator: dcgan\n  - override /loss@_global_.loss: wasserstein\n"
        "needs_labels: false\nd_norm: batch\nwidth: 64\ng_lr: 2e-4\nbetas: [0.0, 0.9]\nema: null"
    ),
    "model/generator/dcgan": '{_target_: saddle.toy.G, facts: {resolutions: [16, 32]}, width: "${model.width}"}',
    "model/biggan": "{needs_labels: true, d_norm: spectral, width: 64, g_lr: 2e-4}",
    "trainer/cpu": "{accelerator: cpu, devices: 1, num_nodes: 1, accumulate: 1}",
    "trainer/ddp_cpu": "{accelerator: cpu, devices: 2, num_nodes: 1, accumulate: 1}",
    "logger/none": "{}",
    "metrics/none": "{}",
    "metrics/frechet": "frechet: {_target_: saddle.toy.Frechet}",
    "metrics/scores": "scores: {_target_: saddle.toy.Scores, facts: {scores: [classes, classes_real]}}",
    "study/rates": '# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {model.g_lr: "1e-3,1e-4"}}}',
}
SCRIPT = """
from saddle.entry import main_training
from toy_run import train

def task(cfg, folder):
    return train(cfg, folder)

if __name__ == "__main__":
    main_training(task)
"""


def write_project(root: Path) -> Path:
    """Write conf/ and src/train.py under `root`; the script."""
    for name, text in {"train": PRIMARY, **OPTIONS}.items():
        path = root / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script = root / "src" / "train.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(SCRIPT)
    return script


def train(cfg: Any, folder: Any) -> str:
    """What src/train.py does, with a toy for the model; from seed `QUICK` on nothing is trained nor torch imported."""
    if cfg.seed == CRASHES:
        raise RuntimeError("a fault\nwas injected")
    if cfg.seed == DIES:
        folder.begin(OmegaConf.to_container(cfg))  # as a run does that has been built
        os.kill(os.getpid(), 9)
    if cfg.seed == REFUSED:
        raise InputError("it cannot be built")
    if cfg.seed >= QUICK:
        folder.begin(cfg, first=os.environ.get("LOCAL_RANK", "0") == "0")
        (folder.checkpoints / "last.ckpt").touch()
        if cfg.seed == WAITS:
            Path("waits").touch()
            while Path("waits").exists():
                time.sleep(0.02)
        folder.record(iterations=cfg.iterations or 0, seconds=0.0)
        print("threads", os.environ.get("OMP_NUM_THREADS"), "rank", os.environ.get("LOCAL_RANK"))
        return "done"
    from toy_model import fit

    return fit(cfg, folder)
