"""Checkpoints that a crash cannot spoil, and that cannot run code when they are loaded."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Callback, Trainer
from torch import nn

from saddle.errors import InputError, cause_of
from saddle.run.direction import higher_is_better
from saddle.run.folder import BEST, LAST, PREVIOUS, checkpoints_in, replacing
from saddle.run.stopwatch import paused


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
            with previous_kept(path), replacing(path) as file:
                torch.save(dict(checkpoint), file)
        except (OSError, RuntimeError) as error:  # torch turns the file's OSError into a RuntimeError
            reason = getattr(cause_of(error, OSError), "strerror", None) or str(error)
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


@contextmanager
def previous_kept(path: Path) -> Iterator[None]:
    """Keep what last.ckpt was as previous.ckpt, when the block has put another in its place; of other names nothing."""
    if path.name != LAST or not path.is_file():
        yield
        return
    previous = path.with_name(PREVIOUS)
    beside = duplicate(path, previous)
    try:
        yield
        os.replace(beside, previous)  # only now: all the time there are two, and a damaged last.ckpt costs neither
    finally:
        beside.unlink(missing_ok=True)


def duplicate(path: Path, other: Path) -> Path:
    """A second name of a file, or a copy where there are no hard links, beside `other`, whose place it is to take."""
    beside = other.with_name(f".{other.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        os.link(path, beside)
    except OSError:  # a file system without hard links
        try:
            shutil.copyfile(path, beside)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    return beside


def name_too(path: Path, other: Path) -> None:
    """Give a checkpoint a second name, so that at every moment either file is whole."""
    with previous_kept(other):
        os.replace(duplicate(path, other), other)


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
    """The checkpoint in a run's `checkpoints/` from which it goes on; None if there is none.

    It is last.ckpt, else previous.ckpt, else the newest of those that are kept, which are whole too.

    Raises:
        InputError: if there are checkpoints and all are damaged.
    """
    folder = Path(folder)
    usual = [folder / name for name in (LAST, PREVIOUS)]
    others = [path for path in checkpoints_in(folder) if path not in usual]
    return first_good([*usual, *sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)])


def first_good(candidates: Iterable[Path]) -> Path | None:
    """The first that is there and not damaged, and on the terminal why none before it; None if none is there.

    Raises:
        InputError: if all that are there are damaged.
    """
    complaints: list[str] = []
    there = False
    for path in candidates:
        complaint = damage(path)
        if complaint is None:
            for earlier in complaints:
                print(f"{earlier}; {path} is used instead", flush=True)
            return path
        complaints.append(complaint)
        there = there or path.is_file()
    if there:
        raise InputError("; ".join(complaints))
    return None


def find_weights(folder: Path, weights: str | int) -> Path:
    """The checkpoint in a run's `checkpoints/` that `weights` names: "last", "best", or the iteration of a kept one.

    Raises:
        InputError: if it is not there, or damaged.
    """
    if weights == "last":
        found = first_good([folder / LAST, folder / PREVIOUS])
    else:
        name = BEST if weights == "best" else snapshot(int(weights)) if str(weights).isdecimal() else ""
        found = folder / name if name and (folder / name).is_file() else None
    if found is None:
        names = (path.stem.partition("_")[2] for path in folder.glob("iteration_*.ckpt"))
        kept = sorted(int(name) for name in names if name.isdecimal())
        there = [path.stem for path in (folder / LAST, folder / BEST) if path.is_file()]
        listed = ", ".join([*there, *map(str, kept)]) or "none"
        raise InputError(f"weights={weights}: {folder} has no such checkpoint (there are: {listed})")
    return found


def snapshot(iteration: int) -> str:
    """Name of the checkpoint of an iteration that is kept."""
    return f"iteration_{iteration:08d}.ckpt"


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
    """Saves last.ckpt every `every` iterations and at the end, best.ckpt when the score improves, and what is kept.

    Comes last in the list of callbacks: what the others do at an iteration is then in its checkpoint. After an error or
    a non-finite value nothing is saved: the step that failed may be half done.

    Args:
        folder: the run's `checkpoints/`.
        every: iterations between two checkpoints.
        monitor: a score such as "eval/frechet", which the module keeps in `scores` on every process; or None.
        config: of the run, which says whether more of the score is better.
        keep: what stays as iteration_00010000.ckpt: a checkpoint after so many iterations (`every`), after so many
            thousand real images (`kimg`), and so many of the best (`best`; of one, best.ckpt is enough). 0 keeps none.
    """

    def __init__(
        self,
        folder: str | Path,
        every: int,
        monitor: str | None = None,
        config: Mapping[str, Any] | None = None,
        keep: Mapping[str, Any] | None = None,
    ):
        self.folder, self.every, self.monitor, self.config = Path(folder), every, monitor, config
        self.keep = {"every": 0, "kimg": 0, "best": 1, **(keep or {})}
        self.best: list[tuple[float, int]] = []  # scores and their iterations, the best first
        self.kept: list[int] = []  # iterations that stay, whatever their scores
        self._kimg = 0.0  # before the present iteration
        self._scored: float | None = None  # the newest score that was looked at; a module keeps it until the next
        self._saved: tuple[int, dict[str, float]] | None = None  # what the newest last.ckpt has seen

    def state_dict(self) -> dict[str, Any]:
        """The best scores so far, and what is kept."""
        return {"best": list(self.best), "kept": list(self.kept)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best scores so far."""
        self.best, self.kept = [(score, when) for score, when in state_dict["best"]], list(state_dict["kept"])

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """See where the images are counted from."""
        self._kimg = pl_module.kimg

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        """Save where it is time, and as soon as it is clear that the run ends."""
        iteration, every, kimg = pl_module.iteration, self.keep["every"], self.keep["kimg"]
        stays = every and iteration % every == 0 or kimg and pl_module.kimg // kimg > self._kimg // kimg
        self._kimg = pl_module.kimg
        self.save(trainer, pl_module, bool(stays), last=trainer.should_stop or iteration % self.every == 0)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save the end of the run, its final scores known."""
        self.save(trainer, pl_module, stays=False, last=True)

    def save(self, trainer: Trainer, module: Any, stays: bool, last: bool) -> None:
        """Save what `stays`, what is among the best so far, and `last`, unless nothing is new.

        last.ckpt is always the last to be written, and the same file under another name: what it tells of the others
        is true, and a run that is killed in between goes on from the one before, and writes them again.
        """
        iteration, names = module.iteration, [snapshot(module.iteration)] if stays else []
        self.kept += [iteration] if stays else []
        before, score = self.best, module.scores.get(self.monitor)
        if score is not None and score == score and score != self._scored:
            self._scored = float(score)
            self._rank(self._scored, iteration)
        if self.best != before and any(when == iteration for _, when in self.best):
            names += [snapshot(iteration)] if self.keep["best"] > 1 and not stays else []
            names += [BEST] if self.best[0][1] == iteration else []
        seen = (iteration, dict(module.scores))
        if not names and not (last and seen != self._saved):
            return
        first, *others = [*names, LAST]
        with paused(trainer):
            for logger in trainer.loggers:
                logger.save()
            trainer.save_checkpoint(self.folder / first, weights_only=False)  # with optimisers and callbacks
            if trainer.is_global_zero:
                for name in others:
                    name_too(self.folder / first, self.folder / name)
                for when in {i for _, i in before} - {i for _, i in self.best} - {*self.kept}:
                    (self.folder / snapshot(when)).unlink(missing_ok=True)
        self._saved = seen

    def _rank(self, score: float, iteration: int) -> None:
        """Take a score among the best, if it is one of them; a tie goes to the earlier iteration."""
        others = [(s, i) for s, i in self.best if i != iteration]
        ahead = sum(not improves(str(self.monitor), score, s, self.config) for s, _ in others)
        self.best = [*others[:ahead], (score, iteration), *others[ahead:]][: self.keep["best"]]


def improves(monitor: str, score: float, best: float | None, config: Mapping[str, Any] | None = None) -> bool:
    """Whether a score is better than the best so far. A NaN never is."""
    if score != score:
        return False
    if best is None:
        return True
    return score > best if higher_is_better(monitor, config) else score < best
