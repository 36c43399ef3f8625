"""A search: what optuna proposes and is told, pruning, resuming, and several processes at once."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_run import QUICK, Run
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from saddle.config.compose import Composer
from saddle.errors import InputError
from saddle.run.status import PRUNED
from saddle.sweep.jobs import Job, Sweep
from saddle.sweep.resume import run_rest
from saddle.sweep.running import Plan, run_jobs
from saddle.sweep.search.agent import wandb_sweep
from saddle.sweep.search.options import Check, Objective, Options, make, validate
from saddle.sweep.search.plan import Search, curve
from saddle.sweep.search.space import Axis, Space
from saddle.sweep.search.start import load

pytest.importorskip("optuna")
CONF = Path(__file__).parent.parent.parent / "conf"
COMPOSER = Composer(CONF, "train")
RANDOM = {"_target_": "optuna.samplers.RandomSampler"}
TPE = {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 8, "multivariate": True}
NSGA2 = {
    "_target_": "optuna.samplers.NSGAIISampler",
    "population_size": 10,
    "crossover": {"_target_": "optuna.samplers.nsgaii.BLXAlphaCrossover"},
}
FRECHET = Objective("eval/frechet")
CONFIG = {"study": {"jobs": 2}, "metrics": {"frechet": {}}, "trainer": {"devices": 1, "num_nodes": 1}}


def accept(overrides: Sequence[str]) -> Mapping[str, Any]:
    """A check that finds nothing wrong."""
    return CONFIG


def make_search(
    folder: Path,
    texts: str,
    trials: int = 5,
    objectives: tuple[Objective, ...] = (FRECHET,),
    check: Check = accept,
    **options: Any,
) -> Search:
    """A search of the space `texts`, new or gone on with."""
    folder.mkdir(exist_ok=True)
    sweep = Sweep.load(folder, "job.py") if (folder / "jobs.json").exists() else Sweep(folder, "job.py")
    space = Space.read(texts.split())
    return Search(sweep, space, Options(trials, objectives, **{"sampler": RANDOM, **options}), check)


def values_of(job: Job) -> dict[str, str]:
    """The overrides of a job by key."""
    return dict(text.split("=") for text in job.overrides)


def finish(search: Search, job: Job, **results: Any) -> None:
    """Let a job end."""
    run = search.sweep.run_folder(job)
    run.path.mkdir(exist_ok=True)
    run.record(**results)
    search.ended(job)


def drive(search: Search, score: Callable[..., dict[str, float]], most: int = 10**9) -> list[Job]:
    """Run jobs in no time: score(option=value, ...) gives what results.json holds."""
    jobs: list[Job] = []
    while len(jobs) < most and (job := search.next()) is not None:
        jobs.append(job)
        numbers = {key: float(value) for key, value in values_of(job).items()}
        finish(search, job, status="done", **score(**numbers))
    return jobs


def told(search: Search) -> list[tuple[str, list[float] | None]]:
    """State and values of all trials."""
    return [(t.state.name, t.values) for t in search.study.get_trials()]


# ----------------------------------------------------------------------------------------------------------- the space


def test_a_space_in_hydras_words() -> None:
    texts = [
        "a=tag(log, interval(1e-5, 1e-2))", "b=x,[y,z]", "c=range(1,6,2)", "d=int(interval(2, 8))",
        "e=choice(1,2)", "a=tag(log, interval(1e-4, 1e-2))", "seed=3,4", "minutes=1",
    ]  # fmt: skip
    space = Space.read(texts)
    assert space.fixed == ("minutes=1",) and space.seeds == ("3", "4")
    assert space.axes == (
        Axis("a", (), 1e-4, 1e-2, None, True), Axis("b", ("x", "[y,z]")), Axis("c", (), 1, 5, 2),
        Axis("d", (), 2, 8), Axis("e", ("1", "2")),
    )  # fmt: skip
    assert [axis.whole for axis in space.axes] == [False, False, True, True, False]
    cell = {"c": 3, "b": "[y,z]", "a": 0.002, "d": 5, "e": "1"}
    assert space.jobs(cell) == [["a=0.002", "b=[y,z]", "c=3", "d=5", "e=1", f"seed={seed}"] for seed in (3, 4)]


def test_the_command_line_fixes_an_axis() -> None:
    space = Space.read(["a=1,2", "b=interval(0,1)", "a=5"])
    assert space.fixed == ("a=5",) and [axis.key for axis in space.axes] == ["b"] and space.seeds == ()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a=1", "nothing to search"),
        ("seed=1,2", "nothing to search"),
        ("a=1,2 seed=interval(0,3)", "seeds repeat each cell"),
        ("a=range(3,3)", "empty"),
    ],
)
def test_spaces_that_are_refused(texts: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Space.read(texts.split())


def test_a_logarithm_of_nothing_is_refused() -> None:
    space, options = Space.read(["a=tag(log, interval(0, 1))"]), Options(3, (FRECHET,), RANDOM)
    with pytest.raises(InputError, match="^a: "):
        validate(space, options, accept)


def test_corners_are_all_combinations_or_each_value_once() -> None:
    few = list(Space.read(["a=1,2,3", "b=interval(0,1)"]).corners())
    assert len(few) == 6 and {"a": "3", "b": 1.0} in few
    many = list(Space.read([f"{name}=1,2,3" for name in "abcd"]).corners())
    assert len(many) == 1 + 4 * 2
    assert {(key, cell[key]) for cell in many for key in cell} == {(key, value) for key in "abcd" for value in "123"}


def test_a_wrong_cell_is_named_before_anything_runs() -> None:
    def check(overrides: Sequence[str]) -> Mapping[str, Any]:
        if "b=high" in overrides and "a=1.0" in overrides:
            raise InputError("too much")
        return CONFIG

    space, options = Space.read(["a=interval(0,1)", "b=low,high"]), Options(3, (FRECHET,), RANDOM)
    with pytest.raises(InputError, match=r"cell \(a=1.0 b=high\): too much"):
        validate(space, options, check)
    assert validate(space, options, accept) == 2  # jobs at once
    with pytest.raises(InputError, match="eval/frchet; did you mean eval/frechet"):
        validate(space, Options(3, (Objective("eval/frchet"),), RANDOM), accept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "hydra.sweeper.trials=0"),
        ({"trials": True}, "trials=True"),
        ({"objectives": []}, "must be a list"),
        ({"objectives": [{"score": "a", "direction": "up"}]}, "direction=up: must be minimize or maximize"),
        ({"objectives": [{"score": "a", "penalty": 3}]}, "no option penalty"),
        ({"objectives": [{"score": "a", "failed": "x"}]}, "failed=x"),
        ({"objectives": [{"score": "a"}, {"score": "b"}], "pruner": RANDOM}, "only a search with one objective"),
        ({"sampler": "tpe"}, "must have a _target_"),
    ],
)
def test_wrong_options(changes: dict[str, Any], message: str) -> None:
    right = {"trials": 3, "seed": 0, "objectives": [{"score": "a"}], "sampler": RANDOM, "pruner": None}
    assert Options.read(right).objectives == (Objective("a"),)
    with pytest.raises(InputError, match=message):
        Options.read({**right, **changes})


def test_a_sampler_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="NoSampler"):
        make({"_target_": "optuna.samplers.NoSampler"}, "sampler", seed=0)


# ------------------------------------------------------------------------------------------------------ what it is told


def test_the_mean_over_seeds_is_told(tmp_path: Path) -> None:
    one = make_search(tmp_path, "a=interval(0,1) seed=1,2,6", trials=2)
    jobs = drive(one, lambda a, seed: {"eval/frechet": 10 * a + seed})
    assert [values_of(job)["seed"] for job in jobs] == ["1", "2", "6"] * 2
    assert len({job.folder for job in jobs}) == 6
    for trial in one.study.get_trials():
        assert trial.values == [pytest.approx(10 * trial.params["a"] + 3)]
    with open(tmp_path / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete"] * 2
    assert rows[1]["jobs"].split() == [job.folder for job in jobs[3:]]
    assert float(rows[1]["eval/frechet"]) == one.study.get_trials()[1].value


@pytest.mark.parametrize(
    "bad",
    [
        {"status": "failed"},
        {"status": "nonfinite", "eval/frechet": 1.0, "diverged": True},
        {"status": "done", "eval/frechet": 1.0, "diverged": True},
        {"status": "done"},
        {"status": "done", "eval/frechet": None},
    ],
)
def test_a_seed_that_failed_counts_as_said_or_fails_its_cell(tmp_path: Path, bad: dict[str, Any]) -> None:
    for failed, expected in ((None, [("FAIL", None)]), (50.0, [("COMPLETE", [30.0])])):
        one = make_search(
            tmp_path / str(failed), "a=interval(0,1) seed=0,1", 1, (Objective("eval/frechet", failed=failed),)
        )
        finish(one, one.next(), **bad)
        second = one.next()
        assert (second is None) == (failed is None)  # nothing is spent on a cell whose fate is known
        if second:
            finish(one, second, status="done", **{"eval/frechet": 10.0})
        assert told(one) == expected and one.next() is None


def test_a_running_seed_of_a_cell_that_is_lost_is_ended(tmp_path: Path) -> None:
    one = make_search(tmp_path, "a=interval(0,1) seed=0,1", 1)
    first, second = one.next(), one.next()
    assert one.hopeless(second) is None
    finish(one, first, status="failed")
    assert "another seed" in one.hopeless(second)


def test_a_seed_counts_when_its_process_has_ended_not_when_it_has_written(tmp_path: Path) -> None:
    one = make_search(tmp_path, "a=interval(0,1) seed=0,1", 1)
    first, second = one.next(), one.next()
    run = one.sweep.run_folder(first)
    run.path.mkdir()
    run.record(status="done", **{"eval/frechet": 1.0})  # and still closes its files
    finish(one, second, status="done", **{"eval/frechet": 3.0})
    assert told(one) == [("RUNNING", None)] and one.hopeless(first) is None
    one.ended(first)
    assert told(one) == [("COMPLETE", [2.0])]


def test_a_cell_whose_config_is_wrong_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    def check(overrides: Sequence[str]) -> Mapping[str, Any]:
        if float(overrides[0].split("=")[1]) > 0.5:
            raise InputError("too large")
        return CONFIG

    one = make_search(tmp_path, "a=interval(0,1)", 10, check=check)
    jobs = drive(one, lambda a: {"eval/frechet": a})
    states = [state for state, _ in told(one)]
    assert len(states) == 10 and {"FAIL", "COMPLETE"} == set(states) and states.count("COMPLETE") == len(jobs)


def test_a_cell_that_is_proposed_again_shares_the_jobs(tmp_path: Path) -> None:
    one = make_search(tmp_path, "a=1,2 seed=0,1", trials=8)
    first = one.next()
    jobs = [first, *drive(one, lambda a, seed: {"eval/frechet": a})]
    finish(one, first, status="done", **{"eval/frechet": float(values_of(first)["a"])})
    jobs += drive(one, lambda a, seed: {"eval/frechet": a})
    assert len(jobs) == 4 and len({tuple(job.overrides) for job in jobs}) == 4
    assert all(trial.value == float(trial.params["a"]) for trial in one.study.get_trials())
    assert len(told(one)) == 8


# ------------------------------------------------------------------------------------------------------------- samplers


def bowl(a: float, b: float) -> dict[str, float]:
    """A valley at a = 0.003 (in the logarithm), b = 7."""
    import math

    return {"eval/frechet": (math.log10(a / 0.003)) ** 2 + ((b - 7) / 5) ** 2}


def test_tpe_beats_random(tmp_path: Path) -> None:
    text, wins = "a=tag(log,interval(1e-6,1e-1)) b=interval(-20,20)", 0
    for seed in range(3):
        best = []
        for name, sampler in (("random", RANDOM), ("tpe", TPE)):
            one = make_search(tmp_path / f"{name}{seed}", text, 40, sampler=sampler, seed=seed)
            drive(one, bowl)
            best.append(one.best()[0].value)
        wins += best[1] < best[0]
    assert wins == 3


def test_a_maximum_can_be_sought(tmp_path: Path) -> None:
    one = make_search(tmp_path, "a=interval(0,1)", 10, (Objective("gain", "maximize"),))
    drive(one, lambda a: {"gain": a})
    assert one.best()[0].value == max(values[0] for _, values in told(one))


def test_a_sampler_that_has_tried_everything_ends_the_search(tmp_path: Path) -> None:
    one = make_search(tmp_path, "a=1,2,3", 10, sampler={"_target_": "optuna.samplers.BruteForceSampler"})
    jobs = drive(one, lambda a: {"eval/frechet": a})
    assert sorted(values_of(job)["a"] for job in jobs) == ["1", "2", "3"]
    assert [state for state, _ in told(one)] == ["COMPLETE"] * 3


def test_nsga2_finds_a_front(tmp_path: Path) -> None:
    """The squared distances to (0, 0) and (2, 0) both small; the front is the line between them."""
    objectives = (Objective("eval/frechet"), Objective("size"))
    one = make_search(tmp_path, "x=interval(-10,10) y=interval(-10,10)", 120, objectives, sampler=NSGA2)
    drive(one, lambda x, y: {"eval/frechet": x**2 + y**2, "size": (x - 2) ** 2 + y**2})
    points = [values for _, values in told(one)]
    front = {tuple(trial.values) for trial in one.best()}
    dominated = [any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points) for p in points]
    assert front == {tuple(p) for p, beaten in zip(points, dominated, strict=True) if not beaten}
    assert len(one.best()) == len(front)  # a cell that came again is there once
    late = [sum(point) < 34 for point in points[60:]]  # within 4 of (1, 0): an eighth of them at random
    assert len(front) >= 3 and sum(late) > len(late) / 3


# ------------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("sampler", [RANDOM, TPE, NSGA2])
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path, sampler: dict[str, Any]) -> None:
    def score(a: float, seed: float) -> dict[str, float]:
        return {"eval/frechet": (a - 0.3) ** 2 + seed}

    text = "a=interval(0,1) seed=0,1"
    whole = make_search(tmp_path / "whole", text, 14, sampler=sampler)
    at_once = drive(whole, score)
    jobs = drive(make_search(tmp_path / "parts", text, 14, sampler=sampler), score, most=7)  # in the middle of a cell
    again = make_search(tmp_path / "parts", text, 14, sampler=sampler)
    jobs += drive(again, score)
    assert jobs == at_once and len({job.folder for job in jobs}) == len(jobs)  # no finished job ran again
    assert told(again) == told(whole)
    assert drive(make_search(tmp_path / "parts", text, 14, sampler=sampler), score) == []


def test_a_job_that_was_running_runs_again_and_a_trial_without_jobs_is_dropped(tmp_path: Path) -> None:
    one = make_search(tmp_path, "a=interval(0,1)", trials=2)
    job = one.next()
    finish(one, job, status="preempted")
    one.study.ask(one.distributions)  # the process ends while it asks
    again = make_search(tmp_path, "a=interval(0,1)", trials=2)
    assert [job, *again.sweep.jobs] == [again.next()] * 2
    finish(again, job, status="done", **{"eval/frechet": 1.0})
    drive(again, lambda a: {"eval/frechet": a})
    assert [state for state, _ in told(again)] == ["COMPLETE", "FAIL", "COMPLETE"]


def test_what_is_searched_is_read_back(tmp_path: Path) -> None:
    space = Space.read(["a=interval(0,1)", "b=x,y", "c=range(1,9)", "seed=0,1", "d=3"])
    options = Options(3, (Objective("s", "maximize", 2.0),), TPE, {"_target_": "optuna.pruners.MedianPruner"}, 4)
    from dataclasses import asdict

    (tmp_path / "search.json").write_text(json.dumps({"space": asdict(space), "options": asdict(options)}))
    assert load(tmp_path) == (space, options)
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(InputError, match="search.json cannot be read"):
        load(tmp_path)


# -------------------------------------------------------------------------------------------------------------- pruning

JOB = """
import json, os, subprocess, sys, time
values = dict(text.split("=", 1) for text in sys.argv[1:])
folder = values["hydra.run.dir"].strip("'")
score = float(values["a"])
if score > 0.5:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], preexec_fn=os.getpgrp)
    open(folder + "/pids", "w").write(f"{os.getpid()} {child.pid}")
with open(folder + "/metrics.csv", "w") as file:
    file.write(f"iteration,eval/frechet\\n100,{score}\\n200,")
if score > 0.5:
    time.sleep(100)
json.dump({"status": "done", "eval/frechet": score}, open(folder + "/results.json", "w"))
"""


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool], seconds: float = 100) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_hopeless_job_is_ended_with_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("saddle.sweep.places.GRACE_SECONDS", 0.1)
    (tmp_path / "job.py").write_text(JOB)
    pruner = {"_target_": "optuna.pruners.ThresholdPruner", "upper": 0.5}
    one = make_search(tmp_path / "s", "a=0.25,0.75 seed=0,1", 6, pruner=pruner)
    one.sweep.script = str(tmp_path / "job.py")
    assert run_jobs(one.sweep, one) == []
    states = {trial.params["a"]: trial for trial in reversed(one.study.get_trials())}  # the first of each
    assert states["0.25"].state.name == "COMPLETE" and states["0.25"].value == 0.25
    assert states["0.75"].state.name == "PRUNED" and states["0.75"].intermediate_values == {100: 0.75}
    ended = [job for job in one.sweep.jobs if values_of(job)["a"] == "0.75"]
    assert len(ended) == 1  # the second seed was not started
    results = one.sweep.run_folder(ended[0]).results()
    assert results["status"] == PRUNED and "eval/frechet 0.75 at iteration 100" in results["error"]
    assert f"{ended[0].folder}: {PRUNED}" in capsys.readouterr().out
    pids = (one.sweep.run_folder(ended[0]).path / "pids").read_text().split()
    until(lambda: not any(alive(int(pid)) for pid in pids), 10)
    assert one.sweep.unfinished() == []
    again = make_search(tmp_path / "s", "a=0.25,0.75 seed=0,1", 6, pruner=pruner)
    assert again.next() is None


def test_a_job_that_ends_by_itself_just_before_is_done(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB + "time.sleep(100)\n")

    class Late(Plan):
        def hopeless(self, job: Job) -> str | None:
            return "hopeless" if sweep.run_folder(job).results() else None

    sweep = Sweep(tmp_path, str(tmp_path / "job.py"))
    sweep.jobs = [Job("0", ["a=0.1"])]
    run_jobs(sweep, Late(sweep.jobs))
    assert sweep.run_folder(sweep.jobs[0]).results()["eval/frechet"] == 0.1


def test_a_curve_of_a_file_that_grows(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("iteration,train/d_loss,eval/frechet\n1,0.5,\n2,0.4,30.0\n3,,nan\n4,1,2")
    (first, second) = curve(file, "eval/frechet")
    assert first == (2, 30.0) and second[0] == 3 and second[1] != second[1]
    assert curve(file, "eval/other") == []


def test_what_was_found_is_said_once_for_each_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objectives = (Objective("small"), Objective("large", "maximize"))
    # two values, eight trials: cells come again, and both are on the front
    search = make_search(tmp_path / "s", "a=1,2", trials=8, objectives=objectives)
    drive(search, lambda a: {"small": a, "large": a})
    assert len(told(search)) == 8
    search.close()
    said = capsys.readouterr().out.split("the Pareto front:\n")[1]
    assert said == "    a=1: small 1, large 1\n    a=2: small 2, large 2\n"


# -------------------------------------------------------------------------------------------------- several processes

PARENT = """
import sys
from pathlib import Path
from saddle.sweep.jobs import Job, Sweep
from saddle.sweep.running import Plan, run_jobs
sweep = Sweep(Path(sys.argv[1]), sys.argv[2])
sweep.jobs = [Job("0", []), Job("1", [])]
sweep.save()
with sweep.locked():
    run_jobs(sweep, Plan(sweep.jobs))
"""
STUBBORN = """
import os, signal, sys, time
folder = sys.argv[-1].split("=", 1)[1].strip("'")
if os.path.exists(folder + "/told"):
    open(folder + "/results.json", "w").write('{"status": "done"}')
    sys.exit()
signal.signal(signal.SIGTERM, lambda *a: open(folder + "/told", "w").close())
open(folder + "/pid.part", "w").write(str(os.getpid()))
os.rename(folder + "/pid.part", folder + "/pid")
while True:
    time.sleep(0.05)
"""


def test_a_sweep_whose_parent_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(STUBBORN)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), str(script)])
    until((tmp_path / "0" / "pid").exists)
    pid = int((tmp_path / "0" / "pid").read_text())
    try:
        parent.kill()
        parent.wait()
        until((tmp_path / "0" / "told").exists)  # the system asks the job to end
        with pytest.raises(InputError, match="has not ended yet"):
            run_rest(Sweep.load(tmp_path, str(script)), accept)
    finally:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "told").touch()
    assert run_rest(Sweep.load(tmp_path, str(script)), accept) == 0
    assert Sweep.load(tmp_path, "").unfinished() == []


def test_one_process_at_a_time_runs_a_sweep(tmp_path: Path) -> None:
    Sweep(tmp_path, "job.py").save()
    with Sweep.load(tmp_path, "job.py").locked(), pytest.raises(InputError, match="is running already"):
        run_rest(Sweep.load(tmp_path, "job.py"), accept)
    assert run_rest(Sweep.load(tmp_path, "job.py"), accept) == 0


STUDY = """# @package _global_
defaults:
  - override /hydra/sweeper: tpe
hydra:
  mode: MULTIRUN
  sweeper:
    trials: 3
    pruner: null
    objectives: [{score: iterations}]
    params: {iterations: "int(interval(1, 50))", seed: "SEEDS"}
study:
  jobs: 2
"""


@pytest.fixture
def with_search(project: Path) -> Path:
    """The project of the toy, with the sweepers and a study."""
    for source in (CONF / "hydra" / "sweeper").glob("*.yaml"):
        target = project / "conf" / "hydra" / "sweeper" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
    (project / "conf" / "study" / "few.yaml").write_text(STUDY.replace("SEEDS", f"{QUICK},{QUICK + 10}"))
    return project


def test_two_searches_at_once_from_the_command_line_and_resuming(with_search: Path, command: Run) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        both = [*pool.map(lambda name: command("study=few", "loss=hinge"), "ab")]
    assert [done.returncode for done in both] == [0, 0], both[0].stderr + both[1].stderr
    folders = sorted(Path("logs/sweep").iterdir())
    assert len(folders) == 2
    for folder in folders:
        runs = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/results.json")}
        with open(folder / "trials.csv", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        assert head == ["trial", "state", "iterations", "iterations", "jobs"]  # as an axis, and as a score
        assert len(rows) == 3 and {name for row in rows for name in row[4].split()} == set(runs)
        for row in rows:
            assert {runs[name]["iterations"] for name in row[4].split()} == {int(row[2])} == {float(row[3])}
        assert "loss=hinge" in json.loads((folder / "search.json").read_text())["space"]["fixed"]
    assert "the best cell:\n    iterations=" in both[0].stdout and f"seed-{QUICK + 10}: started" in both[0].stdout
    again = command("-m", f"resume={folders[0]}")
    assert again.returncode == 0 and "started" not in again.stdout and "the best cell" in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("study=few model.widht=3", "did you mean model.width"),
        ("study=few hydra.sweeper.trials=0", "hydra.sweeper.trials=0: must be at least 1"),
        ("study=few model=dcgan,biggan data=digits,plain", "model=biggan needs labels"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(
    with_search: Path, command: Run, words: str, message: str
) -> None:
    done = command(*words.split())
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "cell (" in done.stderr or "model=" not in words
    assert not list(Path("logs").glob("sweep/*"))


def test_the_sweep_for_wandb(with_search: Path, command: Run) -> None:
    spread = ["loss=hinge,wasserstein", "penalty=[r1,lecam],none"]
    done = command("--config-dir=conf", "study=few", "hydra/sweeper=wandb", *spread, "model.d_norm=none")
    assert done.returncode == 0, done.stderr
    (file,) = Path("logs/sweep").glob("*/wandb_sweep.yaml")
    sweep = yaml.safe_load(file.read_text())
    assert sweep["program"] == "src/train.py" and sweep["method"] == "bayes"
    assert sweep["metric"] == {"name": "iterations", "goal": "minimize"}
    assert sweep["parameters"]["iterations"] == {"distribution": "int_uniform", "min": 1, "max": 50}
    assert sweep["parameters"]["penalty"] == {"values": ["[r1,lecam]", "none"]}
    chosen = {"iterations": 7, "seed": QUICK, "loss": "wasserstein", "penalty": "[r1,lecam]"}
    own = f"--config-dir={Path('conf').resolve()}"
    assert sweep["command"][:4] == ["${env}", "${interpreter}", "${program}", own]
    assert set(chosen) == set(sweep["parameters"])
    # what the agent runs, made by its own code
    args = create_sweep_command_args({"args": {key: {"value": value} for key, value in chosen.items()}})
    words = [word for part in create_sweep_command(sweep["command"])[3:] for word in args.get(part[2:-1], [part])]
    ran = command(*words, "hydra.run.dir=one")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(Path("one/results.json").read_text())["iterations"] == 7


def test_the_distributions_of_wandb() -> None:
    space = Space.read(
        ["a=tag(log,interval(1e-5,1e-2))", "b=interval(0,1)", "c=range(2,9,2)", "d=x,y", "seed=0,1", "minutes=1"]
    )
    sweep = wandb_sweep(space, Options(3, (FRECHET,), RANDOM), "src/train.py")
    assert sweep["parameters"] == {
        "a": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
        "b": {"distribution": "uniform", "min": 0.0, "max": 1.0},
        "c": {"values": [2, 4, 6, 8]},
        "d": {"values": ["x", "y"]},
        "seed": {"values": [0, 1]},
    }
    assert "minutes=1" in sweep["command"]
    assert not {"project", "entity"} & set(sweep)
    owned = wandb_sweep(space, Options(3, (FRECHET,), RANDOM), "src/train.py", "saddle", "team")
    assert owned == {"entity": "team", "project": "saddle"} | sweep
    assert wandb_sweep(Space.read(["d=x,y"]), Options(3, (FRECHET,), RANDOM), "src/train.py")["method"] == "grid"
