import tarfile

import numpy as np
import pytest

from saddle.data.stl10 import STL10
from saddle.errors import InputError


@pytest.fixture
def files(tmp_path):
    """An archive of 12 unlabelled, 10 training and 10 test images; image i has one white pixel, row 3, column 5."""
    source = tmp_path / "source" / "stl10_binary"
    source.mkdir(parents=True)
    for part, count in (("unlabeled", 12), ("train", 10), ("test", 10)):
        pixels = np.zeros((count, 3, 96, 96), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
        pixels[:, :, 3, 5] = 255
        pixels.transpose(0, 1, 3, 2).tofile(source / f"{part}_X.bin")  # column-major
        (np.arange(count, dtype=np.uint8) % 10 + 1).tofile(source / f"{part}_y.bin")
    (tmp_path / "stl10").mkdir()
    with tarfile.open(tmp_path / "stl10" / "stl10_binary.tar.gz", "w:gz") as tar:
        tar.add(source, "stl10_binary")
    return tmp_path / "stl10"


@pytest.mark.parametrize(("classes", "count", "labels"), [(0, 12, [0] * 12), (10, 10, list(range(10)))])
def test_archive(options, files, offline, classes, count, labels):
    data = STL10(**options | {"classes": classes, "resolution": 96})
    data.prepare_data()
    data.setup()
    assert len(data.train_set) == count and len(data.test_set) == 10 and offline == []
    assert data.train_set.labels.tolist() == labels
    image, _ = data.train_set[7]
    assert image[:, 3, 5].tolist() == [255] * 3 and image[:, 5, 3].tolist() == [7] * 3


def test_extracted_once(options, files):
    STL10(**options).prepare_data()
    (files / "stl10_binary.tar.gz").unlink()
    data = STL10(**options)
    data.prepare_data()
    data.setup()
    assert data.train_set[0][0].shape == (3, 32, 32)
    assert sorted(path.name for path in files.iterdir()) == ["stl10_binary"]  # no temporary folder is left


def test_streamed_where_memory_is_short(options, files):
    STL10(**options).prepare_data()
    held, streamed = (STL10(**options | {"memory_gb": memory}) for memory in (1.0, 1e-6))
    held.setup()
    streamed.setup()
    assert held.train_set.in_memory and not streamed.train_set.in_memory
    assert (held.train_set.__getitems__([9, 2])[0] == streamed.train_set.__getitems__([9, 2])[0]).all()


def test_damaged(options, files):
    STL10(**options).prepare_data()
    with (files / "stl10_binary" / "test_X.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="test_X.bin is damaged"):
        STL10(**options).setup()
    (files / "other").mkdir()
    (files / "other" / "stl10_binary.tar.gz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="stl10_binary.tar.gz is damaged"):
        STL10(**options | {"path": str(files / "other")}).prepare_data()


def test_missing(options, offline):
    with pytest.raises(InputError, match="Put stl10_binary.tar.gz into"):
        STL10(**options).prepare_data()
