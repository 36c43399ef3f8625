"""What the studies here share: a run by the real command, left alone where it is done, and its files read back."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"


def train(name: str, overrides: Sequence[str]) -> Path:
    """The folder logs/benchmarks/<name> of a finished run with these overrides; trained now if it is not there."""
    folder = ROOT / "logs" / "benchmarks" / name
    if status(folder) != "done":
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "src/train.py", *overrides, "logger=none", f"hydra.run.dir={folder}"]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        print(f"{name}: {status(folder)}", flush=True)
    return folder


def status(folder: Path) -> str | None:
    """How the run in a folder ended; None where it has not."""
    return results(folder).get("status")


def results(folder: Path) -> dict[str, Any]:
    """results.json of a run folder, empty where there is none."""
    path = folder / "results.json"
    return json.loads(path.read_text()) if path.exists() else {}


def series(folder: Path, column: str) -> tuple[list[int], list[float]]:
    """Iterations and values of a column of metrics.csv, where it has one."""
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get(column)]
    return [int(row["iteration"]) for row in rows], [float(row[column]) for row in rows]


def keep(name: str, record: Any) -> None:
    """Write benchmarks/results/<name>.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def insert(name: str, text: str, document: Path) -> None:
    """Put `text` between the lines `<!-- name: begin -->` and `<!-- name: end -->` of a Markdown document."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, _, rest = document.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{document}: no lines {begin.strip()} and {end}")
    document.write_text(before + begin + text.rstrip("\n") + "\n" + end + after)
