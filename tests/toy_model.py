"""The toy of `toy_run`: two linear players, two optimisers, an endless loader that starts at the iteration."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from saddle.config.check import plain
from saddle.errors import NonFinite
from saddle.run.checkpoint import AtomicCheckpointIO, Checkpointer, find_resumable
from saddle.run.folder import RunFolder
from saddle.run.life import Life
from saddle.run.stopwatch import paused
from saddle.run.writer import CsvWriter

IMAGES = 8  # per iteration


class Unwrapped(DDPStrategy):
    """Processes without the wrapper, as the real strategy."""

    def configure_ddp(self) -> None:
        """Wrap nothing."""

    def _setup_model(self, model: nn.Module) -> nn.Module:  # type: ignore[override]
        return model


class Batches(IterableDataset):
    """Batch i is a function of i."""

    def __init__(self, start: int):
        self.start = start

    def __iter__(self) -> Iterator[Tensor]:
        i = self.start
        while True:
            yield torch.randn(IMAGES, 3, generator=torch.Generator().manual_seed(i))
            i += 1


class Toy(LightningModule):
    """Two players that step in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(0)
        self.generator, self.discriminator = nn.Linear(3, 3), nn.Linear(3, 1)
        self.iteration = 0
        self.stop_vote = self.stop_votes = 0.0
        self.scores: dict[str, float] = {}
        self.skipped, self.warnings = 0, []

    @property
    def kimg(self) -> float:
        return self.iteration * IMAGES / 1000

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        self.inject()
        for network, optimizer in zip((self.discriminator, self.generator), self.optimizers(), strict=True):
            loss = self.discriminator(self.generator(batch)).square().mean() + self.discriminator(batch).mean()
            optimizer.zero_grad()
            self.manual_backward(loss, inputs=list(network.parameters()))
            optimizer.step()
        if self.trainer.world_size > 1:
            votes = torch.tensor(self.stop_vote)
            dist.all_reduce(votes)
            self.stop_votes = float(votes)
        self.loss = loss.item()
        self.iteration += 1

    def inject(self) -> None:
        """Let the fault of the environment variable TOY_FAULT happen on the last process, e.g. SIGKILL@7."""
        fault, _, iteration = os.environ.get("TOY_FAULT", "").partition("@")
        if not fault or self.iteration != int(iteration) or self.trainer.global_rank != self.trainer.world_size - 1:
            return
        if fault == "nan":
            raise NonFinite(self.iteration, "discriminator.weight.grad")
        if fault == "error":
            raise RuntimeError("a fault was injected")
        os.kill(os.getpid(), getattr(signal, fault))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(player.parameters(), 1e-2) for player in (self.discriminator, self.generator)]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Batches(self.iteration), batch_size=None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["iteration"] = self.iteration

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.iteration = checkpoint["iteration"]


class Scalars(Callback):
    """Logs a loss, and every few iterations a score; the score improves, then worsens."""

    def __init__(self, log_every: int, evaluate_every: int):
        self.log_every, self.evaluate_every = log_every, evaluate_every

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        assert isinstance(pl_module, Toy)
        iteration, scalars = pl_module.iteration, {}
        if iteration % self.log_every == 0:
            scalars["train/loss"] = pl_module.loss
        if iteration % self.evaluate_every == 0:
            with paused(trainer):
                scalars["eval/frechet"] = abs(iteration - 8) + 0.1
        pl_module.scores.update(scalars)
        if scalars and trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics(scalars, iteration)


def make_trainer(folder: Path, callbacks: list[Callback], devices: int = 1) -> Trainer:
    """A trainer as the real run's."""
    return Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=Unwrapped() if devices > 1 else "auto",
        max_epochs=-1,
        logger=[CsvWriter(folder)],
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def fit(cfg: Any, folder: RunFolder) -> str:
    """Train the toy."""
    life, saving = Life(folder, plain(cfg)), cfg.checkpoint
    checkpointer = Checkpointer(folder.checkpoints, saving.every, saving.monitor, keep=saving.keep)
    callbacks = [Scalars(cfg.log_every, cfg.evaluation.every), life, checkpointer]
    trainer = make_trainer(folder.path, callbacks, cfg.trainer.devices)
    trainer.fit(Toy(), ckpt_path=find_resumable(folder.checkpoints), weights_only=True)
    return life.status
