"""Reads what W&B writes while it is offline: a log in the format of LevelDB whose records are protocol buffers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK, HEAD = 7, 32 * 1024, 7  # bytes; a piece of a record has a checksum (4), its length (2) and its kind (1)
FULL, LAST = 1, 4  # kinds of pieces that end a record


def records(path: Path) -> Iterator[Record]:
    """All records of a .wandb file."""
    data, at, parts = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while at + HEAD <= len(data):
        if BLOCK - at % BLOCK < HEAD:  # the rest of a block is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + HEAD : at + HEAD + length]
        at += HEAD + length
        if kind in (FULL, LAST):
            yield Record.FromString(parts)
            parts = b""


@dataclass
class OfflineRun:
    """What one offline run told W&B."""

    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    stats: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[Any] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    run: Any = None
    exit_code: int | None = None

    @property
    def keys(self) -> set[str]:
        """Every key of the history."""
        return {key for row in self.history for key in row}

    def column(self, key: str) -> dict[int, Any]:
        """The values of a key by step."""
        return {row["_step"]: row[key] for row in self.history if key in row}


def read(folder: Path) -> OfflineRun:
    """The only offline run inside a run folder."""
    (path,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    found = OfflineRun()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            update(found.config, record.run.config.update)
        elif kind == "config":
            update(found.config, record.config.update)
        elif kind == "summary":
            update(found.summary, record.summary.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            update(row, record.history.item)
            found.history.append(row)
        elif kind == "stats":
            found.stats.append({item.key: json.loads(item.value_json) for item in record.stats.item})
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "files":
            found.files += [item.path for item in record.files.files]
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def update(values: dict[str, Any], items: Any) -> None:
    """Take in key-value pairs; a nested key is joined by dots."""
    for item in items:
        values[".".join(item.nested_key) or item.key] = json.loads(item.value_json)
