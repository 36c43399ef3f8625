import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from saddle.data.idx import MNIST, FashionMNIST, read_idx
from saddle.errors import InputError

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def write(path: Path, array: np.ndarray) -> None:
    content = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_set(folder: Path, suffix: str = ".gz", classes: int = 10) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28), np.uint8)
    labels = (np.arange(30) % classes).astype(np.uint8)
    for name, array in zip(NAMES, [images[:20], labels[:20], images[20:], labels[20:]], strict=True):
        write(folder / (name + suffix), array)
    return images


@pytest.fixture
def grey(options, monkeypatch):
    monkeypatch.setattr(FashionMNIST, "packaged", ())
    return {**options, "channels": 1}


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("folder", ["fashion_mnist", "FashionMNIST/raw", "."])
def test_padded_with_black(grey, tmp_path, folder, suffix):
    images = write_set(tmp_path / folder, suffix)
    data = FashionMNIST(**grey)
    data.prepare_data()
    data.setup()
    pixels, labels = data.train_set.__getitems__(range(20))
    assert pixels.shape == (20, 1, 32, 32)
    assert np.array_equal(pixels[:, 0, 2:30, 2:30], images[:20])
    assert pixels.sum() == images[:20].sum()
    assert labels.tolist() == [i % 10 for i in range(20)]
    assert len(data.test_set) == 10 and np.array_equal(data.test_set[3][0][0, 2:30, 2:30], images[23])


@pytest.mark.parametrize("resolution", [28, 16, 64])
def test_other_resolutions(grey, tmp_path, resolution):
    images = write_set(tmp_path / "mnist")
    data = MNIST(**grey | {"resolution": resolution})
    data.setup()
    pixels, _ = data.train_set.__getitems__([5])
    assert pixels.shape == (1, 1, resolution, resolution)
    if resolution == 28:
        assert np.array_equal(pixels[0, 0], images[5])
    else:  # resized from the padded image: its black frame stays black
        frame = resolution // 32
        assert frame == 0 or pixels[0, 0, :frame].sum() == 0


def test_packaged_files_are_found(grey, tmp_path, monkeypatch, offline):
    write_set(tmp_path / "system")
    monkeypatch.setattr(FashionMNIST, "packaged", (tmp_path / "system",))
    data = FashionMNIST(**grey | {"path": str(tmp_path / "nothing")})
    data.prepare_data()
    data.setup()
    assert len(data.train_set) == 20 and offline == []


def test_nothing_works_names_the_three_ways(grey, offline, tmp_path):
    with pytest.raises(InputError) as caught:
        FashionMNIST(**grey).prepare_data()
    message = str(caught.value)
    assert all(way in message for way in ("dataset-fashion-mnist", str(tmp_path / "fashion_mnist"), "download"))
    assert "\n" not in message and offline
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_mnist_in_place_of_fashion_is_refused(grey, tmp_path):
    write_set(tmp_path)
    write(tmp_path / "train-labels-idx1-ubyte.gz", np.array([5, 0, 4, 1, 9, 2, 1, 3] + [0] * 12, np.uint8))
    with pytest.raises(InputError, match="another data set than fashion_mnist"):
        FashionMNIST(**grey).setup()


def test_wrong_class_count_names_both_numbers(grey, tmp_path):
    write_set(tmp_path / "mnist", classes=7)
    with pytest.raises(InputError, match=r"data.classes=10.* holds 7 classes"):
        MNIST(**grey).setup()


def test_wrong_channels_name_both_numbers(grey, tmp_path):
    write_set(tmp_path / "mnist")
    with pytest.raises(InputError, match=r"data.channels=3.* have 1"):
        MNIST(**grey | {"channels": 3}).setup()


def test_no_classes_leave_the_labels_away(grey, tmp_path):
    write_set(tmp_path / "mnist")
    data = MNIST(**grey | {"classes": 0})
    data.setup()
    assert torch.equal(data.train_set.labels, torch.zeros(20, dtype=torch.int64))


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2]), mtime=0),  # one dimension instead of three
        gzip.compress(bytes([0, 0, 13, 3]) + bytes(12), mtime=0),  # floats
        gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3]), mtime=0),  # one byte short
        gzip.compress(bytes(5000), mtime=0)[:-9],  # cut off
        b"",
    ],
    ids=["not gzip", "one dimension", "floats", "one byte short", "cut off", "empty"],
)
def test_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="train-images-idx3-ubyte.gz is damaged"):
        read_idx(path, 3)


def test_real_fashion_mnist(options):
    data = FashionMNIST(**options | {"channels": 1})
    if not data.packaged[0].exists():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    data.prepare_data()
    data.setup()
    assert torch.bincount(data.train_set.labels).tolist() == [6000] * 10
    assert torch.bincount(data.test_set.labels).tolist() == [1000] * 10
    pixels, _ = data.train_set.__getitems__(range(60000))
    assert pixels.float().mean().item() * (32 / 28) ** 2 == pytest.approx(0.2860 * 255, rel=1e-3)  # the known mean
