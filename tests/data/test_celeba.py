import io
import zipfile

import pytest
from PIL import Image

from saddle.data.celeba import CelebA
from saddle.errors import InputError


def jpeg(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (178, 218), (grey,) * 3).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "celeba").mkdir()
    path = tmp_path / "celeba" / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w") as pack:
        for i in range(5):
            pack.writestr(f"img_align_celeba/{i:06}.jpg", jpeg(40 * i))
        pack.writestr("other/file.jpg", jpeg(0))
    return path


def test_extracts_once_and_reads(options, archive):
    for _ in range(2):
        data = CelebA(**options | {"classes": 0})
        data.prepare_data()
        data.setup()
        assert len(data.train_set) == 5 and data.test_set is None
        assert data.train_set[3][0].float().mean().item() == pytest.approx(120, abs=1)
        archive.unlink(missing_ok=True)
    assert [path.name for path in archive.parent.iterdir()] == ["img_align_celeba"]


def test_has_no_labels(options, archive):
    data = CelebA(**options)
    data.prepare_data()
    with pytest.raises(InputError, match="data.classes=10, but .* holds 0 classes"):
        data.setup()


def test_missing(options, monkeypatch):
    def refuse(*_):
        raise RuntimeError("no gdown")

    monkeypatch.setattr("saddle.data.files.download_file_from_google_drive", refuse)
    with pytest.raises(InputError, match=r"no gdown.*Put img_align_celeba.zip into"):
        CelebA(**options).prepare_data()


def test_damaged(options, archive):
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(InputError, match="img_align_celeba.zip is damaged"):
        CelebA(**options).prepare_data()
