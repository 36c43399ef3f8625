"""A run folder is made once, written at once, and belongs to one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from saddle.errors import InputError, NonFinite
from saddle.run.folder import RunFolder, held, make_unique, write_atomic


def test_folders_of_one_second_do_not_clash(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_unique(tmp_path / "logs" / "now"), range(20)))
    assert {path.name for path in made} == {"now", *(f"now-{i}" for i in range(1, 20))}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_results_are_merged_and_free_of_nan(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record(status="done", kimg=1.5)
    folder.record(kimg=float("nan"), seconds=2)
    assert json.loads(folder.results_file.read_text()) == {"status": "done", "kimg": None, "seconds": 2}


def test_the_first_fault_is_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin({})
    assert folder.end("preempted", None, first=False) == "preempted"
    assert folder.results() == {}
    assert folder.end("nonfinite", NonFinite(7, "the gradient of weight"), first=False) == "nonfinite"
    assert folder.end("failed", RuntimeError("connection closed"), first=True) == "nonfinite"
    assert "iteration 7: the gradient of weight" in folder.results()["error"]


@pytest.mark.parametrize(
    ("asked", "finished"),
    [((100, None), True), ((101, None), False), ((None, 2), True), ((None, 3), False), ((101, 2), True)],
)
def test_finished(tmp_path: Path, asked: tuple[int | None, float | None], finished: bool) -> None:
    folder = RunFolder(tmp_path)
    folder.record(status="done", iterations=100, seconds=121.0)
    assert folder.finished({"iterations": asked[0], "minutes": asked[1]}) is finished
    folder.record(status="preempted")
    assert not folder.finished({"iterations": asked[0], "minutes": asked[1]})


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no config\.yaml"):
        RunFolder(tmp_path).config()

    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:  # tests may run as root, who may read all
        patch.setattr("omegaconf.OmegaConf.load", denied)
        with pytest.raises(InputError, match=r"config\.yaml cannot be read: .*Permission denied"):
            RunFolder(tmp_path).config()
    (tmp_path / "config.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        RunFolder(tmp_path).config()
    (tmp_path / "config.yaml").write_text("a: [1\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        RunFolder(tmp_path).config()


def test_a_folder_has_one_holder_and_those_forked_from_it_let_go(tmp_path: Path) -> None:
    """As a data loader's worker that outlives a killed run, which would keep the folder."""
    with RunFolder(tmp_path).locked():
        with pytest.raises(InputError, match="another process trains this run"), RunFolder(tmp_path).locked():
            pass
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writable, b"forked")
            time.sleep(60)
            os._exit(0)
        os.read(readable, 6)
    try:
        with RunFolder(tmp_path).locked():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lock_that_is_handed_on_is_held_by_the_child(tmp_path: Path) -> None:
    with held(tmp_path, "busy", by_children=True) as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock], preexec_fn=lambda: None)
    with pytest.raises(InputError, match="busy"), held(tmp_path, "busy"):
        pass
    child.kill()
    child.wait()
    with held(tmp_path, "busy"):
        pass


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), OSError(95, "Operation not supported")])
def test_a_file_system_without_locks_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("fcntl.flock", refuse)
    with RunFolder(tmp_path).locked(), RunFolder(tmp_path).locked():
        pass


def test_a_lock_is_no_way_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot be written"), RunFolder(tmp_path / "run").locked():
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("left", ["config.yaml", "metrics.csv", "checkpoints/best.ckpt"])
def test_a_new_run_writes_over_nothing_of_another(tmp_path: Path, left: str) -> None:
    RunFolder(tmp_path).refuse_second()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "results.json").write_text('{"status": "failed"}')  # of one that could not be built
    RunFolder(tmp_path).refuse_second()
    (tmp_path / left).write_text("")
    with pytest.raises(InputError, match=f"{tmp_path} holds"):
        RunFolder(tmp_path).refuse_second()


@pytest.mark.parametrize(
    ("rows", "results", "lost"),
    [
        (0, {}, False),
        (5, {"status": "failed", "iterations": 5}, False),  # killed before the first checkpoint was whole
        (6, {}, True),
        (0, {"status": "failed", "iterations": 6}, True),
        (0, {"status": "preempted", "iterations": 1}, True),
        (0, {"status": "done", "iterations": 0}, False),
        (0, {"status": "done", "iterations": "many"}, False),
    ],
)
def test_a_run_without_its_checkpoints_is_not_begun_anew(tmp_path: Path, rows: int, results: dict, lost: bool) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "metrics.csv").write_text("iteration,a\n" + "".join(f"{i},1\n" for i in range(1, rows + 1)))
    with pytest.raises(InputError, match="no checkpoint is there") if lost else nullcontext():
        folder.refuse_lost(every=5)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    folder.refuse_lost(every=5)


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "run", tmp_path / "file" / "logs" / "run"):
        with pytest.raises(InputError, match=f"{path}"):
            make_unique(path)
