"""Checkpoints: replaced at once, checked before use, and unable to run code."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from saddle.errors import InputError
from saddle.run.checkpoint import (
    AtomicCheckpointIO,
    find_resumable,
    improves,
    load_checkpoint,
    refuse_other_model,
)


def save(folder: Path, value: int, name: str = "last.ckpt") -> Path:
    """A checkpoint that holds a number."""
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"x": torch.full((1000,), value)}}, folder / name)
    return folder / name


def value(path: Path) -> int:
    return int(load_checkpoint(path)["state_dict"]["x"][0])


def test_the_one_before_is_kept_of_last_alone(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path, i)
        save(tmp_path, i, "best.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    assert [value(tmp_path / name) for name in ("last.ckpt", "previous.ckpt", "best.ckpt")] == [2, 1, 2]


def test_without_hard_links_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    save(tmp_path, 0)
    save(tmp_path, 1)
    assert (value(tmp_path / "last.ckpt"), value(tmp_path / "previous.ckpt")) == (1, 0)


def test_a_full_disk_keeps_the_last_good_one(tmp_path: Path) -> None:
    path = save(tmp_path, 0)
    old_limit, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, old_limit[1]))
    try:
        with pytest.raises(OSError, match=r"could not be written .* still good"):
            save(tmp_path, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert value(path) == 0
    assert list(tmp_path.iterdir()) == [path]


def spoil(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut short":
        del data[len(data) // 2 :]
    elif how == "empty":
        data.clear()
    else:
        data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut short", "empty", "flipped"])
def test_a_damaged_one_is_named_and_the_one_before_used(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_resumable(tmp_path) is None
    save(tmp_path, 0)
    save(tmp_path, 1)
    assert find_resumable(tmp_path) == tmp_path / "last.ckpt"
    spoil(tmp_path / "last.ckpt", how)
    with pytest.raises(InputError, match=r"last\.ckpt"):
        load_checkpoint(tmp_path / "last.ckpt")
    assert find_resumable(tmp_path) == tmp_path / "previous.ckpt"
    assert "last.ckpt" in capsys.readouterr().out
    spoil(tmp_path / "previous.ckpt", how)
    with pytest.raises(InputError, match=r"last\.ckpt.*previous\.ckpt"):
        find_resumable(tmp_path)


def test_the_one_before_outlives_a_damaged_one_and_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever call the process dies at, a good checkpoint is there."""
    for calls in range(6):
        folder = tmp_path / str(calls)
        save(folder, 0)
        save(folder, 1)
        spoil(folder / "last.ckpt", "flipped")
        left = calls

        def replace(*paths: Any, rename: Any = os.replace) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            rename(*paths)

        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(os, "replace", replace)
            save(folder, 2)
        found = find_resumable(folder)
        assert found is not None and value(found) in (0, 2)


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (self.path, "w"))


def test_loading_cannot_run_code(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    torch.save({"state_dict": {}, "payload": Harmful(str(trace))}, tmp_path / "bad.ckpt")
    for loaded_by in (load_checkpoint, lambda path: AtomicCheckpointIO().load_checkpoint(path, weights_only=False)):
        with pytest.raises(InputError, match=r"bad\.ckpt is refused.*code"):
            loaded_by(tmp_path / "bad.ckpt")
    assert not trace.exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(InputError, match=r"list\.ckpt.*no state_dict"):
        load_checkpoint(tmp_path / "list.ckpt")
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")


def test_another_model_is_refused() -> None:
    checkpoint = {"state_dict": nn.Linear(3, 2).state_dict()}
    refuse_other_model(checkpoint, nn.Linear(3, 2), "a.ckpt")
    with pytest.raises(InputError, match=r"a\.ckpt is from another model: weight is \[2, 3\], not \[2, 4\]"):
        refuse_other_model(checkpoint, nn.Linear(4, 2), "a.ckpt")
    with pytest.raises(InputError, match="the model has no bias"):
        refuse_other_model(checkpoint, nn.Linear(3, 2, bias=False), "a.ckpt")


@pytest.mark.parametrize(
    ("monitor", "score", "best", "better"),
    [
        ("eval/frechet", 1.0, None, True),
        ("eval/frechet", 1.0, 2.0, True),
        ("eval/frechet", 2.0, 1.0, False),
        ("eval/classifier_score", 2.0, 1.0, True),
        ("eval/inception_score", 1.0, 2.0, False),
        ("eval/frechet", float("nan"), None, False),
        ("eval/frechet", 1.0, 1.0, False),
    ],
)
def test_improves(monitor: str, score: float, best: float | None, better: bool) -> None:
    assert improves(monitor, score, best) is better
