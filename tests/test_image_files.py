"""One image file: what is read of a sound, a broken and a hostile one."""

import io
import os
import random
import socket
import stat
import struct

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from saddle.config.folders import walk_images
from saddle.data.images import decode
from saddle.errors import InputError
from saddle.image_files import open_image
from saddle.metrics.sources import open_images
from saddle.report.figures.runs import crop
from saddle.report.reading import Run

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(marker) (w) file closefile\n"
ORIENTATION, TURNED = 0x0112, 3  # by half a turn


def encoded(kind: str = "PNG", exif: bytes | Image.Exif = b"") -> bytes:
    """Four by four grey pixels, the upper half white."""
    image = Image.new("L", (4, 4), 0)
    image.paste(255, (0, 0, 4, 2))
    file = io.BytesIO()
    image.save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    "read",
    [
        lambda path: open_image(path),
        lambda path: open_image(path.read_bytes(), "0.png"),
        lambda path: decode(str(path), "0.png", 8, 3),
        lambda path: open_images(path.parent),
    ],
    ids=["path", "bytes", "training", "evaluation"],
)
def test_no_reader_starts_a_program(tmp_path, monkeypatch, read):
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/marker\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow looks for it once
    picture = tmp_path / "pictures" / "0.png"
    picture.parent.mkdir()
    picture.write_bytes(EPS)
    with pytest.raises(InputError, match=r"0\.png \(it is none of JPEG, PNG"):
        read(picture)
    assert crop(Run(tmp_path, "run", grid=picture), 100) is None
    assert not (tmp_path / "marker").exists()


def exif_with(tag: int, kind: int, count: int, value: int) -> bytes:
    """EXIF data of half a turn and of another entry."""
    entries = struct.pack("<HHII", ORIENTATION, 3, 1, TURNED) + struct.pack("<HHII", tag, kind, count, value)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("exif", "turned"),
    [
        (exif_with(40965, 12, 3, 0), True),  # struct.error where Pillow takes the orientation out
        (exif_with(271, 12, 3, 0), True),  # AttributeError: the maker is a number
        (exif_with(282, 2, 3, 8), True),  # TypeError: the resolution is a text
        (exif_with(34853, 9, 1, 1 << 31), True),  # ValueError: a place far outside
        (b"Exif\0\0II*\0", False),
        (b"Exif\0\0nothing of the kind", False),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_picture_with_broken_exif_is_used_and_turned_where_it_says_how(exif, turned):
    for kind in ("JPEG", "PNG"):
        upper, lower = np.asarray(open_image(encoded(kind, exif)), int).reshape(2, 8).mean(1)
        assert bool(upper < lower) == turned


@pytest.mark.filterwarnings("ignore")
def test_whatever_the_bytes_there_is_an_image_or_one_line():
    draws = random.Random(0)
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    sound = [encoded(kind, exif) for kind in ("PNG", "JPEG", "TIFF", "WEBP")] + [encoded("BMP")]
    outcomes = set()
    for _ in range(200):
        content = bytearray(draws.choice(sound))
        for _ in range(draws.choice([1, 2, 8])):
            content[draws.randrange(len(content))] = draws.choice([0, 255, draws.randrange(256)])
        try:
            outcomes.add(tuple(decode(bytes(content[: draws.choice([9999, len(content) // 2])]), "it", 4, 3).shape))
        except InputError as error:
            outcomes.add("refused")
            assert str(error).startswith("cannot read the image it (") and "\n" not in str(error)
    assert outcomes == {(3, 4, 4), "refused"}


def test_a_decompression_bomb_is_named(tmp_path, monkeypatch):
    (tmp_path / "0.png").write_bytes(encoded())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    with pytest.raises(InputError, match=r"0\.png \(Image size \(16 pixels\) exceeds"):
        open_image(tmp_path / "0.png")


def test_nobody_waits_for_a_pipe(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    os.mkfifo(tmp_path / "b.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "c.png"))
        (tmp_path / "d.png").symlink_to("b.png")
        for name in "bcd":
            with pytest.raises(InputError, match=rf"{name}\.png \(it is no regular file\): see to that"):
                open_image(tmp_path / f"{name}.png")
        assert [os.path.basename(file) for file in sorted(walk_images(tmp_path))] == ["a.png", "d.png"]
        source = open_images(tmp_path)
        with pytest.raises(InputError, match=r"d\.png \(it is no regular file\)"):
            source.fingerprint()
    with pytest.raises(InputError, match=r"e\.png \(No such file"):
        open_image(tmp_path / "e.png")
