"""Sweeps whose jobs submitit or ray runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_run import CRASHES, DIES, QUICK, Run

from saddle.errors import InputError
from saddle.sweep import places
from saddle.sweep.jobs import Job, Sweep

LAUNCHERS = Path(__file__).resolve().parents[2] / "conf" / "hydra" / "launcher"


@pytest.fixture
def launchers(project: Path) -> None:
    """The shipped launchers in the toy's configs."""
    shutil.copytree(LAUNCHERS, project / "conf" / "hydra" / "launcher", dirs_exist_ok=True)


def statuses(sweep: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["status"] for path in sweep.glob("*/results.json")}


def test_submitit_runs_a_sweep_and_its_rest(launchers: None, command: Run) -> None:
    pytest.importorskip("submitit")
    seeds = f"seed={QUICK},{CRASHES},{DIES}"
    done = command("-m", "hydra/launcher=submitit_local", seeds, "hydra.sweep.dir=s", "study.jobs=3", LOCAL_RANK="1")
    assert done.returncode == 1, done.stderr
    assert statuses(Path("s")) == {"0_seed-100": "done", "1_seed-101": "failed", "2_seed-102": "failed"}
    assert "SIGKILL" in json.loads(Path("s/2_seed-102/results.json").read_text())["error"]
    assert "rank None" in Path("s/0_seed-100/output.log").read_text()
    assert len(list(Path("s/submitit").glob("*_submitted.pkl"))) == 3
    for name in ("1_seed-101", "2_seed-102"):  # what made them fail is mended
        config = Path("s") / name / "config.yaml"
        config.write_text(config.read_text().replace(f"seed: {name[-3:]}", f"seed: {QUICK}"))
    refused = command("-m", "resume=s")
    assert "began with hydra/launcher=submitit_local" in refused.stderr
    again = command("-m", "resume=s", "hydra/launcher=submitit_local")
    assert again.returncode == 0, again.stderr
    assert set(statuses(Path("s")).values()) == {"done"}
    assert len(list(Path("s/submitit").glob("*_submitted.pkl"))) == 5  # the rest was submitted too


@pytest.mark.slow
def test_ray_runs_a_sweep(launchers: None, command: Run) -> None:
    pytest.importorskip("ray")
    done = command("-m", "hydra/launcher=ray", f"seed={QUICK},{CRASHES}", "hydra.sweep.dir=s")
    assert done.returncode == 1, done.stderr
    assert statuses(Path("s")) == {"0_seed-100": "done", "1_seed-101": "failed"}


@pytest.mark.parametrize("launcher", ["submitit_local", pytest.param("ray", marks=pytest.mark.slow)])
def test_what_is_not_installed_is_said(launchers: None, command: Run, tmp_path: Path, launcher: str) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("submitit", "ray"):
        (hidden / f"{name}.py").write_text("raise ImportError('hidden')\n")
    path = os.pathsep.join([str(hidden), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = command("-m", f"hydra/launcher={launcher}", f"seed={QUICK}", PYTHONPATH=path)
    assert done.returncode == 1 and "pip install 'saddle-gan[" in done.stderr, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_place_of_no_cluster_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    place = places.Submitit("slurm", nodes=1)
    with pytest.raises(InputError, match="submitit_slurm"):
        place.start(Sweep(tmp_path, "job.py"), Job("0", []))


def test_an_errand_goes_on_where_it_was_told_to_save(tmp_path: Path) -> None:
    """Submitit's hook at a time limit: the job is asked to save, and the next submission resumes its folder."""
    submitit = pytest.importorskip("submitit")
    script = tmp_path / "job.py"
    script.write_text(
        "import pathlib, signal, sys, time\n"
        "folder = pathlib.Path(__file__).parent / '0'\n"
        "if any(word.startswith('resume=') for word in sys.argv):\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(75))\n"
        "(folder / 'config.yaml').touch()\n"
        "time.sleep(60)\n"
    )
    sweep = Sweep(tmp_path, str(script), jobs=[Job("0", [])])
    (tmp_path / "0").mkdir()
    job = submitit.AutoExecutor(tmp_path / "submitit", cluster="local").submit(places.Errand(sweep, sweep.jobs[0]))
    until(lambda: (tmp_path / "0" / "config.yaml").exists())
    tasks = subprocess.run(["pgrep", "-P", str(job._process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(tasks[0]), signal.SIGUSR2)
    assert job.result() == 0


def test_no_job_outlives_its_sweep_and_the_sweep_goes_on(tmp_path: Path) -> None:
    """Kill -9 of the process that runs a sweep: its job is told to save, and the folder is free again."""
    script = tmp_path / "job.py"
    script.write_text(
        "import os, pathlib, signal, sys, time\n"
        "folder = pathlib.Path(__file__).parent / '0'\n"
        "def save(*a):\n    (folder / 'saved').touch(); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "(folder / 'pid').write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    Sweep(tmp_path, str(script), jobs=[Job("0", []), Job("1", [])]).save()
    code = (
        "from saddle.sweep.jobs import Sweep; from saddle.sweep.resume import run_rest\n"
        f"run_rest(Sweep.load({str(tmp_path)!r}, {str(script)!r}), lambda overrides: {{}})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: (tmp_path / "0" / "pid").exists() and bool((tmp_path / "0" / "pid").read_text()))
    with pytest.raises(InputError, match="running already"), Sweep.load(tmp_path, str(script)).locked():
        pass
    parent.kill()
    parent.wait()
    until(lambda: (tmp_path / "0" / "saved").exists())
    until(lambda: not alive(int((tmp_path / "0" / "pid").read_text())))
    sweep = Sweep.load(tmp_path, str(script))
    with sweep.locked():
        assert sweep.unfinished() == sweep.jobs


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def until(condition, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
