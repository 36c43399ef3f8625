"""The ranges of options, read from the comments beside them in their yaml files. Free of torch.

A comment may begin (or go on after a semicolon) with one of these phrases, and is then binding:

    one of a, b, c        one of the words
    above 0               greater
    at least 1            greater or equal
    in [0, 1)             an interval; a round bracket leaves the end out

Every other comment is for the reader alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

NUMBER = r"(-?[0-9.]+(?:e-?[0-9]+)?)"
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w/]*):(?P<value>.*?)(?:\s#\s*(?P<comment>.*))?$")


class Kind(NamedTuple):
    """What a value must be: in words, and as a test."""

    words: str
    accepts: Callable[[Any], bool]


def parse(comment: str) -> Kind | None:
    """The range that a comment states, or None."""
    found = (_phrase(phrase.strip()) for phrase in comment.split(";"))
    return next((each for each in found if each is not None), None)


def _phrase(phrase: str) -> Kind | None:
    if phrase.startswith("one of "):
        words = [word.strip() for word in phrase.removeprefix("one of ").split(",")]
        return Kind(phrase, lambda value: str(value) in words)
    if match := re.match(rf"above {NUMBER}", phrase):
        return Kind(match[0], _interval("(", float(match[1]), math.inf, "]"))
    if match := re.match(rf"at least {NUMBER}", phrase):
        return Kind(match[0], _interval("[", float(match[1]), math.inf, "]"))
    if match := re.match(rf"in ([\[(]){NUMBER}, {NUMBER}([\])])", phrase):
        return Kind(match[0], _interval(match[1], float(match[2]), float(match[3]), match[4]))
    return None


def _interval(left: str, low: float, high: float, right: str) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        return (low < value or (left == "[" and value == low)) and (value < high or (right == "]" and value == high))

    return accepts


def ranges_of(path: Path, package: str) -> dict[str, Kind]:
    """The dotted keys and ranges of a yaml in block style whose content goes under `package`."""
    ranges: dict[str, Kind] = {}
    parents: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = KEY.match(line)
        if match is None:
            continue
        indent = len(match["indent"])
        while parents and parents[-1][0] >= indent:
            parents.pop()
        parents.append((indent, match["key"]))
        found = parse(match["comment"] or "")
        if found:
            ranges[".".join(filter(None, [package, *(key for _, key in parents)]))] = found
    return ranges
