import errno
import gzip
import hashlib
import tarfile
import threading
import zipfile
import zlib
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest

from saddle.data.cifar import CIFAR10
from saddle.data.files import download, first_with, made_whole, reading
from saddle.data.idx import MNIST
from saddle.data.stl10 import STL10
from saddle.data.svhn import SVHN
from saddle.errors import InputError

CONTENT = b"some pixels"
MD5 = hashlib.md5(CONTENT).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def url(tmp_path):
    """A server on this machine that has the file `good`."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "good").write_bytes(CONTENT)
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "server")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_download_from_the_second_mirror(url, tmp_path):
    target = tmp_path / "data" / "file"
    download([url + "missing", url + "good"], target, MD5)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_wrong_checksum_leaves_nothing(url, tmp_path):
    with pytest.raises(OSError, match="good: "):
        download([url + "good"], tmp_path / "data" / "file", "0" * 32)
    assert list((tmp_path / "data").iterdir()) == []


def test_all_reasons_are_given(url, tmp_path):
    with pytest.raises(OSError, match="one: .*404.*; .*two: .*404"):
        download([url + "one", url + "two"], tmp_path / "file", MD5)


def test_interrupted_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), made_whole(tmp_path / "folder") as work:
        work.mkdir()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_faster_of_two_jobs_wins(tmp_path):
    with made_whole(tmp_path / "folder") as slow:
        slow.mkdir()
        (slow / "slow").touch()
        with made_whole(tmp_path / "folder") as fast:
            fast.mkdir()
            (fast / "fast").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "fast"]


def test_first_with(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").touch()
    assert first_with([tmp_path / "a", tmp_path / "b"], ["x"]) == tmp_path / "b"
    assert first_with([tmp_path / "a", tmp_path / "b"], ["x", "y"]) is None


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def read_only(*_, **__):
    raise PermissionError(errno.EACCES, "Permission denied", "/read/only")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (gzip.BadGzipFile("CRC check failed"), "is damaged (CRC check failed): delete it"),
        (zlib.error("invalid block"), "is damaged (invalid block): delete it"),
        (zipfile.BadZipFile("no magic"), "is damaged (no magic): delete it"),
        (tarfile.ReadError("truncated header"), "is damaged (truncated header): delete it"),
        (RuntimeError("password required"), "is damaged (password required): delete it"),
        (OSError(errno.ENOSPC, "No space left"), "could not be read or written ([Errno 28] No space left): make room"),
        (PermissionError(errno.EACCES, "Denied", "/x"), "could not be read or written ([Errno 13] Denied: '/x'): see"),
        (MemoryError("4 GiB"), "does not fit into memory (4 GiB)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_is_wrong_with_the_bytes_is_damage(tmp_path, error, says):
    (tmp_path / "archive").touch()
    with pytest.raises(InputError) as caught, reading(tmp_path / "archive"):
        raise error
    assert f"{tmp_path}/archive {says}" in str(caught.value)


def test_what_cannot_be_opened_is_not_damaged_whatever_a_library_would_call_it(tmp_path):
    (tmp_path / "archive").mkdir()
    says = "archive could not be read or written .*Is a directory"
    with pytest.raises(InputError, match=says), reading(tmp_path / "archive"):
        raise ValueError("junk")


@pytest.mark.parametrize(("fault", "where"), [(full, "shutil.copyfileobj"), (read_only, "tempfile.mkdtemp")])
def test_a_sound_archive_where_nothing_can_be_written_is_not_called_damaged(
    options, tmp_path, monkeypatch, fault, where
):
    (tmp_path / "stl10").mkdir()
    with tarfile.open(tmp_path / "stl10" / "stl10_binary.tar.gz", "w:gz") as tar:
        for name in STL10.files:
            tar.addfile(tarfile.TarInfo(f"stl10_binary/{name}"))
    monkeypatch.setattr(where, fault)
    with pytest.raises(InputError, match=r"stl10_binary\.tar\.gz could not be read or written \(") as caught:
        STL10(**options).prepare_data()
    assert "damaged" not in str(caught.value) and "delete" not in str(caught.value)


@pytest.mark.parametrize("data", [CIFAR10, SVHN, MNIST, STL10])
def test_a_file_that_cannot_be_opened_is_not_called_damaged(options, tmp_path, data):
    for each in data.files:
        (tmp_path / each).mkdir()
    with pytest.raises(InputError, match="could not be read or written .*Is a directory"):
        data(**options).setup()


@pytest.mark.parametrize("fault", [full, read_only])
def test_a_download_that_cannot_be_written_asks_for_no_network(options, monkeypatch, fault):
    monkeypatch.setattr("saddle.data.files.download_url", fault)
    with pytest.raises(InputError, match=r"could not be read or written \(.Errno") as caught:
        MNIST(**options).prepare_data()
    assert "network" not in str(caught.value)
