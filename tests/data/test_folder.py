"""The data modules of image folders."""

import os

import pytest
from PIL import Image

from saddle.config.folders import count_classes
from saddle.data.folder import Folder, ImageNet
from saddle.errors import InputError


def put(path, colour=(10, 20, 30), size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def loaded(module, **options):
    data = module(**options)
    data.prepare_data()
    data.setup()
    return data


def test_classes_are_sub_folders_in_the_order_of_their_names(options, tmp_path):
    put(tmp_path / "b" / "1.png", (1, 1, 1))
    put(tmp_path / "a" / "deep" / "er" / "2.PNG", (2, 2, 2))
    put(tmp_path / "c" / "3.bmp", (3, 3, 3))
    put(tmp_path / ".hidden" / "4.png")
    put(tmp_path / "c" / "._5.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    assert count_classes(str(tmp_path)) == 3
    data = loaded(Folder, **options | {"classes": 3})
    assert {(int(image[0, 0, 0]), int(label)) for image, label in (data.train_set[i] for i in range(3))} == {
        (2, 0),
        (1, 1),
        (3, 2),
    }
    assert data.test_set is None


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "JPG"])
def test_formats_and_no_labels(options, tmp_path, suffix):
    put(tmp_path / f"1.{suffix}")
    data = loaded(Folder, **options | {"classes": 0})
    assert data.train_set[0][0].float().mean((1, 2)).tolist() == pytest.approx([10, 20, 30], abs=2)
    assert data.train_set.labels.tolist() == [0]


def test_wrong_class_count_names_both_numbers(options, tmp_path):
    put(tmp_path / "a" / "1.png")
    put(tmp_path / "b" / "2.png")
    with pytest.raises(InputError, match="data.classes=10, but .* holds 2 classes"):
        loaded(Folder, **options)


@pytest.mark.parametrize("memory_gb", [1.0, 0.0])
def test_unreadable_image_is_named(options, tmp_path, memory_gb):
    for i in range(300):
        put(tmp_path / f"{i:03}.png", size=(2, 2))
    bad = tmp_path / "270.png"
    bad.write_bytes(bad.read_bytes()[:50])
    with pytest.raises(InputError, match=f"cannot read the image {bad}"):
        loaded(Folder, **options | {"classes": 0, "memory_gb": memory_gb}).train_set.__getitems__([270])


def test_empty_and_missing_folders(options, tmp_path):
    with pytest.raises(InputError, match=f"data.path={tmp_path}: no image in this folder"):
        loaded(Folder, **options)
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        loaded(Folder, **options | {"path": str(tmp_path / "nowhere")})


def test_two_channels_are_refused(options, tmp_path):
    put(tmp_path / "1.png")
    with pytest.raises(InputError, match="data.channels=2"):
        loaded(Folder, **options | {"channels": 2})


def test_fingerprint_follows_the_content(options, tmp_path):
    for memory_gb in (1.0, 0.0):
        settings = options | {"classes": 0, "memory_gb": memory_gb}
        put(tmp_path / "1.png")
        first = loaded(Folder, **settings).train_set.fingerprint()
        assert loaded(Folder, **settings).train_set.fingerprint() == first
        assert loaded(Folder, **settings | {"resolution": 16}).train_set.fingerprint() != first
        put(tmp_path / "1.png", (10, 20, 31))
        assert loaded(Folder, **settings).train_set.fingerprint() != first


def test_a_streamed_set_of_files_whose_names_are_no_unicode(options, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(folder)
    Image.new("RGB", (8, 8)).save(os.path.join(folder, os.fsdecode(b"\xff.png")))
    data = loaded(Folder, **options | {"classes": 0, "memory_gb": 0.0, "path": folder})
    assert data.train_set[0][0].shape == (3, 32, 32) and len(data.train_set.fingerprint()) == 64


def test_a_link_to_nowhere_is_named_before_it_is_decoded(options, tmp_path):
    (tmp_path / "1.png").symlink_to(tmp_path / "gone")
    data = loaded(Folder, **options | {"classes": 0, "memory_gb": 0.0})
    with pytest.raises(InputError, match=r"cannot read the image .*1\.png \(No such file"):
        data.train_set.fingerprint()


def test_imagenet(options, tmp_path):
    for split, grey in (("train", 7), ("val", 9)):
        for name in ("n01440764", "n01443537"):
            put(tmp_path / "imagenet" / split / name / "x.jpeg", (grey,) * 3)
    data = loaded(ImageNet, **options | {"classes": 2})
    assert data.train_set.labels.tolist() == data.test_set.labels.tolist() == [0, 1]
    assert int(data.train_set[0][0][0, 0, 0]) == 7 and int(data.test_set[1][0][0, 0, 0]) == 9
    with pytest.raises(InputError, match="no folder train"):
        loaded(ImageNet, **options | {"path": str(tmp_path / "imagenet" / "train")})
