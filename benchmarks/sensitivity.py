"""The studies of docs/sensitivity.md: python benchmarks/sensitivity.py gulrajani lr_beta

For each study that was run before,

    python src/train.py -m study=gulrajani study.jobs=2 logger=none hydra.sweep.dir=logs/sweep/gulrajani
    python benchmarks/sensitivity.py gulrajani

makes the report of logs/sweep/<study>, copies its figures to docs/images/sensitivity/<study>/ and its tables to
benchmarks/results/sensitivity/<study>/, and writes what the report says, with the scores of all cells, between the
marks of docs/sensitivity.md. Runs that have not finished are counted as such. `sweep=DIR` before a name reads another
folder.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

from runs import IMAGES, RESULTS, ROOT

DOC = ROOT / "docs" / "sensitivity.md"
SHOWN = (
    "interactions",
    "failures",
    "main_effects",
    "importance",
    "budget",
    "samples",
)  # in the document, in this order
OPTIONS = {  # of the report: which setting colours show, and which the sample grids
    "gulrajani": ["by=model", "rows=experiment", "columns=model"],
    "lr_beta": ["by=loss", "rows=model.beta1", "columns=model.g_lr"],
}
CAPTIONS = {
    "interactions": "Mean scores over two settings at a time; darker is better",
    "failures": "Shares of runs that diverged, collapsed or failed",
    "main_effects": "Mean scores of each level of each setting, with 95% intervals over seeds",
    "importance": "Shares of the variance that settings explain",
    "budget": "The best score to expect of k runs",
    "samples": "Samples of the run with the median score of each cell",
}


def main(words: Sequence[str]) -> None:
    """Do what the command line says."""
    folder: Path | None = None
    for word in words:
        if word.startswith("sweep="):
            folder = Path(word.removeprefix("sweep="))
            continue
        keep_study(word, folder or ROOT / "logs" / "sweep" / word)
        folder = None
    if not words:
        sys.exit(__doc__)


def keep_study(study: str, sweep: Path) -> None:
    """Make the report of a sweep, and copy what the document shows of it."""
    report = [sys.executable, "src/report.py", f"sweep={sweep.resolve()}", *OPTIONS.get(study, [])]
    subprocess.run(report, cwd=ROOT, check=True)
    made = sweep / "report"
    pictures, tables = IMAGES / "sensitivity" / study, RESULTS / "sensitivity" / study
    for target, pattern in ((pictures, "*.png"), (tables, "*.csv")):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for path in sorted(made.glob(pattern)):
            shutil.copy(path, target / path.name)
    write_between(study, section(study, made))
    print(f"{study}: {pictures}, {tables}, {DOC}", flush=True)


def section(study: str, made: Path) -> str:
    """What the document says of a study, in markdown: the report's summary, all cells, the figures."""
    lines = [summary(made / "report.html"), "", *cells(made), ""]
    for name in SHOWN:
        if (made / f"{name}.png").exists():
            lines += [f"![{CAPTIONS[name]}](images/sensitivity/{study}/{name}.png)", "", f"*{CAPTIONS[name]}.*", ""]
    files = f"../benchmarks/results/sensitivity/{study}"
    return "\n".join([*lines, f"Tables: [runs]({files}/runs.csv), [cells]({files}/settings.csv)."])


def summary(page: Path) -> str:
    """The first paragraph of a report."""
    found = re.search(r'<p class="summary">(.*?)</p>', page.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise SystemExit(f"{page} has no summary")
    return f"> {unescape(found[1])}"


def cells(made: Path) -> list[str]:
    """All combinations of settings, best mean first, as a table."""
    with (made / "settings.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0])[: list(rows[0]).index("runs")]
    head = [*(f"`{name}`" for name in names), "seeds", "mean", "95% interval", "diverged", "collapsed", "failed"]
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(cell(r, names))} |" for r in rows)]


def cell(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The fields of a combination."""
    interval = f"{float(row['low']):.4g} to {float(row['high']):.4g}" if row["low"] else "too few seeds"
    mean = f"{float(row['mean']):.4g}" if row["mean"] else "none"
    counts = [row[name] if row[name] != "0" else "" for name in ("diverged", "collapsed", "failed")]
    return [*(row[name].removeprefix("gulrajani/") for name in names), row["scored"], mean, interval, *counts]


def write_between(study: str, text: str) -> None:
    """Replace what is between the marks of a study."""
    begin, end = f"<!-- {study}: begin -->", f"<!-- {study}: end -->"
    before, _, rest = DOC.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    if not rest:
        raise SystemExit(f"{DOC} has no {begin}")
    DOC.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
