"""The scalars of a run as CSV files that survive a crash and a resume."""

from __future__ import annotations

import csv
import io
import math
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from saddle.errors import InputError
from saddle.run.folder import is_iteration, write_atomic

TIMING = "timing/"  # what depends on the clock goes into a file of its own


class Table:
    """A CSV file with one row per iteration; rows are added at the end, or merged into the last."""

    def __init__(self, path: Path):
        self.path = path
        self.columns = ["iteration"]
        self._last: dict[str, str] = {}
        self._last_at = 0  # where the last row begins

    def rewind(self, iteration: int) -> None:
        """Go on after `iteration`: read what is there, and drop the rows after it and the columns that they began."""
        rows = self.read(iteration)
        found = [*(rows[0] if rows else ["iteration"])]
        self.columns = [name for name in found if name == "iteration" or any(row[name] for row in rows)]
        self._rewrite(rows)

    def read(self, until: float = math.inf) -> list[dict[str, str]]:
        """The complete rows to the iteration `until`; what comes after them is not looked at.

        Raises:
            InputError: if the file cannot be read, or something else than such a row is among them.
        """
        if not self.path.exists():
            return []
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None
        complete = data[: data.rfind(b"\n") + 1]  # a crash can cut the last row short
        lines = csv.reader(io.StringIO(complete.decode(errors="replace"), newline=""))
        try:
            return [*self._rows(lines, until)]
        except (csv.Error, ValueError):
            raise InputError(
                f"{self.path} is damaged in line {lines.line_num}: mend it, or move it away to go on without its rows"
            ) from None

    @staticmethod
    def _rows(lines: Iterator[list[str]], until: float) -> Iterator[dict[str, str]]:
        columns, last = next(lines, ["iteration"]), -1
        if columns[:1] != ["iteration"] or len({*columns}) < len(columns):
            raise ValueError("the head is not there")
        for cells in lines:
            row = dict(zip(columns, cells, strict=True))
            if not is_iteration(cells[0]) or int(cells[0]) <= last or "\ufffd" in "".join(cells):
                raise ValueError("not a row")
            last = int(cells[0])
            if last > until:
                return
            yield row

    def add(self, values: Mapping[str, str], iteration: int) -> None:
        """Write values into the row of `iteration`; a ValueError if that lies before the last row's."""
        if self._last and iteration < int(self._last["iteration"]):
            raise ValueError(f"{self.path}: iteration {iteration} comes after {self._last['iteration']}")
        merge = self._last.get("iteration") == str(iteration)
        new = [name for name in values if name not in self.columns]
        row = {**(self._last if merge else {"iteration": str(iteration)}), **values}
        if new or not self.path.exists():
            self.columns += new
            rows = self.read()
            self._rewrite([*(rows[:-1] if merge else rows), row])
            return
        line = self._line(row)
        with open(self.path, "r+b") as file:
            start = self._last_at if merge else file.seek(0, os.SEEK_END)
            file.seek(start)
            file.write(line)
            file.truncate()
        self._last, self._last_at = row, start

    def sync(self) -> None:
        """Make the rows survive a power cut."""
        if self.path.exists():
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        head = b"".join([self._line({name: name for name in self.columns}), *map(self._line, rows[:-1])])
        write_atomic(self.path, (head + b"".join(map(self._line, rows[-1:]))).decode())
        self._last, self._last_at = (rows[-1] if rows else {}), len(head)

    def _line(self, row: Mapping[str, str]) -> bytes:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow([row.get(name) or "" for name in self.columns])
        return buffer.getvalue().encode()


class CsvWriter(Logger):
    """Writes a run folder's metrics.csv, the same bytes in a resumed run as in an uninterrupted one, and timing.csv."""

    def __init__(self, folder: str | Path):
        super().__init__()
        self.folder = Path(folder)
        self.metrics, self.timing = Table(self.folder / "metrics.csv"), Table(self.folder / "timing.csv")

    @property
    def name(self) -> str:
        """Lightning's name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Lightning's version of the run: the name of its folder."""
        return self.folder.name

    @rank_zero_only
    def check(self, iteration: int) -> None:
        """Change nothing, and raise an InputError if a file is damaged before or at `iteration`."""
        for table in (self.metrics, self.timing):
            table.read(iteration)

    @rank_zero_only
    def start(self, iteration: int) -> None:
        """Go on after `iteration`, where training begins or resumes; must be called before the first row."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.metrics.rewind(iteration)
        self.timing.rewind(iteration)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars into the row of iteration `step`; those named timing/... into timing.csv."""
        assert step is not None, "the row's iteration"
        for table, timed in ((self.timing, True), (self.metrics, False)):
            own = {name: value for name, value in metrics.items() if name.startswith(TIMING) is timed}
            if own:
                table.add({name.removeprefix(TIMING): number(value) for name, value in own.items()}, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: they are in config.yaml."""

    @rank_zero_only
    def save(self) -> None:
        """Make what was written survive a power cut; called before a checkpoint."""
        self.metrics.sync()
        self.timing.sync()


def number(value: Any) -> str:
    """The shortest text that reads back as the same number."""
    value = value.item() if hasattr(value, "item") else value
    return str(value) if isinstance(value, int) else repr(float(value))
