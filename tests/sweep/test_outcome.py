"""What a sweep says in the end: each job's score, best first, and how to make its report."""

import os
from pathlib import Path
from typing import Any

import pytest
from sweeps import config_of, write_run

from saddle.sweep.jobs import Job, Sweep
from saddle.sweep.outcome import LISTED, outcome
from saddle.sweep.running import Plan, run_jobs


def swept(folder: Path, *results: dict[str, Any], monitor: str | None = None) -> Sweep:
    """A sweep whose jobs left these results; an empty one began and left none."""
    for n, given in enumerate(results):
        config = config_of({}, n) | {"checkpoint": {"monitor": monitor}}
        write_run(folder / f"{n}_job", config, None, **({"status": None} | given))
    return Sweep(folder, os.path.abspath("src/train.py"), jobs=[Job(f"{n}_job", []) for n in range(len(results))])


def done(score: float | None, name: str = "eval/frechet", **results: Any) -> dict[str, Any]:
    return {"status": "done", "eval/frechet": None, name: score, **results}


def test_the_best_is_first_and_what_has_no_score_last(tmp_path: Path) -> None:
    sweep = swept(
        tmp_path,
        done(20.0),
        {"status": "failed"},
        done(5.25, collapsed=True),
        {},
        done(1.0, diverged=True),
    )
    assert [line.split() for line in outcome(sweep)] == [
        ["job", "status", "eval/frechet"],
        ["2_job", "done,", "collapsed", "5.25"],
        ["0_job", "done", "20"],
        ["1_job", "failed"],
        ["3_job", "unfinished"],
        ["4_job", "done,", "diverged"],
        ["report:", "python", "src/report.py", f"sweep={tmp_path}"],
    ]


@pytest.mark.parametrize(
    ("given", "monitor", "best"),
    [
        ({}, "eval/inception_score", "1_job"),  # more of it is better
        ({}, None, "0_job"),  # the first that the jobs have: eval/frechet
        ({"score": "seconds"}, "eval/inception_score", "0_job"),  # a search's objective
        ({"score": "seconds", "higher": True}, None, "1_job"),
    ],
)
def test_by_which_score(tmp_path: Path, given: dict[str, Any], monitor: str | None, best: str) -> None:
    jobs = [done(3.0 + n, **{"eval/inception_score": 5.0 + n, "seconds": 10.0 + n}) for n in range(2)]
    lines = [*outcome(swept(tmp_path, *jobs, monitor=monitor), **given)]
    assert lines[1].split()[0] == best
    name = lines[0].split()[2]
    assert name == given.get("score", monitor or "eval/frechet")
    assert lines[-1].endswith(f"sweep={tmp_path}" + ("" if name == "eval/frechet" else f" score={name}"))


def test_a_long_sweep_is_cut_short_and_one_without_scores_has_no_report(tmp_path: Path) -> None:
    lines = [*outcome(swept(tmp_path / "a sweep", *(done(float(n)) for n in range(LISTED + 5))))]
    assert len(lines) == LISTED + 3 and lines[-2] == "and 5 more"
    assert lines[-1].startswith("report: python src/report.py 'sweep=") and "/a sweep" in lines[-1]
    (tmp_path / "b" / "0").mkdir(parents=True)
    assert [
        line.split() for line in outcome(Sweep(tmp_path / "b", os.path.abspath("src/train.py"), jobs=[Job("0", [])]))
    ] == [
        ["job", "status"],
        ["0", "unfinished"],
    ]


def test_it_is_printed_when_no_job_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_jobs(swept(tmp_path, done(20.0)), Plan([])) == []
    assert capsys.readouterr().out.splitlines()[-1] == f"report: python src/report.py sweep={tmp_path}"


def test_where_the_package_is_installed_the_report_is_the_commands(tmp_path: Path) -> None:
    sweep = swept(tmp_path, done(20.0))
    sweep.script = "/site-packages/saddle/scripts/train.py"
    assert [*outcome(sweep)][-1] == f"report: saddle report sweep={tmp_path}"
