import pytest


@pytest.fixture
def options(tmp_path):
    """What every data module takes; a test overrides what it is about."""
    return dict(resolution=32, channels=3, classes=10, batch_size=4, flip=False, path=str(tmp_path))


@pytest.fixture
def offline(monkeypatch):
    """Makes every download fail at once, and lists the URLs that were tried."""
    tried = []

    def refuse(url, *_):
        tried.append(url)
        raise OSError("no network")

    monkeypatch.setattr("saddle.data.files.download_url", refuse)
    monkeypatch.setattr("saddle.data.files.download_file_from_google_drive", refuse)
    return tried
