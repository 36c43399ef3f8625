"""The CSV files: what a resumed run leaves is what an uninterrupted one leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from saddle.errors import InputError
from saddle.run.writer import CsvWriter


def write(folder: Path, first: int, last: int) -> None:
    """A run from iteration `first` to `last`: a loss every 2, a score every 6, a late column."""
    writer = CsvWriter(folder)
    writer.start(first)
    for iteration in range(first + 1, last + 1):
        if iteration % 2 == 0:
            writer.log_metrics({"train/loss": 1 / iteration, "timing/seconds": 0.5}, iteration)
        if iteration % 6 == 0:
            writer.log_metrics({"eval/frechet": torch.tensor(0.25), "eval/count": iteration}, iteration)
        if iteration == 14:
            writer.log_metrics({"train/late": float("nan")}, iteration)


def test_rows_merge_and_columns_grow(tmp_path: Path) -> None:
    write(tmp_path, 0, 8)
    assert (tmp_path / "metrics.csv").read_text() == (
        "iteration,train/loss,eval/frechet,eval/count\n2,0.5,,\n4,0.25,,\n6,0.16666666666666666,0.25,6\n8,0.125,,\n"
    )
    assert (tmp_path / "timing.csv").read_text() == "iteration,seconds\n2,0.5\n4,0.5\n6,0.5\n8,0.5\n"


@pytest.mark.parametrize("checkpoint", [0, 1, 5, 6, 13, 14, 16])
@pytest.mark.parametrize("killed", [16, 17])
def test_a_resumed_file_is_bit_identical(tmp_path: Path, checkpoint: int, killed: int) -> None:
    write(tmp_path / "whole", 0, 20)
    write(tmp_path / "cut", 0, killed)
    with open(tmp_path / "cut" / "metrics.csv", "a") as file:
        file.write("18,0.0")  # a row cut short by the kill
    write(tmp_path / "cut", checkpoint, 20)
    assert (tmp_path / "cut" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_the_same_row_twice_is_one_row(tmp_path: Path) -> None:
    write(tmp_path, 0, 12)
    whole = (tmp_path / "metrics.csv").read_bytes()
    writer = CsvWriter(tmp_path)
    writer.start(12)
    writer.log_metrics({"eval/frechet": 0.25, "eval/count": 12}, 12)
    writer.save()
    assert (tmp_path / "metrics.csv").read_bytes() == whole
    with pytest.raises(ValueError, match="iteration 11"):
        writer.log_metrics({"train/loss": 0.0}, 11)


def test_numbers_read_back_exactly(tmp_path: Path) -> None:
    writer = CsvWriter(tmp_path)
    writer.start(0)
    writer.log_metrics({"a": 0.1 + 0.2, "b": torch.tensor(1e-30, dtype=torch.float64), "c": 3}, 1)
    row = (tmp_path / "metrics.csv").read_text().splitlines()[1].split(",")
    assert [float(row[1]), float(row[2]), row[3]] == [0.1 + 0.2, 1e-30, "3"]


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda text: text.partition("\n")[2], 1),
        (lambda text: text.replace("4,", "four,", 1), 3),
        (lambda text: text.replace("\n6,", ",9\n6,", 1), 3),  # a cell more
        (lambda text: text.replace("\n4,", "\n2,", 1), 3),  # twice the same
        (lambda text: text.replace("0.25", "0.2\udcff", 1), 3),  # no text
        (lambda text: "\0" * 10 + text, 1),
    ],
)
def test_a_damaged_file_is_refused_and_stays_as_it_is(tmp_path: Path, damage: Callable[[str], str], line: int) -> None:
    write(tmp_path, 0, 8)
    for name in ("metrics.csv", "timing.csv"):
        path = tmp_path / name
        good = path.read_text()
        bad = damage(good).encode(errors="surrogateescape")
        path.write_bytes(bad)
        if bad != good.encode():
            with pytest.raises(InputError, match=rf"{name} is damaged in line {line}: mend it, or move it away"):
                CsvWriter(tmp_path).check(8)
        assert path.read_bytes() == bad
        path.write_text(good)


def test_what_comes_after_the_checkpoint_may_be_anything(tmp_path: Path) -> None:
    """After a power cut: it is computed again."""
    write(tmp_path, 0, 8)
    with open(tmp_path / "metrics.csv", "ab") as file:
        file.write(b"\0\0\xff\n\0\n")
    CsvWriter(tmp_path).check(6)
    with pytest.raises(InputError, match="damaged in line 6"):
        CsvWriter(tmp_path).check(9)
