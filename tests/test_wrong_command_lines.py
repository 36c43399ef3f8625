"""Wrong command lines, made from the configs and written down: some are checked here, all by a command of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wrong_command_lines
from wrong_command_lines import CONF, Line

from saddle.config import ranges
from saddle.config.check import checked
from saddle.config.compose import Composer
from saddle.errors import InputError

NOT_CHECKED = ("a path", "a sweep", "a flag")  # these take the command itself
STEP = 60  # of the lines, every so manieth
PHRASES = (
    "one of ",
    "above ",
    "at least ",
    "in [",
    "in (",
    "a whole",
    "a number",
    "a text",
    "a path",
    "a list",
    "a run ",
)


def some() -> list[Line]:
    """A fixed sample of the lines that the check refuses, and one for each fault."""
    every = [line for line in wrong_command_lines.lines(thorough=False) if line.fault not in NOT_CHECKED]
    every = [line for line in every if not any("hydra" in word for word in line.words)]
    return list(dict.fromkeys([*{line.fault: line for line in every}.values(), *every[::STEP]]))


def test_a_sample_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    accepted = []
    sample = some()
    for command in sorted({line.command for line in sample}):
        with Composer(CONF, command) as composer:
            for line in (line for line in sample if line.command == command):
                try:
                    checked(composer, line.words)
                    accepted.append(str(line))
                except InputError as error:
                    assert "\n" not in str(error), line
    assert not accepted and len(sample) > 15
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_all_are_refused_by_the_commands() -> None:
    script = Path(wrong_command_lines.__file__)
    environment = {**os.environ, "PYTHONPATH": str(script.parent.parent / "src")}
    done = subprocess.run([sys.executable, str(script), "check"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def options() -> Iterator[tuple[Path, str, str, str]]:
    """Of each option in the yaml files: its file, key, default and comment."""
    for path in sorted(CONF.rglob("*.yaml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := ranges.KEY.match(line):
                yield path.relative_to(CONF), match["key"], match["value"].strip(), match["comment"] or ""


def test_every_option_of_the_shipped_files_has_a_kind() -> None:
    """Where the default does not say it (null, auto, ???), the comment does."""
    open_defaults = [
        f"{path}: {key}"
        for path, key, default, comment in options()
        if default in ("null", "auto", "???") and path.parts[0] != "hydra" and ranges.parse(comment) is None
    ]
    assert not open_defaults


def test_no_comment_of_the_shipped_files_is_nearly_a_phrase() -> None:
    nearly = [
        f"{path}: {key}: {phrase}"
        for path, key, default, comment in options()
        for phrase in map(str.strip, comment.split(";"))
        if phrase.startswith(PHRASES) and ranges.parse(phrase, ranges.literal(default)) is None
    ]
    assert not nearly
