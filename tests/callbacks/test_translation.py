"""Grids and scores of translations, of models whose translations are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from saddle.callbacks.translation import TranslationGrid, TranslationScores
from saddle.data.unpaired import UnpairedDigits, UnpairedNoise
from saddle.metrics.swd import SlicedWasserstein
from saddle.models.cyclegan import CycleGAN


@pytest.fixture(scope="module")
def digits():
    data = UnpairedDigits(
        paper=[255, 224, 130],
        ink=[30, 50, 150],
        resolution=16,
        channels=3,
        classes=10,
        batch_size=4,
        flip=False,
        classifier="digits",
    )
    data.setup()
    return data


class Known:
    """A model whose translations are functions of images."""

    iteration, dtype, device, conditional = 7, torch.float32, torch.device("cpu"), False
    sample = CycleGAN.sample

    def __init__(self, data, a_to_b, b_to_a):
        self.data, self.functions, self.scores = data, {"a_to_b": a_to_b, "b_to_a": b_to_a}, {}

    def translate(self, images, direction, ema=True):
        return self.functions[direction](images)


def right(data):
    """The true translations."""
    paper, ink = (torch.tensor(c).float().view(3, 1, 1) / 127.5 - 1 for c in (data.paper, data.ink))

    def to_b(images):
        shares = (images + 1) / 2
        return (1 - shares) * paper + shares * ink

    return Known(data, to_b, lambda images: data.for_classifier(images, 1))


def trainer(model, data):
    return SimpleNamespace(
        lightning_module=model,
        datamodule=data,
        is_global_zero=True,
        loggers=[],
        callbacks=[],
        stopwatch=None,
        callback_metrics={},
    )


def scores(model, data, metrics=None, **options) -> dict[str, float]:
    callback = TranslationScores(metrics or {}, every=0, **options)
    place = trainer(model, data)
    callback.on_fit_start(place, model)
    callback.on_interval_end(place, model)
    return model.scores


def test_the_true_translations_score_best(digits):
    found = scores(right(digits), digits)
    assert set(found) == {
        f"eval/{name}"
        for name in ("a_to_b_l1", "b_to_a_l1", "cycle_a_l1", "cycle_b_l1", "a_to_b_accuracy", "b_to_a_accuracy")
    }
    assert all(value < 0.02 for name, value in found.items() if name.endswith("l1"))
    assert all(value > 0.9 for name, value in found.items() if name.endswith("accuracy"))


def test_wrong_translations_are_measured(digits):
    same = scores(Known(digits, lambda x: x, lambda x: x), digits)
    a, b = (digits.to_translate[domain].__getitems__(range(297))[0].double() / 127.5 - 1 for domain in (0, 1))
    assert same["eval/a_to_b_l1"] == pytest.approx((a - b).abs().mean().item(), rel=1e-5) == same["eval/b_to_a_l1"]
    assert same["eval/cycle_a_l1"] == same["eval/cycle_b_l1"] == 0
    nothing = scores(Known(digits, torch.zeros_like, lambda x: x / 2), digits)
    assert nothing["eval/cycle_a_l1"] == pytest.approx(a.abs().mean().item(), rel=1e-5)
    assert nothing["eval/cycle_b_l1"] == pytest.approx(b.abs().mean().item(), rel=1e-5)
    assert nothing["eval/a_to_b_accuracy"] < 0.3


def test_metrics_are_taken_in_both_directions(digits):
    metric = SlicedWasserstein(images=60, patches=4, projections=8)
    good = scores(right(digits), digits, {"swd": metric}, samples=60)
    bad = scores(Known(digits, torch.zeros_like, lambda x: x), digits, {"swd": metric}, samples=60)
    assert good["eval/swd"] < bad["eval/swd"] and good["eval/swd_b_to_a"] < bad["eval/swd_b_to_a"]


def test_what_is_not_known_is_not_scored():
    data = UnpairedNoise(resolution=8, channels=1, classes=0, batch_size=2, flip=False, size=5, seed=0)
    data.setup()
    found = scores(Known(data, lambda x: x, lambda x: x), data)
    assert set(found) == {"eval/cycle_a_l1", "eval/cycle_b_l1"}


def test_the_grid_has_three_rows_of_each_direction(digits, tmp_path):
    model = Known(digits, lambda x: x * 0 + 0.5, lambda x: x * 0 - 0.5)
    grid = TranslationGrid(every=1, folder=str(tmp_path), columns=4)
    ((_, images, columns),) = grid.grids(model)
    assert images.shape == (24, 3, 16, 16) and columns == 4
    a, b = (digits.to_translate[domain].__getitems__(range(4))[0].float() / 127.5 - 1 for domain in (0, 1))
    assert torch.equal(images[:4], a) and torch.equal(images[12:16], b)
    assert [images[4 * row].unique().tolist() for row in (1, 2, 4, 5)] == [[0.5], [-0.5], [-0.5], [0.5]]
    grid.on_interval_end(trainer(model, digits), model)
    picture = np.asarray(Image.open(tmp_path / "samples" / "00000007.png"))
    assert picture.shape == (6 * 18 + 2, 4 * 18 + 2, 3)
