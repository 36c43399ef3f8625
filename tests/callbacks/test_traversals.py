"""What the callbacks of InfoGAN write and record."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import gan_of
from torch import nn

from saddle.augment import NoAugment
from saddle.callbacks.traversals import CodeScores, Traversals
from saddle.data.sets import MemorySet
from saddle.discriminator import Discriminator
from saddle.heads.information import Information
from saddle.losses import NonSaturating
from saddle.models.infogan import InfoGAN

SIZE, VALUES = 8, 3


class Painter(nn.Module):
    """Images whose left half is as bright as the categorical code, the right as the continuous one, halved."""

    def forward(self, latents, labels):
        code = latents[:, 2 : 2 + VALUES].argmax(1) - 1.0
        halves = torch.stack([code, latents[:, -1] / 2], 1)
        return halves.repeat_interleave(SIZE // 2, 1)[:, None, None].expand(-1, 1, SIZE, -1).contiguous()


class Look(nn.Module):
    """Three features: one-hot of the brightness of the left half, of -1, 0 and 1."""

    features, independent = 3, True

    def forward(self, images):
        left = images[:, 0, :, : SIZE // 2].mean((1, 2))
        return 1 - (left[:, None] - torch.tensor([-1.0, 0.0, 1.0])).abs()


class Logger:
    def __init__(self):
        self.lines = []

    def log_metrics(self, scalars, step):
        self.lines.append((step, scalars))


class Stopwatch:
    @contextmanager
    def paused(self):
        yield


@pytest.fixture
def run():
    """A trainer, and a model that paints its codes and reads value i of the code off class i + 1 (modulo 3)."""
    head = Information(3, 0, (VALUES,), 1)
    head.guesser = nn.Linear(3, 4, bias=False)
    with torch.no_grad():
        head.guesser.weight.copy_(torch.cat([torch.eye(3).roll(1, 0), torch.zeros(1, 3)]))
    model = gan_of(
        InfoGAN,
        Painter(),
        Discriminator(Look(), head),
        NonSaturating(),
        {},
        NoAugment(),
        classes=3,
        batch_size=4,
        latent_dim=6,
        ema=0.0,
    )
    labels = torch.arange(30) % 3
    images = torch.tensor([0, 128, 255], dtype=torch.uint8)[labels][:, None, None, None].expand(-1, 1, SIZE, SIZE)
    wrong = labels.clone()
    wrong[:6] = (wrong[:6] + 1) % 3
    data = SimpleNamespace(
        train_set=MemorySet(images, labels), test_set=MemorySet(images, wrong), classes=3, bounded=True
    )
    trainer = SimpleNamespace(
        lightning_module=model,
        datamodule=data,
        loggers=[Logger()],
        callback_metrics={},
        is_global_zero=True,
        stopwatch=Stopwatch(),
        callbacks=[],
    )
    return trainer, model


def train(callback, trainer, model, iterations):
    for _ in range(iterations):
        model.iteration += 1
        callback.on_train_batch_end(trainer, model, None, None, 0)
    callback.on_train_end(trainer, model)


def test_grids(run, tmp_path):
    train(Traversals(2, str(tmp_path), columns=5), *run, 3)
    folder = tmp_path / "samples"
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    assert names == [f"{kind}_0/{i:08d}.png" for kind in ("categorical", "continuous") for i in (2, 3)]
    cells = [(np.asarray(Image.open(folder / name)), name) for name in names[1:3]]
    step, pad = SIZE + 2, 2
    for grid, name in cells:
        assert grid.shape[:2] == (VALUES * step + pad, 5 * step + pad)
        left = grid[pad + 3 :: step, pad + 1 :: step, 0][:VALUES, :5]
        right = grid[pad + 3 :: step, pad + SIZE - 2 :: step, 0][:VALUES, :5]
        assert left.tolist() == [[0] * 5, [128] * 5, [255] * 5]
        sweep = [0, 64, 128, 191, 255] if "continuous" in name else [128] * 5
        assert np.abs(right.astype(int) - sweep).max() <= 1


def test_scores(run):
    trainer, model = run
    callback = CodeScores(2)
    callback.on_fit_start(trainer, model)
    train(callback, trainer, model, 3)
    assert trainer.loggers[0].lines == [(i, {"eval/code_accuracy": pytest.approx(0.8)}) for i in (2, 3)]
    assert model.scores["eval/code_accuracy"] == pytest.approx(0.8)
    trainer.datamodule.test_set = None  # then the training part
    assert callback.accuracy(model, trainer.datamodule) == 1


def test_agreement_with_a_classifier(run):
    trainer, model = run
    callback = CodeScores(0, samples=40, batch=16)

    def classify(images):
        """Class 1 for value 0, class 2 for the two others."""
        code = (images[:, 0, 0, 0].float() / 127.5).round().long()
        return SimpleNamespace(logits=torch.eye(3)[torch.tensor([1, 2, 2])[code]])

    callback.extractor = classify
    counts = torch.bincount(model.prior.sample_categories(0, 0, 40, 0), minlength=3).tolist()
    assert callback.agreement(model, 3) == pytest.approx((counts[0] + max(counts[1:])) / 40)


def test_nothing_without_codes_classes_or_pictures(run, tmp_path):
    trainer, model = run
    plain = SimpleNamespace(iteration=1, scores={})
    train(Traversals(1, str(tmp_path)), trainer, plain, 1)
    train(CodeScores(1), trainer, plain, 1)
    trainer.datamodule.classes = 0
    train(CodeScores(1), trainer, model, 1)
    trainer.datamodule.bounded = False
    train(Traversals(1, str(tmp_path)), trainer, model, 1)
    assert not trainer.loggers[0].lines and not list(tmp_path.iterdir())
