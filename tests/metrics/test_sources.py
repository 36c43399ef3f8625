"""Images from files, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from saddle.errors import InputError
from saddle.metrics.sources import ArraySource, open_images


def write_folder(folder, pixels):
    folder.mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    return folder


def test_npz(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.arange(5))
    source = open_images(tmp_path / "a.npz")
    images, labels = source.read(1, 4)
    assert len(source) == 5 and labels is not None and labels.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), pixels[1:4])
    np.savez(tmp_path / "b.npz", pixels)  # numpy's own name, arr_0
    np.testing.assert_array_equal(open_images(tmp_path / "b.npz").read(0, 5)[0].permute(0, 2, 3, 1), pixels)
    np.savez(tmp_path / "c.npz", images=pixels[..., 0])
    assert open_images(tmp_path / "c.npz").read(0, 5)[0].shape == (5, 1, 4, 6)


def test_folder(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    colour = open_images(write_folder(tmp_path / "colour", pixels))
    np.testing.assert_array_equal(colour.read(0, 3)[0].permute(0, 2, 3, 1), pixels)
    grey = open_images(write_folder(tmp_path / "grey", pixels[..., 0]))
    np.testing.assert_array_equal(grey.read(1, 3)[0][:, 0], pixels[1:, :, :, 0])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": np.zeros((3, 4, 4, 3))}, "float64"),
        ({"images": np.full((3, 4, 4, 3), np.nan)}, "NaN"),
        ({"images": np.zeros((3, 4, 4, 2), np.uint8)}, "shape"),
        ({"labels": np.zeros(3, np.int64)}, "no array called images"),
        ({"images": np.zeros((3, 4, 4, 1), np.uint8), "labels": np.zeros(2, np.int64)}, "labels"),
        ({"images": np.array([{}], dtype=object)}, "plain arrays"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, arrays, says):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=says):
        open_images(tmp_path / "a.npz")


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        open_images(tmp_path / "missing.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match="bad.npz"):
        open_images(tmp_path / "bad.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        open_images(tmp_path / "empty")
    mixed = write_folder(tmp_path / "mixed", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)])
    with pytest.raises(InputError, match="5x4"):
        open_images(mixed).read(0, 2)
    (mixed / "001.png").write_bytes(b"no")
    with pytest.raises(InputError, match="001.png"):
        open_images(mixed).read(0, 2)
    (mixed / "001.png").unlink()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(mixed / "002.png")
    with pytest.raises(InputError, match="grey"):
        open_images(mixed).read(0, 2)
    with pytest.raises(InputError, match="float32"):
        ArraySource(torch.zeros(2, 1, 4, 4), None, "x")


def test_an_npz_file_whose_numbers_cannot_be_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[60:400] = b"\xff" * 340
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz is damaged \(.*\): give an npz file of plain arrays"):
        open_images(tmp_path / "a.npz")


def test_a_folder_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (6, 4)).save(tmp_path / "0.jpg", exif=exif)
    assert open_images(tmp_path).read(0, 1)[0].shape == (1, 3, 6, 4)
