"""A training run from its config and its folder."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from omegaconf import DictConfig, OmegaConf

from saddle.config.check import length
from saddle.run import build
from saddle.run.checkpoint import AtomicCheckpointIO, Checkpointer, find_resumable, load_checkpoint, refuse_other_model
from saddle.run.folder import RunFolder
from saddle.run.launch import cluster_environment, is_first_process
from saddle.run.life import Life
from saddle.run.writer import CsvWriter


def train(cfg: DictConfig, folder: RunFolder) -> str:
    """Build everything, train from the newest checkpoint of the folder or from scratch, and say what came of it.

    Returns:
        How the run ended: "done", "preempted" or "interrupted".
    """
    quieten()
    data, model = build.build_data(cfg), build.build_model(cfg)
    iterations, minutes = length(cfg)
    life = Life(folder, iterations, minutes, cfg.log_every)
    checkpointer = Checkpointer(folder.checkpoints, cfg.checkpoint.every, cfg.checkpoint.monitor, cfg)
    callbacks = [*build.build_callbacks(cfg, folder.path), life, checkpointer]
    loggers = [CsvWriter(folder.path), *build.build_loggers(cfg, folder.path)]
    trainer = build.build_trainer(cfg, folder.path, callbacks, loggers, [AtomicCheckpointIO(), cluster_environment()])
    checkpoint = find_resumable(folder.checkpoints)
    if checkpoint is not None:
        refuse_other_model(load_checkpoint(checkpoint), model, checkpoint)
    options: Any = OmegaConf.to_container(cfg, resolve=True)
    for logger in loggers:
        logger.log_hyperparams(options)
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if is_first_process():
        print("\n".join(summary(folder)), flush=True)
    return life.status


def summary(folder: RunFolder) -> list[str]:
    """What the user wants to know at the end, line by line."""
    results, grids = folder.results(), sorted(folder.samples.glob("*.png"))
    lines = [f"run folder   {folder.path}"]
    if grids:
        lines.append(f"sample grid  {grids[-1]}")
    lines.append(f"iterations   {results.get('iterations')} in {results.get('seconds') or 0:.0f} s of training")
    width = max((len(name) for name in results if name.startswith("eval/")), default=0)
    lines += [f"{name:<{width}}  {value:.4g}" for name, value in results.items() if name.startswith("eval/")]
    return lines


def quieten() -> None:
    """Keep off the terminal what the libraries say of things that are as they should be."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*module\(s\) in eval mode at the start of training",  # the moving average of G
        r".*isinstance\(treespec, LeafSpec\)",
        r".*does not have many workers",
        r".*method of metric .* was called before",  # a process that has no part in a small evaluation
    ):
        warnings.filterwarnings("ignore", message)
