"""Ranges are read from the comments of the yaml files."""

from pathlib import Path

import pytest

from saddle.config import ranges


@pytest.mark.parametrize(
    ("comment", "good", "bad"),
    [
        ("one of batch, none", ["batch", "none"], ["bat", "batch, none", 3]),
        ("above 0; published: 2e-4", [1e-9, 5], [0, -1.0]),
        ("channels; at least 1", [1, 2], [0, 0.5]),
        ("in [0, 1); weight of the past", [0, 0.999], [-0.1, 1, 1.0]),
        ("in (0, 1]", [1, 1e-3], [0, 1.1]),
        ("in [-1e3, 2.5]", [-1000, 2.5], [2.6, "2", True]),
        ("a whole number of at least 1; of steps", [1, 7], [0, 1.5, 2.0, "x", True]),
        ("above 0, or a list of them; null: none", [0.5, [1, 0.5], [None, 1]], [0, [], [1, 0], [1, "x"], "x"]),
        ("a text; a score", ["x"], [1, ["x"]]),
        ("a path; JSON file", ["x", "2024_01_02"], ["", 2026, ["x"], {}]),
        ("a whole number of at least 1, or a list of whole numbers", [1, 8, [0, 3]], [0, -1, [], [0.5], "auto"]),
        ("a list of whole numbers", [[0, 1]], [[], 3, ["a"], [True]]),
        ("a number", [1, -0.5], ["x", True, float("inf")]),
    ],
)
def test_a_phrase_is_a_range(comment: str, good: list, bad: list) -> None:
    found = ranges.parse(comment)
    assert found is not None
    assert all(found.accepts(value) for value in good)
    assert not any(found.accepts(value) for value in bad)


NEARLY = [
    "one of the rates we tried first",
    "one of them",
    "at least 1 hour",
    "above 0 and below 1",
    "in [0, 1) at first",
    "a text that the user chose",
    "a list: of what",
]


@pytest.mark.parametrize("comment", ["", "published: 0.9999", "channels of the last layer, above it none", *NEARLY])
def test_other_comments_say_nothing(comment: str) -> None:
    assert ranges.parse(comment, 0.1) is None


def test_what_its_own_default_is_not_is_no_rule(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("rate: 2e-4 # one of many, see below\nmode: fast # one of fast, slow\nwidth: 4 # above 8\n")
    assert [*ranges.ranges_of(file, "")] == ["mode"]


def test_a_mapping_says_that_it_takes_more(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("wandb:\n  # takes more; of wandb.init\n  project: saddle\n# takes more than this\n")
    assert {key: kind.more for key, kind in ranges.ranges_of(file, "logger").items()} == {"logger.wandb": True}


def test_keys_are_nested_under_the_package(tmp_path: Path) -> None:
    file = tmp_path / "r1.yaml"
    file.write_text(
        "# one of nothing\nr1:\n  weight: 10.0 # above 0\n  inner:\n    a: x # one of x, y\nb: null # at least 0\n"
    )
    found = ranges.ranges_of(file, "penalty")
    assert {key: r.words for key, r in found.items()} == {
        "penalty.r1.weight": "above 0",
        "penalty.r1.inner.a": "one of x, y",
        "penalty.b": "at least 0, or null",
    }
