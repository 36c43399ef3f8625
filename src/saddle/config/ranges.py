"""What options may be, read from the comments beside them in their yaml files. Free of torch.

A comment is binding if it begins, or goes on after a semicolon, with one of these phrases and no word more:

    one of a, b, c                       one of the words
    above 0                              a greater number
    at least 1                           a greater or equal number
    in [0, 1)                            an interval; a round bracket leaves the end out
    above 0, or a list of them           also several, null among them; so with all numbers
    a whole number of at least 1         so with all ranges
    a whole number, a number             of any size
    true or false
    a text                               taken as it is typed, also where it reads like a number
    a path, an existing path             likewise, and not empty; of something that is there
    a folder, a run folder               a path of such
    a list, a list of whole numbers      of anything, or of one of: whole numbers, numbers, texts; not empty
    options                              a mapping
    A, or B                              either of two of these

A line of its own in a mapping, `# takes more; ...`, says that it takes entries that it does not list.

Every other comment is for the reader alone, also one that is nearly a phrase, or that its own default does not fulfil.
null and "auto" are for the code where they are the default.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

NUMBER = r"-?[0-9.]+(?:e-?[0-9]+)?"
RANGE = re.compile(
    rf"(?P<whole>a whole number of )?(?:above (?P<above>{NUMBER})|at least (?P<least>{NUMBER})"
    rf"|in (?P<left>[\[(])(?P<low>{NUMBER}), (?P<high>{NUMBER})(?P<right>[\])]))"
)
CHOICE = re.compile(r"one of ([^\s,]+(?:, [^\s,]+)*)")
SEVERAL = ", or a list of them"
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w/]*):(?P<value>.*?)(?:\s#\s*(?P<comment>.*))?$")
MORE = re.compile(r"^(?P<indent> *)# takes more(?:;|$)")


class Kind(NamedTuple):
    """What a value must be: in words, and as a test.

    Args:
        words: after "must be".
        accepts: whether a value is one.
        as_typed: a word on the command line stands for itself, not for the number that it may read like.
        fault: what is wrong with a value that is not accepted, where more can be said than the words.
        more: a mapping that takes entries which it does not list.
    """

    words: str
    accepts: Callable[[Any], bool]
    as_typed: bool = False
    fault: Callable[[Any], str | None] = lambda value: None
    more: bool = False


def is_int(value: Any) -> bool:
    """A whole number, which a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """An integer or a float that is finite, which a bool is not."""
    return is_int(value) or (isinstance(value, float) and math.isfinite(value))


def is_text(value: Any) -> bool:
    """A text."""
    return isinstance(value, str)


def _list_of(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(map(accepts, value))


def _path_fault(value: Any) -> str | None:
    return None if is_text(value) and value else "an empty path, as of an unset variable: give one, or leave it out"


def _missing(value: Any) -> str | None:
    path = os.path.expanduser(value) if value else ""
    if _path_fault(value):
        return _path_fault(value)
    if not os.path.exists(path):
        return "there is no such file or folder"
    return None if os.access(path, os.R_OK) else "cannot be read: permission denied"


def _no_folder(value: Any) -> str | None:
    fault = _missing(value)
    return fault or (None if os.path.isdir(os.path.expanduser(value)) else "is a file, not a folder")


def _no_run(value: Any) -> str | None:
    config = os.path.join(os.path.expanduser(value), "config.yaml")
    fault = _no_folder(value)
    if fault is None and not os.path.isfile(config):
        return "is not a run folder: it has no config.yaml"
    return fault or (None if os.access(config, os.R_OK) else "its config.yaml cannot be read: permission denied")


def _path(words: str, fault: Callable[[Any], str | None]) -> Kind:
    return Kind(
        words, lambda value: is_text(value) and fault(value) is None, True, lambda v: fault(v) if is_text(v) else None
    )


KINDS = {
    kind.words: kind
    for kind in (
        Kind("a whole number", is_int),
        Kind("a number", is_number),
        Kind("true or false", lambda value: isinstance(value, bool)),
        Kind("a text", is_text, as_typed=True),
        Kind("a list", lambda value: isinstance(value, list)),
        Kind("options", lambda value: isinstance(value, dict)),
        Kind("a list of whole numbers", _list_of(is_int)),
        Kind("a list of numbers", _list_of(is_number)),
        Kind("a list of texts", _list_of(is_text)),
        _path("a path", _path_fault),
        _path("an existing path", _missing),
        _path("a folder", _no_folder),
        _path("a run folder", _no_run),
    )
}


def parse(comment: str, default: Any = None) -> Kind | None:
    """What a comment says that a value must be, or None; never what its `default` is not."""
    found = (_phrase(phrase.strip()) for phrase in comment.split(";"))
    kind = next((each for each in found if each is not None), None)
    free = default is None or default == "auto" or (is_text(default) and (default == "???" or "${" in default))
    return kind if kind and (free or kind.as_typed or kind.accepts(default)) else None


def _phrase(phrase: str) -> Kind | None:
    if phrase.endswith(SEVERAL):
        one = _range(phrase.removesuffix(SEVERAL))
        return one and Kind(
            phrase,
            lambda value: _list_of(lambda each: each is None or one.accepts(each))(value) or one.accepts(value),
        )
    first, _, second = phrase.partition(", or ")
    kind = KINDS.get(first) or _choice(first) or _range(first)
    if kind is None or not second:
        return kind
    other = KINDS.get(second) or _range(second)
    return other and Kind(phrase, lambda value: kind.accepts(value) or other.accepts(value))


def _choice(phrase: str) -> Kind | None:
    if not (match := CHOICE.fullmatch(phrase)):
        return None
    words = match[1].split(", ")
    return Kind(phrase, lambda value: not isinstance(value, list | dict) and str(value) in words)


def _range(phrase: str) -> Kind | None:
    if not (match := RANGE.fullmatch(phrase)):
        return None
    number = is_int if match["whole"] else is_number
    lowest, highest = float(match["above"] or match["least"] or match["low"]), float(match["high"] or math.inf)
    beyond = operator.gt if match["above"] or match["left"] == "(" else operator.ge
    before = operator.lt if match["right"] == ")" else operator.le
    return Kind(phrase, lambda value: number(value) and beyond(value, lowest) and before(value, highest))


def ranges_of(path: Path, package: str) -> dict[str, Kind]:
    """The dotted keys and kinds of a yaml in block style whose content goes under `package`."""
    kinds: dict[str, Kind] = {}
    parents: list[tuple[int, str]] = []

    def below(indent: int) -> list[str]:
        while parents and parents[-1][0] >= indent:
            parents.pop()
        return [part for part in (package, *(key for _, key in parents)) if part]

    for line in path.read_text(encoding="utf-8").splitlines():
        if more := MORE.match(line):
            kinds[".".join(below(len(more["indent"])))] = Kind(
                "options", lambda value: isinstance(value, dict), more=True
            )
        if (match := KEY.match(line)) is None:
            continue
        key = ".".join([*below(len(match["indent"])), match["key"]])
        parents.append((len(match["indent"]), match["key"]))
        if found := parse(match["comment"] or "", literal(match["value"])):
            kinds[key] = found._replace(words=f"{found.words}, or null") if match["value"].strip() == "null" else found
    return kinds


def literal(text: str) -> Any:
    """What a value in a yaml reads as; None where it has none of its own."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    if is_text(value) and re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?[0-9]+", value):  # YAML 1.1 takes 1e-4 for a text
        return float(value)
    return value
