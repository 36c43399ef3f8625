"""Pictures of points: when they are drawn, what they show, and the logits of D on the plane."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import Flat, Seen, dense_gan, gan_of
from torch import nn

from saddle.callbacks.points import PointCloud, generated_points, logits_on, real_points, save_points, window_of
from saddle.data.sets import MemorySet
from saddle.discriminator import Discriminator, MinibatchFeatures
from saddle.heads import LinearHead
from saddle.heads.labels import Projection
from saddle.models.base import GAN

REAL = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]).repeat(20, 1)


class Sum(nn.Module):
    """A trunk whose feature is a weighted sum of the channels."""

    features, independent = 1, True

    def __init__(self, *weights: float):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, images):
        return (images.flatten(1) * self.weights.to(images)).sum(1, keepdim=True)


def model(*weights: float, packing: int = 1, head=None, minibatch=None) -> GAN:
    """A GAN whose D is exactly the weighted sum of the coordinates of a pack."""
    trunk = Sum(*weights)
    if head is None:
        head = LinearHead(1 if minibatch is None else 1 + minibatch.kernels, 0)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.fill_(1.0 if parameter.dim() > 1 else 0.0)
    discriminator = Discriminator(trunk, head, packing, minibatch)
    reference = dense_gan()
    return gan_of(GAN, Flat(5, 1, 2), discriminator, reference.loss, {}, Seen(lambda images, draws: images),
        classes=3, batch_size=8, latent_dim=5, seed=4,
    )  # fmt: skip


def trainer(images=REAL) -> SimpleNamespace:
    data = SimpleNamespace(train_set=MemorySet(images[:, :, None, None], torch.zeros(len(images)).long()))
    return SimpleNamespace(datamodule=data, is_global_zero=True, loggers=[])


def test_window_is_a_square_around_the_points():
    assert window_of(torch.tensor([[0.0, 0.0], [4.0, 2.0]]), 0.5) == (-1, 5, -2, 4)


def test_logits_are_those_of_the_places():
    logits = logits_on(model(2.0, 3.0), REAL, (-1.0, 1.0, 0.0, 4.0), side=5)
    expected = [[2 * x + 3 * y for x in (-1, -0.5, 0, 0.5, 1)] for y in (0, 1, 2, 3, 4)]
    assert logits == pytest.approx(torch.tensor(expected), abs=1e-5)


def test_packs_are_completed_by_real_points():
    real = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    logits = logits_on(model(1.0, 0.0, 10.0, 0.0, 100.0, 0.0, packing=3), real, (0.0, 1.0, 0.0, 1.0), side=2)
    mates = 10 * real[0:32:2, 0] + 100 * real[1:32:2, 0]
    assert logits == pytest.approx(torch.tensor([[0.0, 1.0], [0.0, 1.0]]) + mates.mean(), abs=1e-4)


def test_a_conditional_discriminator_shows_its_best_class():
    head = Projection(1, 3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.embedding.weight[:, 0] = torch.tensor([-2.0, 1.0, 3.0])
    logits = logits_on(model(1.0, 0.0, head=head), REAL, (-1.0, 1.0, 0.0, 1.0), side=2)
    assert logits == pytest.approx(torch.tensor([[2.0, 3.0], [2.0, 3.0]]))


def test_minibatch_discrimination_has_no_logit_of_a_place():
    assert logits_on(model(1.0, 1.0, minibatch=MinibatchFeatures(1, 2)), REAL, window_of(REAL)) is None


def test_discriminator_is_left_as_it_was():
    gan = model(1.0, 1.0).train()
    before = {name: value.clone() for name, value in gan.state_dict().items()}
    logits_on(gan, REAL, window_of(REAL), side=3)
    assert gan.discriminator.training
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())


def test_points_of_both_sides():
    images = trainer().datamodule.train_set
    assert real_points(images, 1000).shape == (80, 2)
    assert real_points(images, 2).tolist() == [[-1, -1], [-1, 1]]  # the first and the last
    gan = model(1.0, 1.0)
    expected = gan.sample(0, 7, seed=gan.seed)[0].flatten(1)
    assert torch.equal(generated_points(gan, 7), expected)
    assert not torch.equal(generated_points(gan, 7, seed=5), expected)


def train(callback: PointCloud, gan: GAN, iterations: int, images=REAL) -> None:
    run = trainer(images)
    for _ in range(iterations):
        gan.iteration += 1
        callback.on_train_batch_end(run, gan, None, None, 0)
    callback.on_train_end(run, gan)


@pytest.mark.parametrize(("every", "files"), [(2, [2, 4, 5]), (0, [5])])
def test_when(tmp_path, every, files):
    train(PointCloud(every, str(tmp_path), points=20), model(1.0, 1.0), 5)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [f"{i:08d}.png" for i in files]


def test_only_process_0_draws(tmp_path):
    run = trainer()
    run.is_global_zero = False
    PointCloud(0, str(tmp_path)).on_interval_end(run, model(1.0, 1.0))
    assert not list(tmp_path.iterdir())


def orange(path) -> int:
    """Pixels of the generated points' colour, more or less."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int(((pixels[..., 0] > 200) & (pixels[..., 2] < 120)).sum())


def test_picture_shows_the_generated_points(tmp_path):
    lattice = torch.cartesian_prod(torch.linspace(-0.8, 0.8, 20), torch.linspace(-0.8, 0.8, 20))
    for name, fake in (("inside", lattice), ("outside", lattice + 100)):
        save_points(tmp_path / f"{name}.png", REAL, fake, None, "title")
    assert orange(tmp_path / "inside.png") > 10 * orange(tmp_path / "outside.png") > 0  # a dot in the legend
    save_points(tmp_path / "flat.png", REAL, lattice, torch.zeros(4, 4), "all logits equal")
    assert (tmp_path / "flat.png").stat().st_size > 0 and not list(tmp_path.glob("*.tmp"))
