"""What came of a sweep, in a few lines on the terminal. Free of torch."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from saddle.config.check import get
from saddle.errors import InputError
from saddle.run.direction import higher_is_better
from saddle.sweep.jobs import Sweep, quoted

LISTED = 20  # jobs; the report has all
REPORTED = "eval/frechet"  # the score of a report that is not told which, see conf/report.yaml


def outcome(sweep: Sweep, score: str | None = None, higher: bool = False) -> Iterator[str]:
    """A table of the jobs with their scores, best first, and the command that makes the report of the sweep.

    Args:
        sweep: whose jobs have ended, or not.
        score: what its jobs are compared by; None: the monitored score, else the first that a job has.
        higher: whether more of this `score` is better; it is known of the others.
    """
    jobs = {job.folder: sweep.run_folder(job).results() for job in sweep.jobs}
    if score is None:
        config: Mapping[str, Any] = {}
        with suppress(InputError, StopIteration):
            config = next(sweep.run_folder(job).config() for job in sweep.jobs)
        known = (key for results in jobs.values() for key in results if key.startswith("eval/"))
        score = get(config, "checkpoint.monitor") or next(known, None)
        higher = score is not None and higher_is_better(score, config)
    values = {name: value_of(results, score) for name, results in jobs.items()}
    best_first = sorted(jobs, key=lambda name: (math.isnan(values[name]), -values[name] if higher else values[name]))
    rows = [("job", "status", score or "")]
    for name in best_first[:LISTED]:
        ending = [word for word in ("diverged", "collapsed") if jobs[name].get(word)]
        status = ", ".join([str(jobs[name].get("status", "unfinished")), *ending])
        rows.append((name, status, "" if math.isnan(values[name]) else f"{values[name]:.4g}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, status, value in rows:
        yield f"{name:<{widths[0]}}  {status:<{widths[1]}}  {value:>{widths[2]}}".rstrip()
    if len(jobs) > LISTED:
        yield f"and {len(jobs) - LISTED} more"
    if score is not None:
        simple = re.fullmatch(r"[\w./-]+", str(sweep.folder), re.ASCII)
        where = f"sweep={sweep.folder}" if simple else shlex.quote(f"sweep={quoted(sweep.folder)}")
        script = Path(sweep.script).with_name("report.py")
        here = script.is_relative_to(Path.cwd())  # as from a clone
        command = f"python {script.relative_to(Path.cwd())}" if here else "saddle report"
        yield f"report: {command} {where}{'' if score == REPORTED else f' score={score}'}"


def value_of(results: Mapping[str, Any], score: str | None) -> float:
    """The score of a job that has ended well; NaN of any other."""
    value = results.get(score or "")
    good = isinstance(value, int | float) and not results.get("diverged")
    return float(value) if good and value is not None else math.nan
