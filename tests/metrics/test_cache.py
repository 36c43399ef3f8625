"""The cache of real statistics: what is written comes back, what is damaged does not."""

import pytest
import torch

from saddle.metrics.cache import StatisticsCache, cache_folder, digest


def tensors() -> dict[str, torch.Tensor]:
    return {"n": torch.tensor(7.0, dtype=torch.float64), "outer": torch.arange(6.0).view(2, 3)}


def test_round_trip(tmp_path):
    cache = StatisticsCache(tmp_path / "new")
    assert cache.read("k") is None
    cache.write("k", tensors())
    found = cache.read("k")
    assert found is not None and found.keys() == tensors().keys()
    for name, x in tensors().items():
        torch.testing.assert_close(found[name], x, rtol=0, atol=0)
    assert [file.name for file in cache.folder.iterdir()] == ["k.safetensors"]


@pytest.mark.parametrize("damage", ["short", "empty", "flipped", "other"])
def test_damage_is_noticed(tmp_path, capsys, damage):
    cache = StatisticsCache(tmp_path)
    cache.write("k", tensors())
    path = cache.path("k")
    content = bytearray(path.read_bytes())
    if damage == "short":
        content = content[:-5]
    elif damage == "empty":
        content = bytearray()
    elif damage == "flipped":
        content[-1] ^= 1
    else:
        cache.write("other", tensors())
        content = bytearray(cache.path("other").read_bytes())
    path.write_bytes(content)
    assert cache.read("k") is None
    assert "damaged" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_survived(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    StatisticsCache(tmp_path / "file").write("k", tensors())
    assert "not cached" in capsys.readouterr().err


def test_folder_and_digest(monkeypatch, tmp_path):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert digest("a", "b") != digest("ab") != digest("a", "bc")
