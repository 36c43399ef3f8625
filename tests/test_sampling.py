"""Samples on disk: npz and PNG hold the same pixels, whole or not at all."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from saddle import sampling
from saddle.errors import InputError
from saddle.metrics.sources import open_images
from saddle.prior import Prior


class Model:
    """Sample i is noise of its own generator."""

    prior = Prior(2, classes=3)

    def __init__(self, channels=1, conditional=True):
        self.channels, self.conditional, self.calls = channels, conditional, []

    def sample(self, start, stop, *, seed, labels, ema, truncation):
        self.calls.append((stop - start, seed, ema, truncation))
        shape = (self.channels, 4, 6)
        images = [
            torch.randn(shape, generator=torch.Generator().manual_seed(100 * seed + i)) for i in range(start, stop)
        ]
        asked = torch.arange(start, stop) % 3 if labels is None else torch.full((stop - start,), labels)
        return torch.stack(images), asked


def options(target, **changes):
    common = {"run": "r", "out": str(target), "n": 7, "weights": "last", "ema": True, "truncation": None}
    return OmegaConf.create({**common, "class": None, "seed": 2, "batch": 3, "trust": [], **changes})


@pytest.fixture
def model(monkeypatch):
    made = Model()
    config = OmegaConf.create({"data": {}})
    monkeypatch.setattr(sampling, "load_run", lambda run, weights, trust: (config, made))
    return made


@pytest.mark.parametrize("channels", [1, 3])
def test_npz_and_folder_hold_the_samples(tmp_path, model, channels):
    model.channels = channels
    sampling.sample_run(options(tmp_path / "s.npz"))
    sampling.sample_run(options(tmp_path / "folder"))
    floats, labels = Model(channels).sample(0, 7, seed=2, labels=None, ema=True, truncation=None)
    expected = np.clip(np.rint((floats.numpy().astype(np.float64) + 1) * 127.5), 0, 255).astype(np.uint8)
    with np.load(tmp_path / "s.npz") as file:
        assert file["images"].dtype == np.uint8 and file["images"].shape == (7, 4, 6, channels)
        assert np.abs(file["images"].astype(int) - expected.transpose(0, 2, 3, 1)).max() <= 1  # float32 ties
        assert (file["images"] != expected.transpose(0, 2, 3, 1)).mean() < 0.01
        assert file["labels"].dtype == np.int64 and file["labels"].tolist() == labels.tolist()
        pixels = file["images"]
    names = sorted(file.name for file in (tmp_path / "folder").glob("*.png"))
    assert names == [f"{i:06d}.png" for i in range(7)]
    read = open_images(tmp_path / "folder").read(0, 7)[0].permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(read, pixels)
    assert Image.open(tmp_path / "folder" / names[0]).mode == ("L" if channels == 1 else "RGB")
    assert (tmp_path / "folder" / "labels.csv").read_text().splitlines()[:2] == ["file,label", "000000.png,0"]
    assert [size for size, *_ in model.calls] == [3, 3, 1, 3, 3, 1]


def test_points_are_not_quantised(tmp_path, model, monkeypatch):
    config = OmegaConf.create({"data": {"bounded": False}})
    monkeypatch.setattr(sampling, "load_run", lambda run, weights, trust: (config, model))
    sampling.sample_run(options(tmp_path / "s.npz"))
    floats, _ = Model().sample(0, 7, seed=2, labels=None, ema=True, truncation=None)
    with np.load(tmp_path / "s.npz") as file:
        assert file["images"].dtype == np.float32
        np.testing.assert_array_equal(file["images"], floats.permute(0, 2, 3, 1).numpy())
    with pytest.raises(InputError, match="give FILE.npz"):
        sampling.sample_run(options(tmp_path / "folder"))


def test_options_reach_the_model(tmp_path, model):
    sampling.sample_run(options(tmp_path / "s.npz", truncation=0.5, ema=False, seed=4, **{"class": 2}))
    assert model.calls[0] == (3, 4, False, 0.5)
    with np.load(tmp_path / "s.npz") as file:
        assert file["labels"].tolist() == [2] * 7


def test_no_labels_without_conditions(tmp_path, model):
    model.conditional = False
    sampling.sample_run(options(tmp_path / "s.npz"))
    with np.load(tmp_path / "s.npz") as file:
        assert file.files == ["images"]
    with pytest.raises(InputError, match="not conditional"):
        sampling.sample_run(options(tmp_path / "t.npz", **{"class": 1}))


@pytest.mark.parametrize("target", ["s.npz", "folder"])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, model, target):
    if target == "s.npz":
        sampling.sample_run(options(tmp_path / target))
    before = [file.read_bytes() for file in tmp_path.iterdir()]

    def sample(start, stop, **options):
        if start:
            raise KeyboardInterrupt
        return torch.zeros(stop, 1, 4, 6), torch.zeros(stop).long()

    model.sample = sample
    with pytest.raises(KeyboardInterrupt):
        sampling.sample_run(options(tmp_path / target))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == before


def test_wrong_input(tmp_path, model):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    for changes, says in (
        ({"class": 3}, "classes of this run are 0 to 2"),
        ({"out": str(tmp_path / "full")}, "not empty"),
        ({"out": str(tmp_path / "a.zip")}, "FILE.npz or a folder"),
    ):
        with pytest.raises(InputError, match=says):
            sampling.sample_run(options(tmp_path / "x.npz", **changes))
    model.sample = lambda start, stop, **options: (torch.full((stop - start, 1, 4, 6), float("nan")), torch.zeros(1))
    with pytest.raises(InputError, match="not finite"):
        sampling.sample_run(options(tmp_path / "x.npz"))


def test_only_samples_are_replaced(tmp_path, model):
    """A data set in the same format is not, and a place that cannot be written is found before any sample is drawn."""
    for _ in range(2):
        sampling.sample_run(options(tmp_path / "s.npz"))
    np.savez(tmp_path / "data.npz", images=np.zeros((1, 4, 6, 1), np.uint8))
    model.calls.clear()
    for out in ("data.npz", "s.npz/folder", "data.npz/x.npz"):
        with pytest.raises(InputError, match=f"out={tmp_path / out}"):
            sampling.sample_run(options(tmp_path / out))
    assert model.calls == []
