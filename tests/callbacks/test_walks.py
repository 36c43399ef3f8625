"""Walks from latent to latent."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import dense_gan

from saddle.callbacks.walks import Walks


@pytest.fixture
def trainer():
    return SimpleNamespace(is_global_zero=True, loggers=[])


def walks(tmp_path, rows=3, columns=5):
    return Walks(every=2, folder=str(tmp_path), rows=rows, columns=columns)


def test_a_walk_begins_and_ends_at_samples_of_the_run(tmp_path) -> None:
    model = dense_gan()
    ((_, images, _),) = walks(tmp_path).grids(model)
    images = images.unflatten(0, (3, 5))
    samples, _ = model.sample(0, 6, seed=model.seed, labels=torch.arange(6) % 3 % max(model.prior.classes, 1))
    torch.testing.assert_close(images[:, 0], samples[:3])
    torch.testing.assert_close(images[:, -1], samples[3:])


def test_normal_latents_keep_their_length_on_the_way_and_uniform_ones_their_cube(tmp_path) -> None:
    model = dense_gan()
    model.prior = dataclasses.replace(model.prior, law="normal")
    ways = torch.stack(walks(tmp_path).latents(model)).double()  # [columns, rows, latent_dim]
    lengths = ways.norm(dim=2)
    low = torch.minimum(lengths[0], lengths[-1])
    # the closest that a great circle's blend comes to 0 is the shorter end's height over the other's direction
    angle = torch.nn.functional.cosine_similarity(ways[0], ways[-1], dim=1).acos()
    assert (lengths >= low * torch.minimum(angle.sin(), torch.ones(())) - 1e-6).all()
    assert (lengths[2] > ((ways[0] + ways[-1]) / 2).norm(dim=1)).all()  # longer than the straight line's middle
    model.prior = dataclasses.replace(model.prior, law="uniform")
    straight = torch.stack(walks(tmp_path).latents(model)).double()
    torch.testing.assert_close(straight[2], (straight[0] + straight[-1]) / 2)
    assert straight.abs().max() <= 1


def test_files_are_drawn_at_the_interval_and_shown_where_pictures_are_shown(tmp_path, trainer) -> None:
    model, shown = dense_gan(), []
    trainer.loggers = [
        SimpleNamespace(log_image=lambda name, paths, step: shown.append((name, paths, step))),
        SimpleNamespace(),
    ]
    callback = walks(tmp_path)
    for model.iteration in (1, 2, 3):
        callback.on_train_batch_end(trainer, model, None, None, 0)
    callback.on_train_end(trainer, model)
    files = [tmp_path / "samples" / "walks" / f"{i:08d}.png" for i in (2, 3)]
    assert shown == [("samples/walks", [str(path)], i) for path, i in zip(files, (2, 3), strict=True)]
    grid = np.asarray(Image.open(files[0]))
    side = model.sample(0, 1)[0].shape[-1] + 2
    assert grid.shape[:2] == (3 * side + 2, 5 * side + 2)


def test_a_model_that_translates_has_no_walks(tmp_path, trainer) -> None:
    walks(tmp_path).on_interval_end(trainer, SimpleNamespace(iteration=4, translate=None))
    assert not (tmp_path / "samples").exists()
