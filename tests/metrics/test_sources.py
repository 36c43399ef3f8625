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
