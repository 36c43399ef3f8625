"""What options may be, read from the comments beside them in their yaml files. Free of torch.

A comment may begin (or go on after a semicolon) with one of these phrases, and is then binding:

    one of a, b, c                       one of the words
    above 0                              a greater number
    at least 1                           a greater or equal number
    in [0, 1)                            an interval; a round bracket leaves the end out
    above 0, or a list of them           also several, null among them; so with all numbers
    a whole number of at least 1         so with all ranges
    a text, a text or a number           for options that are null unless given

Every other comment is for the reader alone. null and "auto" are for the code where the default is one of them.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

NUMBER = r"-?[0-9.]+(?:e-?[0-9]+)?"
RANGE = re.compile(
    rf"(?P<whole>a whole number of )?(?:above (?P<above>{NUMBER})|at least (?P<least>{NUMBER})"
    rf"|in (?P<left>[\[(])(?P<low>{NUMBER}), (?P<high>{NUMBER})(?P<right>[\])]))(?P<several>, or a list of them)?"
)
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w/]*):(?P<value>.*?)(?:\s#\s*(?P<comment>.*))?$")


class Kind(NamedTuple):
    """What a value must be: in words, and as a test."""

    words: str
    accepts: Callable[[Any], bool]


def is_int(value: Any) -> bool:
    """A whole number, which a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """An integer or a float, which a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def parse(comment: str) -> Kind | None:
    """What a comment says that a value must be, or None."""
    found = (_phrase(phrase.strip()) for phrase in comment.split(";"))
    return next((each for each in found if each is not None), None)


def _phrase(phrase: str) -> Kind | None:
    if phrase.startswith("one of "):
        words = [word.strip() for word in phrase.removeprefix("one of ").split(",")]
        return Kind(phrase, lambda value: str(value) in words)
    if match := re.match(r"a text( or a number)?\b", phrase):
        types = str | int | float if match[1] else str
        return Kind(match[0], lambda value: isinstance(value, types))
    if match := RANGE.match(phrase):
        return Kind(match[0], _range(match))
    return None


def _range(match: re.Match[str]) -> Callable[[Any], bool]:
    number = is_int if match["whole"] else is_number
    lowest, highest = float(match["above"] or match["least"] or match["low"]), float(match["high"] or math.inf)
    beyond = operator.gt if match["above"] or match["left"] == "(" else operator.ge
    before = operator.lt if match["right"] == ")" else operator.le

    def accepts(value: Any) -> bool:
        if match["several"] and isinstance(value, list):
            return bool(value) and all(each is None or accepts(each) for each in value)
        return number(value) and beyond(value, lowest) and before(value, highest)

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
            words = f"{found.words}, or null" if match["value"].strip() == "null" else found.words
            ranges[".".join(filter(None, [package, *(key for _, key in parents)]))] = Kind(words, found.accepts)
    return ranges
