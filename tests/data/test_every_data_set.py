"""Every data set of conf/data composes, has all options, takes its arguments, and is read or says what is missing."""

import pytest
import torch
from omegaconf import OmegaConf
from tiny import CONF

from saddle.config import resolvers
from saddle.config.check import checked
from saddle.config.compose import Composer
from saddle.errors import InputError
from saddle.run.build import build_data

NAMES = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
OPTIONS = ["resolution", "channels", "classes", "batch_size", "flip", "workers", "memory_gb", "classifier"]


@pytest.fixture(scope="module")
def composer():
    resolvers.register()
    with Composer(CONF, "train") as made:
        yield made


@pytest.fixture
def configured(composer, tmp_path, monkeypatch):
    """A function of a name and overrides to a configuration that has passed the check; no files are found."""
    monkeypatch.setenv("SADDLE_DATA", str(tmp_path / "nowhere"))

    def configure(name, *overrides):
        return OmegaConf.create(checked(composer, [f"data={name}", *overrides], rules=False))

    return configure


@pytest.mark.parametrize("name", NAMES)
def test_all_options_are_there_and_reach_the_module(configured, name):
    cfg = configured(name)
    data = build_data(cfg)
    for option in OPTIONS:
        assert getattr(data, option) == cfg.data[option], option


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read_or_says_what_is_missing(configured, offline, tmp_path, name):
    cfg = configured(name, "data.memory_gb=0.0")  # so that nothing is read but what is looked at
    data = build_data(cfg)
    try:
        data.prepare_data()
        data.setup()
    except InputError as error:
        assert str(tmp_path / "nowhere") in str(error) and "data.path" in str(error)
        return
    for images in (data.train_set, data.test_set):
        if images is not None:
            pixels, labels = images.__getitems__([0, len(images) - 1])
            assert pixels.shape == (2, cfg.data.channels, cfg.data.resolution, cfg.data.resolution)
            assert (pixels.dtype == torch.uint8) == cfg.data.get("bounded", True)
            assert labels.dtype == torch.int64 and 0 <= labels.min() <= labels.max() < max(cfg.data.classes, 1)
