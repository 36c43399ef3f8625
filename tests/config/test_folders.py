"""Image folders: what is an image in them, and what a class. Reading them is tested in tests/data/test_folder.py."""

import os
from pathlib import Path

import pytest

from saddle.config.folders import count_classes, find_images, find_labelled_images
from saddle.errors import InputError


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


def test_what_is_neither_file_nor_folder_is_left_out_and_a_link_to_nowhere_is_not(tmp_path: Path) -> None:
    """A link that leads nowhere is a picture that is missing, which whoever reads it says."""
    for name in ("a/1.png", "b/2.png"):
        put(tmp_path / name)
    os.mkfifo(tmp_path / "0.png")  # beside the classes, of which there would be none were it an image
    (tmp_path / "b" / "3.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "b" / "4.png").mkdir()
    put(tmp_path / "b" / "4.png" / "5.png")
    found = [str(tmp_path / name) for name in ("a/1.png", "b/2.png", "b/3.png", "b/4.png/5.png")]
    assert find_labelled_images(tmp_path) == (found, [0, 1, 1, 1])


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a" / "1.png")
    put(tmp_path / "b" / "2.png")
    listed = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for find in (find_images, lambda path: count_classes(str(path))):
        with pytest.raises(InputError, match=r"/b cannot be listed \(Permission denied\): see to it"):
            find(tmp_path)
