import io

import numpy as np
import pytest
import torch
from PIL import Image

from saddle.data.images import ArrayImages, FileImages, decode, resize
from saddle.errors import InputError


def encoded(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def test_resize_agrees_with_pillow():
    # middle values only, because Pillow clips overshoot after each of the two axes
    pixels = np.random.default_rng(0).integers(90, 166, (3, 1, 24, 24), np.uint8)
    for resolution in (8, 10, 48):
        ours = resize(torch.from_numpy(pixels), resolution)
        for image, array in zip(ours, pixels, strict=True):
            theirs = np.array(Image.fromarray(array[0]).resize((resolution,) * 2, Image.Resampling.BICUBIC))
            assert np.abs(image[0].numpy().astype(int) - theirs).max() <= 1


def test_resize_keeps_the_same_resolution_untouched():
    pixels = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(resize(pixels, 8), pixels)


def test_downsampling_averages():
    checkers = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255
    assert (resize(checkers.byte()[None, None], 8).float() - 127.5).abs().max() < 2


def test_centre_square():
    image = Image.new("RGB", (30, 10), "black")
    image.paste((255, 0, 0), (10, 0, 20, 10))
    assert decode(encoded(image), "x", 10, 3).flatten(1).float().mean(1).tolist() == [255, 0, 0]


def test_grey_and_colour():
    assert decode(encoded(Image.new("L", (4, 4), 77)), "x", 4, 3).unique().tolist() == [77]
    assert decode(encoded(Image.new("RGB", (4, 4), (0, 255, 0))), "x", 4, 1).unique().tolist() == [150]  # luma 0.587


def test_sixteen_bits():
    image = Image.fromarray(np.full((4, 4), 257 * 100, np.uint16))
    assert decode(encoded(image), "x", 4, 1).unique().tolist() == [100]


def test_transparent_is_white():
    assert decode(encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0))), "x", 4, 3).unique().tolist() == [255]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 5, 6, 7])
    assert decode(encoded(palette), "x", 4, 3)[:, 0, 0].tolist() == [5, 6, 7]
    assert decode(encoded(palette, transparency=1), "x", 4, 3).unique().tolist() == [255]


def test_turned_upright():
    image = Image.new("L", (4, 4), 0)
    image.paste(255, (0, 0, 4, 2))  # upper half
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half a turn
    upright = decode(encoded(image, exif=exif), "x", 4, 1)[0]
    assert upright[:2].max() == 0 and upright[2:].min() == 255


@pytest.mark.parametrize("content", [b"", b"GIF8", encoded(Image.effect_noise((64, 64), 9))[:600]])
def test_unreadable(content):
    with pytest.raises(InputError, match="cannot read the image somewhere"):
        decode(content, "somewhere", 8, 3)


def test_read_all_keeps_the_order(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(600)]
    for i, path in enumerate(paths):
        Image.new("RGB", (2, 2), (i % 256, i // 256, 0)).save(path)
    images = FileImages(paths, 2, 3, "x").read_all()
    assert (images[:, 0, 0, 0].int() + 256 * images[:, 1, 0, 0].int()).tolist() == list(range(600))


def test_array_fingerprint_follows_pixels_and_resolution():
    array = np.zeros((300, 1, 4, 4), np.uint8)
    first = ArrayImages(array, 8, "x").fingerprint()
    assert ArrayImages(array, 16, "x").fingerprint() != first
    array[299, 0, 3, 3] = 1
    assert ArrayImages(array, 8, "x").fingerprint() != first
