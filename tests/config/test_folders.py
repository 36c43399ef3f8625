"""Image folders: what is an image in them, and what a class. Reading them is tested in tests/data/test_folder.py."""

from pathlib import Path

import pytest

from saddle.config.folders import count_classes, find_images


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize("names", [["a/1.png", "2.png", "b/3.png"], ["a/1.png", "a/b/2.png"], []])
def test_folders_without_classes(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        put(tmp_path / name)
    assert count_classes(str(tmp_path)) == 0
    assert count_classes(str(tmp_path / "nowhere")) == 0


def test_links_that_go_round_in_circles(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert find_images(tmp_path) == [str(tmp_path / "a" / "1.png")]
