"""The runs of a sweep, as their folders tell them. Free of torch."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from saddle.config.compose import near
from saddle.config.ranges import is_number
from saddle.errors import InputError
from saddle.run.status import PRUNED

INSIDE = ("checkpoints", "samples", "wandb", "report")  # folders in which no run is looked for
UNFINISHED = "unfinished"  # no results.json: the run goes on, or was killed
ABSENT = "absent"  # the value of a key that a run's config does not have
LOSSES = ("train/d_loss", "train/g_loss")

Curve = tuple[list[int], list[float]]


@dataclass(frozen=True)
class Run:
    """What one run left behind.

    Attributes:
        folder: of the run.
        name: of the folder, relative to the sweep's.
        config: its config by dotted key; empty where it could not be read.
        results: of results.json; empty where there is none.
        curves: by column of metrics.csv the iterations and the values that are finite.
        grid: the last sample grid, or None.
        overrides: of a sweep's job what its command line said, by key; None for a run of no sweep.
    """

    folder: Path
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    grid: Path | None = None
    overrides: Mapping[str, str] | None = None

    @property
    def status(self) -> str:
        """How it ended: done, failed, nonfinite, preempted, interrupted, or unfinished."""
        return str(self.results.get("status") or UNFINISHED)

    @property
    def diverged(self) -> bool:
        """Whether it met a value that is not finite."""
        return self.status == "nonfinite" or bool(self.results.get("diverged"))

    @property
    def collapsed(self) -> bool:
        """Whether its generator lost most classes, or most of its best score, at its end."""
        return bool(self.results.get("collapsed")) and self.status == "done" and not self.diverged

    @property
    def hopeless(self) -> bool:
        """Whether a search ended it, because it was worse than the others."""
        return self.status == PRUNED

    @property
    def ended(self) -> bool:
        """Whether it did all that was asked for, or broke down numerically; a crash says nothing of the settings."""
        return self.status in ("done", "nonfinite")

    @property
    def ending(self) -> str:
        """How it ended, in words: its status, and what went wrong besides."""
        diverged, collapsed = self.diverged and self.status != "nonfinite", self.collapsed
        return ", ".join([self.status, *["diverged"] * diverged, *["collapsed"] * collapsed])

    def score(self, name: str) -> float:
        """The final score; of a run that has none yet the newest one so far; NaN without one or after divergence."""
        final: Any = self.results.get(name)
        if self.diverged:
            return math.nan
        if is_number(final):
            return float(final)
        values = self.curves.get(name, ((), ()))[1]
        return values[-1] if values else math.nan


# ------------------------------------------------------------------------------------------------------------- folders


def read_sweep(folder: str | Path, score: str) -> list[Run]:
    """All runs inside a folder, in the natural order of their names.

    Args:
        folder: a sweep folder, or any folder with run folders at any depth.
        score: a key of results.json or a column of metrics.csv.

    Raises:
        InputError: if there is no such folder, no run inside, or no run has the score; says what is there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"sweep={folder}: there is no such folder")
    if (folder / "config.yaml").is_file():
        raise InputError(f"sweep={folder} is one run; give the folder that holds several")
    found = sorted(run_folders(folder), key=lambda path: natural(str(path)))
    if not found:
        inside = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise InputError(
            f"sweep={folder}: no run folder is inside; a run folder has a config.yaml (there is: {inside})"
        )
    jobs = {parent: jobs_of(parent) for parent in {path.parent for path in found}}
    runs = [replace(read_run(path, folder, score), overrides=jobs[path.parent].get(path.name)) for path in found]
    known = sorted({key for run in runs for key in (*run.results, *run.curves) if key.startswith("eval/")})
    scored = score in known or any(math.isfinite(run.score(score)) for run in runs)
    if not scored and any(run.ended for run in runs):
        listed = ", ".join(known) or "none"
        raise InputError(f"score={score}: no run has it{near(score, known)} (scores: {listed})")
    return runs


def run_folders(folder: Path) -> Iterator[Path]:
    """The folders below `folder` that hold a run: its config, or at least how it failed."""
    for parent, folders, files in os.walk(folder):
        if parent != str(folder) and ("config.yaml" in files or "results.json" in files):
            folders.clear()
            yield Path(parent)
        else:
            folders[:] = [name for name in folders if name not in INSIDE and not name.startswith(".")]


def jobs_of(folder: Path) -> dict[str, dict[str, str]]:
    """What the command line of each job of a sweep said, by run folder and key; empty where no sweep ran."""
    try:
        jobs = read_json(folder / "jobs.json").get("jobs", [])
        words = {job["folder"]: [text.partition("=") for text in job["overrides"]] for job in jobs}
    except (KeyError, TypeError, AttributeError):
        return {}
    return {name: {key.lstrip("+~"): value for key, _, value in given} for name, given in words.items()}


def natural(text: str) -> list[tuple[int, int | str]]:
    """A sort key that puts run 9 before run 10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part]


def read_run(path: Path, sweep: Path, score: str = "eval/frechet") -> Run:
    """What a run folder tells; whatever is missing or broken is left out.

    Args:
        path: of the run folder.
        sweep: the folder that its name is relative to.
        score: a column of metrics.csv to read beside the losses and the other scores.
    """
    grids = sorted(path.glob("samples/*.png"))
    return Run(
        folder=path,
        name=str(plain(str(path.relative_to(sweep)))),
        config=flatten(read_yaml(path / "config.yaml")),
        results={key: plain(value) for key, value in read_json(path / "results.json").items()},
        curves=read_curves(path / "metrics.csv", score),
        grid=grids[-1] if grids else None,
    )


# --------------------------------------------------------------------------------------------------------------- files


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads what OmegaConf reads as numbers: YAML 1.1 would take 1e-4 for a text."""


Loader.yaml_implicit_resolvers = {key: list(value) for key, value in Loader.yaml_implicit_resolvers.items()}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)
_blocks: dict[str, Any] = {}  # the configs of a sweep differ in few of their top-level blocks: each is read once


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file in block style; empty if there is none or it is broken."""
    try:
        text = path.read_text(encoding="utf-8")
        found: dict[str, Any] = {}
        for block in re.split(r"^(?=[^\s#-])", text, flags=re.MULTILINE):
            if block not in _blocks:
                _blocks[block] = yaml.load(block, Loader)
            found |= _blocks[block] or {}
    except Exception:  # of many kinds, as many as there are ways to be no such file
        return {}
    return {str(key): value for key, value in found.items()}


def read_json(path: Path) -> dict[str, Any]:
    """A mapping from a JSON file; empty if there is none or it is broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_curves(path: Path, score: str) -> dict[str, Curve]:
    """The losses and scores of a metrics.csv by column; a last row that a crash cut short is left out."""
    try:
        text = path.read_text(encoding="utf-8")
        rows = [*csv.reader(text[: text.rfind("\n") + 1].splitlines())]
    except (OSError, ValueError, csv.Error):
        return {}
    header = rows[0] if rows else []
    wanted = [(i, name) for i, name in enumerate(header) if name.startswith("eval/") or name in (score, *LOSSES)]
    curves: dict[str, Curve] = {name: ([], []) for _, name in wanted}
    for row in rows[1:]:
        if len(row) != len(header) or not re.match(r"[0-9]{1,15}$", "".join(row[:1])):
            continue
        for i, name in wanted:
            with suppress(ValueError):  # an empty field is no number
                if shown(value := float(row[i])):
                    curves[name][0].append(int(row[0]))
                    curves[name][1].append(value)
    return {name: curve for name, curve in curves.items() if curve[0]}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted key; a list becomes one text, an empty list "none"."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            flat[f"{prefix}{name}"] = plain("+".join(map(str, value)) or "none")
        else:
            flat[f"{prefix}{name}"] = plain(value)
    return {str(plain(name)): value for name, value in flat.items()}


def shown(value: float) -> bool:
    """Whether a number is one that can be drawn: neither infinite, nor so large that its square would be."""
    return abs(value) < 1e100


def plain(value: Any) -> Any:
    """None, a truth value or a number as they are; anything else as text that every file and font takes."""
    if value is None or isinstance(value, bool) or (is_number(value) and shown(value)):
        return value
    return str(value).encode("utf-8", "replace").decode()
