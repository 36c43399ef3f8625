"""A sweep: a child process per job, none harms another, and what is not done can be resumed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_run import CRASHES, DIES, QUICK, Run

from saddle.config.compose import value_of
from saddle.run.launch import RUN_DIR
from saddle.sweep.gpus import gpus_here, share
from saddle.sweep.jobs import LAUNCH_VARIABLES, Job, Sweep, job_name, quoted
from saddle.sweep.running import Plan, cause, run_jobs


def test_a_sweep_runs_every_job_and_resumes_what_is_not_done(command: Run) -> None:
    seeds = f"seed={QUICK},{CRASHES},{DIES}"
    done = command("-m", "loss=hinge", seeds, "hydra.sweep.dir=s", LOCAL_RANK="1", SADDLE_RUN_DIR="/nowhere")
    assert done.returncode == 1, done.stderr
    results = {path.parent.name: json.loads(path.read_text()) for path in Path("s").glob("*/results.json")}
    names = {seed: f"{i}_seed-{seed}" for i, seed in enumerate((QUICK, CRASHES, DIES))}
    assert set(results) == set(names.values())
    assert results[names[QUICK]]["status"] == "done"
    assert results[names[CRASHES]] == {"status": "failed", "error": "RuntimeError: a fault was injected"}
    assert results[names[DIES]]["status"] == "failed" and "SIGKILL" in results[names[DIES]]["error"]
    assert "rank None" in (Path("s") / names[QUICK] / "output.log").read_text()
    for name in names.values():
        assert name in done.stdout

    refused = command("-m", "resume=s", "seed=1")
    assert refused.returncode == 1 and "seed=1" in refused.stderr
    config = Path("s") / names[CRASHES] / "config.yaml"  # what made the job fail is mended
    config.write_text(config.read_text().replace(f"seed: {CRASHES}", f"seed: {QUICK}"))
    again = command("-m", "resume=s")
    assert again.returncode == 1
    assert f"{names[CRASHES]}: done" in again.stdout and f"{names[DIES]}: failed" in again.stdout
    assert f"{names[QUICK]}: started" not in again.stdout


def test_a_study_sweeps_and_shares_the_cores(command: Run) -> None:
    environment = {"OMP_NUM_THREADS": "7"}
    done = command("study=rates", f"seed={QUICK}", "study.jobs=2", "hydra.sweep.dir=s", **environment)
    assert done.returncode == 0, done.stderr
    rates = [path.parent.name for path in sorted(Path("s").glob("*/config.yaml"))]
    assert len(rates) == 2 and "g_lr-0.001" in rates[0] and "g_lr-0.0001" in rates[1]
    assert "threads 7" in next(Path("s").glob("0_*/output.log")).read_text()


@pytest.mark.parametrize("flag", ["--config-dir={}", "--config-dir {}", "-cd {}"])
def test_jobs_read_the_configs_of_ones_own_too(command: Run, flag: str) -> None:
    Path("a=b, c/loss").mkdir(parents=True)
    Path("a=b, c/loss/mine.yaml").write_text("_target_: toy.Hinge")
    words = [word.format("a=b, c") for word in flag.split()]
    done = command(*words, "-m", "loss=mine", f"seed={QUICK}", "hydra.sweep.dir=s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "loss: mine" in Path("s/0/config.yaml").read_text()


@pytest.mark.parametrize("override", ["model=dcgan,bigan", "data=digits,plain model=biggan"])
def test_no_job_starts_if_one_is_wrong(command: Run, override: str) -> None:
    done = command("-m", *override.split(), f"seed={QUICK}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert not Path("logs").exists()


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=dcgan", "loss=hinge"], "3_model-dcgan_loss-hinge"),
        (["penalty=[r1,lecam]", "model.g_lr=1e-3"], "3_penalty-r1-lecam-_model.g_lr-1e-3"),
        (["data.path=" + "図" * 200], "3_data.path-" + "図" * 36),  # 120 bytes, in whole characters
        (["+data.path='/a b/c=d'"], "3_data.path-a-b-c-d"),
        ([], "3"),
    ],
)
def test_names_of_jobs_hold_nothing_that_hydra_reads(overrides: list[str], name: str) -> None:
    assert job_name(3, overrides) == name
    assert len(job_name(3, ["x" * 500])) < 200


def make_sweep(folder: Path, code: str, count: int, at_once: int = 1) -> Sweep:
    """A sweep whose jobs run a small script."""
    script = folder / "job.py"
    script.write_text(code)
    sweep = Sweep(folder, str(script), at_once=at_once)
    sweep.jobs = [Job(str(i), []) for i in range(count)]
    return sweep


def test_the_environment_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep(tmp_path, "", 1, at_once=2)
    for name in ("LOCAL_RANK", "MASTER_ADDR", "WORLD_SIZE", RUN_DIR):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    environment = sweep.environment(Job("a", [], processes=3))
    assert environment["OMP_NUM_THREADS"] == "2"
    assert not {"LOCAL_RANK", "MASTER_ADDR", "WORLD_SIZE", RUN_DIR} & set(environment)
    sweep.at_once = 1
    assert "OMP_NUM_THREADS" not in sweep.environment(Job("a", []))


def test_no_launchers_variable_reaches_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCH_VARIABLES:
        monkeypatch.setenv(name, "3")
    environment = Sweep(tmp_path, "job.py").environment(Job("a", []))
    assert not set(LAUNCH_VARIABLES) & set(environment)


@pytest.mark.parametrize(
    ("visible", "gpus"), [("0,1,2", ["0", "1", "2"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"]), ("", []), ("2,-1,3", ["2"])]
)
def test_the_gpus_of_the_environment(visible: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_here() == gpus


def test_the_gpus_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("saddle.sweep.gpus.DRIVER", tmp_path)
    assert gpus_here() == []
    for name in ("0000:01:00.0", "0000:41:00.0"):
        (tmp_path / name).mkdir()
    assert gpus_here() == ["0", "1"]


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4))
def test_jobs_share_the_gpus_evenly(count: int, at_once: int, processes: int) -> None:
    """No GPU has two jobs more than another, and each job has one GPU for each process where there are as many."""
    gpus, taken = [str(i) for i in range(count)], list[str]()
    for _ in range(at_once):
        mine = share(gpus, taken, at_once, processes)
        assert len(mine) == min(count, max(processes, count // at_once)) and mine == sorted(mine)
        taken += mine
        jobs = [taken.count(name) for name in gpus]
        assert max(jobs) - min(jobs) <= 1


def test_jobs_at_once_have_gpus_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four jobs on two GPUs, two at a time: the third gets the GPU of the one that has ended, not the other."""
    code = (
        "import os, pathlib, sys, time\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
        "name = [word for word in sys.argv if word.startswith('hydra.run.dir')][0].rstrip(\"'\")[-1]\n"
        "others = [pathlib.Path(__file__).parent / other / 'output.log' for other in '123']\n"
        "while name == '0' and not all(path.exists() and path.read_text() for path in others):\n"
        "    time.sleep(0.02)\n"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    sweep = make_sweep(tmp_path, code, 4, at_once=2)
    assert run_jobs(sweep, Plan(sweep.jobs)) == []
    assert [(tmp_path / str(i) / "output.log").read_text().strip() for i in range(4)] == ["4", "6", "6", "6"]


def test_at_most_so_many_jobs_at_once(tmp_path: Path) -> None:
    code = "import time; print(time.time(), flush=True); time.sleep(0.3); print(time.time())"
    sweep = make_sweep(tmp_path, code, 4, at_once=2)
    assert run_jobs(sweep, Plan(sweep.jobs)) == []
    spans = [tuple(map(float, path.read_text().split())) for path in tmp_path.glob("*/output.log")]
    overlaps = [sum(start <= other < end for other, _ in spans) for start, end in spans]
    assert len(spans) == 4 and max(overlaps) == 2


def test_a_signal_reaches_the_jobs_and_no_other_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], signal_handlers: None
) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *a: sys.exit(130))\n"
        "open(sys.argv[-1].split('=')[1].strip(\"'\") + '/ready', 'w').close()\n"
        "time.sleep(60)\n"
    )
    sweep = make_sweep(tmp_path, code, 2)

    def interrupt() -> None:
        while not (tmp_path / "0" / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_jobs(sweep, Plan(sweep.jobs))
    finally:
        thread.join()
    assert "exit status 130" in sweep.run_folder(sweep.jobs[0]).results()["error"]
    assert not (tmp_path / "1").exists()


def test_causes(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "", 1)
    run = sweep.run_folder(sweep.jobs[0])
    assert "memory" in cause(run, -signal.SIGKILL)
    assert cause(run, -signal.SIGSEGV) == "killed by SIGSEGV"
    run.path.mkdir()
    (run.path / "output.log").write_text("Traceback\nMemoryError: too much\n\n")
    assert cause(run, 1) == "exit status 1: MemoryError: too much"


def test_a_sweep_is_read_back(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "", 2)
    sweep.save()
    assert Sweep.load(tmp_path, sweep.script) == sweep
    sweep.run_folder(sweep.jobs[0]).path.mkdir()
    sweep.run_folder(sweep.jobs[0]).record(status="done")
    assert sweep.unfinished() == [sweep.jobs[1]]


def test_the_path_of_a_folder_survives_hydra(tmp_path: Path) -> None:
    for name in ("plain", "with space", "a=b,c", "quote'd", "back\\slash"):
        assert value_of([f"hydra.run.dir={quoted(tmp_path / name)}"], "hydra.run.dir") == str(tmp_path / name)
