"""Where a command writes, looked at before its work starts. Free of torch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from saddle.errors import InputError


def check_target(out: Path, own: Callable[[Path], bool], beside: Iterable[Path] = ()) -> None:
    """Refuse a file that cannot be written, or that would take the place of something that another has made.

    Args:
        out: the file.
        own: whether a file is one that the same command has written, which may be replaced.
        beside: further files that are written with it; they are replaced where `out` is.

    Raises:
        InputError: saying why, and what to do.
    """
    check_writable(out)
    if out.is_dir():
        raise InputError(f"out={out} is a folder: name a file")
    replaced = out.exists() and own(out)
    for path in [] if replaced else [out, *beside]:
        if path.exists():
            raise InputError(f"out={out}: {path} is there, and this command has not written it: name another file")


def check_writable(out: Path) -> None:
    """Raise an InputError if neither `out` nor the folders above it that are missing could be made."""
    above = next(path for path in Path(os.path.abspath(out)).parents if path.exists())
    if not above.is_dir():
        raise InputError(f"out={out}: {above} is no folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"out={out}: {above} cannot be written: name a file elsewhere by out=")


def holds(path: Path, *keys: str) -> bool:
    """Whether a file is a JSON object with these keys."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {*keys} <= {*found}
