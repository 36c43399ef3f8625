"""The folder of a run: its config, results and checkpoints, and who may write there. Free of torch."""

from __future__ import annotations

import fcntl
import json
import math
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from saddle.config.check import length
from saddle.config.instantiate import refuse_foreign, refuse_resolvers
from saddle.config.ranges import is_int, is_number
from saddle.errors import InputError
from saddle.run.status import describe

FAULTS = ("failed", "nonfinite")
SAVED = ("done", "preempted", "interrupted")  # ends of a run at which it saves
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
LOCK = ".lock"  # in a folder: held by the process that writes it

_locks: set[int] = set()  # descriptors that processes forked from this one shall not hold


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when all is written: a reader, or a crash, sees the old or the new."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)  # of a process that was killed, or a link that would be followed
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # so that the new name survives a power cut
    finally:
        os.close(descriptor)


def write_atomic(path: Path, text: str) -> None:
    """Replace a text file at once."""
    with replacing(path) as file:
        file.write(text.encode())


def refuse_links(folder: Path, trust: Collection[str] = ()) -> None:
    """Raise an InputError if a link in a folder, at any depth, leads out of it: what is written there would follow it.

    Links to places to `trust`, or into them, are the user's own. W&B's own folder is left out; it links to its log.
    """
    places = [folder.resolve(), *(Path(place).resolve() for place in trust)]
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in places):
                remedy = f"put the file there, or if that is your own, add trust=['{path.resolve()}']"
                raise InputError(f"{path} is a link out of the folder, and would be written to: {remedy}")
        folders[:] = [name for name in folders if name != "wandb"]


def make_unique(path: Path) -> Path:
    """Make the folder `path`, or the first of `path-1`, `path-2`, ... that is not there; never one that exists.

    Raises:
        InputError: if it cannot be made.
    """
    number = 0
    while True:
        candidate = path if number == 0 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            if not candidate.parent.is_dir():
                raise InputError(f"{candidate}: {candidate.parent} is no folder") from None
            number += 1
        except OSError as error:
            raise InputError(f"{candidate} cannot be made: {error.strerror}") from None


@contextmanager
def held(folder: Path, busy: str, by_children: bool = False) -> Iterator[int]:
    """Hold a folder's lock, which the system releases when this process ends, however; yields its descriptor.

    Where the file system has no locks, nothing is held. Processes that are forked from this one let go of it, so that
    none that outlives it keeps the folder; with `by_children` those that the descriptor is handed to hold it too.

    Raises:
        InputError: `busy` if another process holds it; or that the folder cannot be written.
    """
    try:  # never through a link, and not emptied
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {LOCK}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(busy) from None
        except OSError:
            pass
        if not by_children:
            _locks.add(lock)
        yield lock
    finally:
        _locks.discard(lock)
        os.close(lock)


def _let_go() -> None:
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_let_go)


class RunFolder:
    """What a run leaves behind in a folder, which need not exist yet.

    Args:
        path: of the folder.
        made: whether this process has made it.
    """

    def __init__(self, path: str | Path, made: bool = False):
        self.path, self.made = Path(path), made
        self.begun = False  # by this process; before it has begun, what is in the folder stays as it is
        self.config_file = self.path / "config.yaml"  # resolved and complete
        self.results_file = self.path / "results.json"  # how the run ended, and its figures
        self.tables = (self.path / "metrics.csv", self.path / "timing.csv")
        self.checkpoints = self.path / "checkpoints"  # last.ckpt, previous.ckpt, best.ckpt and those that are kept
        self.samples = self.path / "samples"  # the sample grids

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, as the only process that writes it; of several processes of a run the first one does.

        Raises:
            InputError: if another process does, or it cannot be written.
        """
        busy = f"{self.path}: another process trains this run already; wait until it has ended"
        with held(self.path, busy):
            try:
                yield
            finally:
                self._discard()

    def refuse_second(self) -> None:
        """Raise an InputError if a new run would write over what another one has left here."""
        if self.config_file.exists():
            remedy = f"continue it by resume={self.path}, or choose another hydra.run.dir"
            raise InputError(f"{self.path} holds a run already: {remedy}")
        left = next((path for path in (*self.tables, *checkpoints_in(self.checkpoints)) if path.exists()), None)
        if left is not None:
            raise InputError(f"{self.path} holds {left.name} of a run, without its config.yaml: choose another folder")

    def refuse_folders(self) -> None:
        """Raise an InputError if a folder has the name of a file that the run is going to write."""
        checkpoints = (self.checkpoints / name for name in (LAST, PREVIOUS, BEST))
        for path in (self.config_file, self.results_file, *self.tables, *checkpoints):
            if path.is_dir():
                raise InputError(f"{path} is a folder, where a run has a file: move it away")

    def refuse_lost(self, every: int) -> None:
        """Raise an InputError if the run had saved checkpoints, every so many iterations, and none is there."""
        if checkpoints_in(self.checkpoints):
            return
        results = self.results()
        told = results.get("iterations") if is_int(results.get("iterations")) else 0
        reached = max(int(told or 0), *map(last_iteration, self.tables))
        if reached > every or (results.get("status") in SAVED and reached > 0):
            raise InputError(
                f"{self.checkpoints}: no checkpoint is there, and the run had come to iteration {reached:,}: put "
                f"{LAST} back, or start a new run without resume="
            )

    def _discard(self) -> None:
        """Remove the folder if this process has made it and left nothing in it but the lock."""
        with suppress(OSError):  # somebody was faster
            if self.made and {path.name for path in self.path.iterdir()} <= {LOCK}:
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()

    def begin(self, config: Mapping[str, Any], first: bool = True) -> None:
        """Write the config of a run that starts or goes on here; how the run ended before is forgotten.

        Every process of a run begins it, and the `first` one writes.

        Raises:
            InputError: if it cannot be written.
        """
        if first:
            try:
                for folder in (self.path, self.checkpoints, self.samples):
                    folder.mkdir(parents=True, exist_ok=True)
                self.results_file.unlink(missing_ok=True)
                write_atomic(self.config_file, OmegaConf.to_yaml(OmegaConf.create(dict(config))))
            except OSError as error:
                raise InputError(f"{self.path} cannot be written: {error.filename}: {error.strerror}") from None
        self.begun = True

    def config(self) -> DictConfig:
        """The config of the run, all of whose values are plain.

        Raises:
            InputError: if there is none, it cannot be read, or a value would have to be resolved.
        """
        try:
            config = OmegaConf.load(self.config_file)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{self.path} is not a run folder: it has no config.yaml") from None
        except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self.config_file} cannot be read: {reason}") from None
        if not isinstance(config, DictConfig):
            raise InputError(f"{self.config_file} is not the config of a run")
        refuse_resolvers(OmegaConf.to_container(config), self.config_file)
        return config

    def config_to_build(self, trust: Collection[str] = (), replaced: Collection[str] = ()) -> DictConfig:
        """The config of the run, whoever made it: what is built from it is of this code, or of packages to `trust`.

        Groups that will be `replaced` may hold anything.

        Raises:
            InputError: as `config`, and if it names what a folder may not, see `refuse_foreign`.
        """
        config = self.config()
        kept = OmegaConf.masked_copy(config, [str(key) for key in config if key not in replaced])
        refuse_foreign(OmegaConf.to_container(kept), trust, self.config_file)
        return config

    def results(self) -> dict[str, Any]:
        """The contents of results.json; empty if it is not there or cannot be read."""
        try:
            found = json.loads(self.results_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def record(self, **values: Any) -> None:
        """Add values to results.json, or replace them. NaN and infinities are written as null."""
        merged = {**self.results(), **values}
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in merged.items()}
        write_atomic(self.results_file, json.dumps(finite, indent=2) + "\n")

    def end(self, status: str, error: BaseException | None, first: bool) -> str:
        """Write down how the run ended, and return it by all that is known: a key of `EXIT_STATUS`.

        Of several processes that fail, the first one's error is kept. One that is not the `first` writes only that it
        failed. Where this process has begun nothing, nothing is written.
        """
        if not self.begun:
            return status
        known = self.results().get("status")
        if status == "failed" and known in FAULTS:
            return known
        if not first and status not in FAULTS:
            return status
        try:
            self.record(status=status, error=None if error is None else describe(error))
        except OSError as unwritable:
            print(f"error: {self.results_file} cannot be written: {unwritable}", file=sys.stderr)
        return status

    def finished(self, config: Mapping[str, Any] | DictConfig) -> bool:
        """Whether the run has ended by itself and `config` asks for no more."""
        results = self.results()
        if results.get("status") != "done":
            return False
        iterations, minutes = length(config)
        reached, seconds = results.get("iterations"), results.get("seconds")
        enough = iterations is not None and is_int(reached) and int(reached or 0) >= iterations
        return enough or (minutes is not None and is_number(seconds) and float(seconds or 0) >= 60 * minutes)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a run's `checkpoints/` that are there."""
    return sorted(path for path in folder.glob("*.ckpt") if path.is_file() and path.name[0] != ".")


def last_iteration(table: Path) -> int:
    """The iteration of a CSV file's last row that can be read; 0 without any."""
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    found = (line.partition(",")[0] for line in reversed(lines))
    return next((int(cell) for cell in found if is_iteration(cell)), 0)


def is_iteration(cell: str | None) -> bool:
    """Whether a cell of a CSV file is the number of an iteration."""
    return bool(cell and cell.isascii() and cell.isdigit() and len(cell) < 19)
