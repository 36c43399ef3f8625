"""The folder of a run: its config, results and checkpoints, and who may write there. Free of torch."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from saddle.config.check import length
from saddle.config.instantiate import refuse_foreign, refuse_resolvers
from saddle.errors import InputError
from saddle.run.status import describe

FAULTS = ("failed", "nonfinite")


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


def refuse_links(folder: Path) -> None:
    """Raise an InputError if a link in a folder, at any depth, leads out of it: what is written there would follow it.

    W&B's own folder is left out; it links to its log.
    """
    inside = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise InputError(f"{path} is a link out of the folder, and would be written to: put the file there")
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
            path.parent.mkdir(parents=True, exist_ok=True)
            candidate.mkdir()
            return candidate
        except OSError as error:
            if not candidate.is_dir():
                raise InputError(f"{candidate}: this folder cannot be made: {error.strerror}") from None
            number += 1


class RunFolder:
    """What a run leaves behind in a folder, which need not exist yet."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"  # resolved and complete
        self.results_file = self.path / "results.json"  # how the run ended, and its figures
        self.checkpoints = self.path / "checkpoints"  # last.ckpt, previous.ckpt and best.ckpt
        self.samples = self.path / "samples"  # the sample grids

    def begin(self, config: Mapping[str, Any]) -> None:
        """Write the config of a run that starts or goes on here; how the run ended before is forgotten."""
        for folder in (self.path, self.checkpoints, self.samples):
            folder.mkdir(parents=True, exist_ok=True)
        self.results_file.unlink(missing_ok=True)
        write_atomic(self.config_file, OmegaConf.to_yaml(OmegaConf.create(dict(config))))

    def config(self) -> DictConfig:
        """The config of the run, all of whose values are plain.

        Raises:
            InputError: if there is none, it cannot be read, or a value would have to be resolved.
        """
        if not self.config_file.is_file():
            raise InputError(f"{self.path} is not a run folder: it has no config.yaml")
        try:
            config = OmegaConf.load(self.config_file)
        except (OSError, ValueError, YAMLError) as error:
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
        failed.
        """
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
        enough = iterations is not None and results.get("iterations", -1) >= iterations
        return enough or (minutes is not None and results.get("seconds", 0) >= 60 * minutes)
