import io
import tarfile

import numpy as np
import pytest

from saddle.data.cifar import CIFAR10, CIFAR100
from saddle.errors import InputError

TRAIN10 = [f"data_batch_{i}.bin" for i in range(1, 6)]


def records(count: int, *label_columns: list[int]) -> bytes:
    """Records whose red, green and blue planes are i, 50 + i and 100 + i, except for one pixel."""
    pixels = np.empty((count, 3, 32, 32), np.uint8)
    for i in range(count):
        pixels[i] = np.array([i, 50 + i, 100 + i])[:, None, None]
        pixels[i, 0, 3, 5] = 255  # row 3, column 5
    labels = np.array(label_columns, np.uint8).T
    return np.concatenate([labels, pixels.reshape(count, -1)], 1).tobytes()


def files10() -> dict[str, bytes]:
    return {name: records(10, list(range(10))) for name in [*TRAIN10, "test_batch.bin"]}


def put(root, folder: str, files: dict[str, bytes], archive: str | None) -> None:
    root.mkdir(parents=True, exist_ok=True)
    if archive is None:
        (root / folder).mkdir()
        for name, content in files.items():
            (root / folder / name).write_bytes(content)
        return
    with tarfile.open(root / archive, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("archive", [None, "cifar-10-binary.tar.gz"])
@pytest.mark.parametrize("root", [".", "cifar10"])
def test_cifar10(options, tmp_path, offline, archive, root):
    put(tmp_path / root, "cifar-10-batches-bin", files10(), archive)
    data = CIFAR10(**options)
    data.prepare_data()
    data.setup()
    assert len(data.train_set) == 50 and len(data.test_set) == 10 and offline == []
    image, label = data.train_set[13]
    assert label == 3
    assert image[:, 0, 0].tolist() == [3, 53, 103] and image[:, 3, 5].tolist() == [255, 53, 103]


def test_cifar100_reads_the_fine_labels(options, tmp_path):
    content = records(100, [i % 20 for i in range(100)], list(range(100)))
    put(tmp_path, "cifar-100-binary", {"train.bin": content, "test.bin": content}, "cifar-100-binary.tar.gz")
    data = CIFAR100(**options | {"classes": 100})
    data.setup()
    assert data.train_set.labels.tolist() == list(range(100))
    assert data.train_set[42][0][:, 0, 0].tolist() == [42, 92, 142]


def test_cut_off_archive_is_named(options, tmp_path):
    put(tmp_path, "cifar-10-batches-bin", files10(), "cifar-10-binary.tar.gz")
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match="cifar-10-binary.tar.gz is damaged"):
        CIFAR10(**options).setup()


def test_cut_off_file_is_named(options, tmp_path):
    put(tmp_path, "cifar-10-batches-bin", files10() | {"data_batch_2.bin": records(1, [0])[:-1]}, None)
    with pytest.raises(InputError, match="data_batch_2.bin has 3072 bytes"):
        CIFAR10(**options).setup()


def test_missing_file_says_what_to_put_where(options, tmp_path, offline):
    with pytest.raises(InputError) as caught:
        CIFAR10(**options).prepare_data()
    assert f"Put cifar-10-binary.tar.gz into {tmp_path / 'cifar10'}" in str(caught.value)
    assert offline == ["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"]
