import hashlib
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest

from saddle.data.files import download, first_with, made_whole

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
