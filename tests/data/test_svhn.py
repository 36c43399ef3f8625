import numpy as np
import pytest
from scipy.io import savemat

from saddle.data.svhn import SVHN
from saddle.errors import InputError


def write(folder):
    pixels = np.zeros((32, 32, 3, 10), np.uint8) + np.arange(10, dtype=np.uint8)
    pixels[3, 5, 1] = 255  # row 3, column 5, green
    for split in ("train", "test"):
        savemat(folder / f"{split}_32x32.mat", {"X": pixels, "y": np.arange(1, 11, dtype=np.uint8)[:, None]})


def test_reads_mat_files(options, tmp_path, offline):
    write(tmp_path)
    data = SVHN(**options)
    data.prepare_data()
    data.setup()
    assert data.train_set.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]  # the files call zero 10
    image, _ = data.test_set[4]
    assert image[:, 3, 5].tolist() == [4, 255, 4] and image[:, 5, 3].tolist() == [4, 4, 4] and offline == []


def test_damaged(options, tmp_path):
    write(tmp_path)
    (tmp_path / "test_32x32.mat").write_bytes(b"nothing")
    with pytest.raises(InputError, match="test_32x32.mat is damaged"):
        SVHN(**options).setup()


def test_missing(options, offline):
    with pytest.raises(InputError, match="Put train_32x32.mat and test_32x32.mat into"):
        SVHN(**options).prepare_data()
