import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from saddle.data.loader import Iterations, Loader
from saddle.data.lsun import LSUN
from saddle.distributed import Share
from saddle.errors import InputError


def write(folder, lmdb, broken=False):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for i, image in enumerate(pixels):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "WEBP", lossless=True)
            transaction.put(f"key{i}{'x' * (i % 2)}".encode(), b"broken" if broken and i == 4 else file.getvalue())
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.fixture
def lmdb():
    return pytest.importorskip("lmdb")


@pytest.fixture
def scenes(options):
    return {**options, "classes": 0, "category": "bedroom"}


@pytest.mark.parametrize("workers", [0, 2])
def test_reads_in_the_order_of_the_keys(scenes, tmp_path, lmdb, workers):
    pixels = write(tmp_path / "bedroom_train_lmdb", lmdb)
    data = LSUN(**scenes | {"memory_gb": 0.0})
    data.setup()
    assert not data.train_set.in_memory and data.test_set is None
    assert torch.equal(data.train_set.__getitems__(range(6))[0], pixels)
    batch, _ = next(iter(Loader(data.train_set, iterations := Iterations(6, 0, Share(6)), workers)))
    assert torch.equal(batch, pixels[next(iter(iterations))])


def test_broken_image_is_named_by_its_key(scenes, tmp_path, lmdb):
    write(tmp_path / "bedroom_train_lmdb", lmdb, broken=True)
    with pytest.raises(InputError, match=f"bedroom_train_lmdb/{b'key4'.hex()}"):
        LSUN(**scenes).setup()


def test_missing_files(scenes):
    with pytest.raises(InputError, match="no bedroom_train_lmdb in .*bedroom_train_lmdb.zip"):
        LSUN(**scenes).setup()


def test_missing_library(scenes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    (tmp_path / "bedroom_train_lmdb").mkdir()
    (tmp_path / "bedroom_train_lmdb" / "data.mdb").touch()
    with pytest.raises(InputError, match=r"needs lmdb: pip install 'saddle-gan\[data\]'"):
        LSUN(**scenes).setup()


def test_a_damaged_database_and_one_that_cannot_be_opened(scenes, tmp_path, lmdb):
    write(tmp_path / "bedroom_train_lmdb", lmdb)
    file = tmp_path / "bedroom_train_lmdb" / "data.mdb"
    file.write_bytes(b"x" * 20000)
    with pytest.raises(InputError, match=r"data\.mdb is damaged"):
        LSUN(**scenes).setup()
    file.unlink()
    file.mkdir()
    with pytest.raises(InputError, match=r"data\.mdb could not be read or written .*Is a directory"):
        LSUN(**scenes).setup()
