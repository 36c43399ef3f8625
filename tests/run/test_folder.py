"""A run folder is made once, written at once, and belongs to one run."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from saddle.errors import InputError, NonFinite
from saddle.run.folder import RunFolder, make_unique, write_atomic


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


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.yaml"):
        RunFolder(tmp_path).config()
    (tmp_path / "config.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        RunFolder(tmp_path).config()
    (tmp_path / "config.yaml").write_text("a: [1\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        RunFolder(tmp_path).config()
