"""Checkpoints that a crash cannot spoil, and that cannot run code when they are loaded."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Callback, Trainer
from torch import nn

from saddle.errors import InputError
from saddle.run.direction import higher_is_better
from saddle.run.folder import replacing
from saddle.run.stopwatch import paused

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint beside its target, which it then replaces at once; loads tensors and plain data only.

    The last.ckpt before the newest is kept as previous.ckpt.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Replace the checkpoint at `path` at once.

        Raises:
            OSError: if it cannot be written; what was there before is still there.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(path) as file:
                torch.save(dict(checkpoint), file)
                if path.name == LAST and path.exists():
                    keep(path, path.with_name(PREVIOUS))
        except (OSError, RuntimeError) as error:  # torch turns the file's OSError into a RuntimeError
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__cause__ or cause.__context__
            reason = getattr(cause, "strerror", None) or str(error)
            message = f"{path.parent}: the checkpoint could not be written ({reason}); the one before is still good"
            raise OSError(message) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """As the function `load_checkpoint`: never more than tensors and plain data, whatever `weights_only` says."""
        return load_checkpoint(path, map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def keep(path: Path, previous: Path) -> None:
    """Give a checkpoint a second name, so that at every moment the first name is there."""
    beside = previous.with_name(f".{previous.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        os.link(path, beside)
    except OSError:  # a file system without hard links
        os.replace(path, previous)
    else:
        os.replace(beside, previous)


def load_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """A checkpoint as plain data.

    Raises:
        InputError: naming the file, if it is not there, damaged, or holds more than tensors and plain data.
    """
    complaint = damage(Path(path))
    if complaint:
        raise InputError(complaint)
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} is refused: it holds more than tensors and plain data, which could run code"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be loaded: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise InputError(f"{path} is not a checkpoint of a run: it has no state_dict")
    return checkpoint


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, by the checksums inside; None if nothing is."""
    if not path.is_file():
        return f"{path}: there is no such checkpoint"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        return f"{path} is cut short or damaged ({error})"
    return f"{path} is damaged (in {broken})" if broken else None


def find_resumable(folder: str | Path) -> Path | None:
    """The newest good checkpoint in a run's `checkpoints/`: last.ckpt, else previous.ckpt; None if there is neither.

    Raises:
        InputError: if there are checkpoints and all are damaged.
    """
    candidates = [path for name in (LAST, PREVIOUS) if (path := Path(folder) / name).exists()]
    complaints: list[str] = []
    for path in candidates:
        complaint = damage(path)
        if complaint is None:
            for earlier in complaints:
                print(f"{earlier}; {path} is used instead", flush=True)
            return path
        complaints.append(complaint)
    if complaints:
        raise InputError("; ".join(complaints))
    return None


def refuse_other_model(checkpoint: Mapping[str, Any], module: nn.Module, path: str | Path) -> None:
    """Compare the tensors of a checkpoint with those of a model.

    Raises:
        InputError: naming the first tensor that one of them lacks, or that differs in shape.
    """
    found, wanted = checkpoint["state_dict"], module.state_dict()
    for name in [*wanted, *found]:
        if name not in found or name not in wanted:
            where = "the model has no" if name in found else "it lacks"
            raise InputError(f"{path} is from another model: {where} {name}")
        if isinstance(wanted[name], torch.Tensor) and found[name].shape != wanted[name].shape:
            shapes = f"{list(found[name].shape)}, not {list(wanted[name].shape)}"
            raise InputError(f"{path} is from another model: {name} is {shapes}")


class Checkpointer(Callback):
    """Saves last.ckpt every `every` iterations and at the end, and best.ckpt when the monitored score improves.

    Comes last in the list of callbacks: what the others do at an iteration is then in its checkpoint. After an error or
    a non-finite value nothing is saved: the step that failed may be half done.

    Args:
        folder: the run's `checkpoints/`.
        every: iterations between two checkpoints.
        monitor: a score such as "eval/frechet", which the module keeps in `scores` on every process; or None.
        config: of the run, which says whether more of the score is better.
    """

    def __init__(
        self, folder: str | Path, every: int, monitor: str | None = None, config: Mapping[str, Any] | None = None
    ):
        self.folder, self.every, self.monitor, self.config = Path(folder), every, monitor, config
        self.best: float | None = None
        self._saved: tuple[int, dict[str, float]] | None = None  # what the newest last.ckpt has seen

    def state_dict(self) -> dict[str, Any]:
        """The best score so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score so far."""
        self.best = state_dict["best"]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        """Save where it is time, and as soon as it is clear that the run ends."""
        self.save(trainer, pl_module, last=trainer.should_stop or pl_module.iteration % self.every == 0)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save the end of the run, its final scores known."""
        self.save(trainer, pl_module, last=True)

    def save(self, trainer: Trainer, module: Any, last: bool) -> None:
        """Save best.ckpt if the monitored score is the best so far; if `last`, last.ckpt too, unless nothing is new."""
        score = module.scores.get(self.monitor)
        if score is not None and improves(str(self.monitor), float(score), self.best, self.config):
            self.best = float(score)
            self._save(trainer, BEST)
        seen = (module.iteration, dict(module.scores))
        if last and seen != self._saved:
            self._save(trainer, LAST)
            self._saved = seen

    def _save(self, trainer: Trainer, name: str) -> None:
        with paused(trainer):
            for logger in trainer.loggers:
                logger.save()
            trainer.save_checkpoint(self.folder / name, weights_only=False)  # with optimisers and callbacks


def improves(monitor: str, score: float, best: float | None, config: Mapping[str, Any] | None = None) -> bool:
    """Whether a score is better than the best so far. A NaN never is."""
    if score != score:
        return False
    if best is None:
        return True
    return score > best if higher_is_better(monitor, config) else score < best
