"""The folder of a run: its config, results and checkpoints, and who may write there. Free of torch."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from saddle.config.check import length
from saddle.errors import InputError
from saddle.run.status import describe

FAULTS = ("failed", "nonfinite")
RUN_DIR = "SADDLE_RUN_DIR"  # tells the processes that a run starts where its folder is


def write_atomic(path: Path, text: str) -> None:
    """Replace a text file at once: a reader, or a crash, sees the old text or the new."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_unique(path: Path) -> Path:
    """Make the folder `path`, or the first of `path-1`, `path-2`, ... that is not there; never one that exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        candidate = path if number == 0 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir()
            return candidate
        except FileExistsError:
            number += 1


def job_name(number: int, overrides: list[str]) -> str:
    """Name of a sweep job's folder: its number and what varies, without characters that shells or Hydra would read."""
    words = re.sub(r"[^\w.+-]+", "-", "_".join(text.lstrip("+~") for text in overrides)).strip("-_")
    return f"{number}_{words[:120]}" if words else str(number)


def is_first_process() -> bool:
    """Whether this process is the one that writes: rank 0, as far as the environment tells before training."""
    if "RANK" in os.environ:  # torchrun
        return os.environ["RANK"] == "0"
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:  # srun
        return os.environ["SLURM_PROCID"] == "0"
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


class RunFolder:
    """What a run leaves behind.

    Args:
        path: the folder; need not exist yet.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def config_file(self) -> Path:
        """The resolved, complete config."""
        return self.path / "config.yaml"

    @property
    def results_file(self) -> Path:
        """How the run ended, and its figures."""
        return self.path / "results.json"

    @property
    def checkpoints(self) -> Path:
        """Folder with last.ckpt, previous.ckpt and best.ckpt."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Folder with the sample grids."""
        return self.path / "samples"

    def begin(self, config: Mapping[str, Any]) -> None:
        """Write the config of a run that starts or goes on here; how the run ended before is forgotten."""
        for folder in (self.path, self.checkpoints, self.samples):
            folder.mkdir(parents=True, exist_ok=True)
        self.results_file.unlink(missing_ok=True)
        write_atomic(self.config_file, OmegaConf.to_yaml(OmegaConf.create(dict(config))))

    def config(self) -> DictConfig:
        """The config of the run.

        Raises:
            InputError: if there is none, or it cannot be read.
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
        finite = {key: None if _is_nonfinite(value) else value for key, value in merged.items()}
        write_atomic(self.results_file, json.dumps(finite, indent=2) + "\n")

    def end(self, status: str, error: BaseException | None, first: bool) -> str:
        """Write down how the run ended. Of several processes that fail, the first one's error is kept.

        Args:
            status: a key of `EXIT_STATUS`.
            error: what ended the run, or None.
            first: whether this is the process that writes; another one writes only that it failed.

        Returns:
            How the run ended, by all that is known.
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


def _is_nonfinite(value: Any) -> bool:
    return isinstance(value, float) and (value != value or value in (float("inf"), float("-inf")))


def new_folder(wanted: str, given: bool) -> RunFolder:
    """The folder of a new run.

    Args:
        wanted: `hydra.run.dir`.
        given: whether the user named it; else a suffix makes it unique.

    Raises:
        InputError: if it holds a run, or this process cannot know the folder that another one made.
    """
    if RUN_DIR in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":
        return RunFolder(os.environ[RUN_DIR])
    if not is_first_process():
        if not given:
            raise InputError("processes that start by themselves need one folder: give hydra.run.dir=DIR")
        return RunFolder(wanted)
    folder = RunFolder(wanted)
    if not given:
        return RunFolder(make_unique(folder.path))
    if folder.config_file.exists():
        raise InputError(
            f"{wanted} holds a run already: continue it by resume={wanted}, or choose another hydra.run.dir"
        )
    return folder
