"""Two domains: which images are in which, how they are paired, and what the loader gives to whom."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from saddle.data.sets import MemorySet
from saddle.data.unpaired import Pairings, Pairs, UnpairedDigits, UnpairedFolder, UnpairedNoise
from saddle.distributed import Share
from saddle.errors import InputError
from saddle.images import from_data

COLOURS = dict(paper=[255, 224, 130], ink=[30, 50, 150])
OPTIONS = dict(resolution=8, channels=3, classes=10, batch_size=4, flip=False)


def loaded(data):
    data.prepare_data()
    data.setup()
    return data


def digits(**options) -> UnpairedDigits:
    return loaded(UnpairedDigits(**OPTIONS | COLOURS | options))


def pixels(images):
    return images.__getitems__(range(len(images)))[0]


def grey(data, images, domain) -> np.ndarray:
    """Intensities from 0 to 16 of a domain's images, [N, 8, 8]."""
    legible = data.for_classifier(from_data(pixels(images), torch.float64), domain)
    assert torch.equal(legible[:, 0], legible[:, 1]) or domain == 0
    return ((legible[:, 0] + 1) * 8).numpy()


def test_no_digit_is_in_both_domains_and_together_they_are_the_training_part():
    data, source = digits(), load_digits()
    assert [len(images) for images in data.domains] == [750, 750]
    for domain in (0, 1):
        found = grey(data, data.domains[domain], domain)
        assert np.abs(found - source.images[domain:1500:2]).max() < 0.06  # the shades are whole numbers
        assert data.domains[domain].labels.tolist() == source.target[domain:1500:2].tolist()


def test_test_images_are_pairs():
    data, source = digits(), load_digits()
    assert data.paired
    for domain in (0, 1):
        assert np.abs(grey(data, data.to_translate[domain], domain) - source.images[1500:]).max() < 0.06


def test_the_second_domain_is_ink_on_paper():
    images = pixels(digits().domains[1])
    assert images.amax((0, 2, 3)).tolist() == [255, 224, 150]  # in blue the ink is the brighter one
    assert images.amin((0, 2, 3)).tolist() == [30, 50, 130]
    assert images[0, :, 0, 0].tolist() == COLOURS["paper"]  # a corner of the first digit


def test_what_is_measured_against_is_the_second_domain():
    data = digits()
    assert data.train_set is data.references[1] is data.domains[1]
    assert data.test_set is data.to_translate[1]
    assert data.references[0] is data.domains[0]


def image_set(n, value):
    return MemorySet(
        torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 2, 3, 3) + value, torch.zeros(n).long()
    )


def test_a_pair_is_one_image_on_top_of_the_other():
    pairs = Pairs(image_set(3, 0), image_set(5, 100))
    assert pairs.in_memory
    images, labels = pairs.__getitems__([(0, 0), (1, 2), (2, 4)])
    assert images.shape == (3, 2, 6, 3) and images.dtype == torch.uint8 and labels.tolist() == [0, 0, 0]
    assert images[:, 0, :3].amax((1, 2)).tolist() == images[:, 1, :3].amin((1, 2)).tolist() == [0, 1, 2]
    assert images[:, 0, 3:].amax((1, 2)).tolist() == [100, 102, 104]


@settings(max_examples=25)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.integers(0, 3))
def test_every_epoch_of_a_domain_shows_each_of_its_images_once(a, b, batch, seed):
    shown = np.array(list(islice(Pairings((a, b), seed, Share(batch)), 3 * a * b)))
    for size, order in ((a, shown[..., 0].ravel()), (b, shown[..., 1].ravel())):
        for epoch in range(len(order) // size):
            assert sorted(order[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_what_meets_changes_and_the_two_orders_differ():
    shown = np.array(list(islice(Pairings((50, 50), 0, Share(50)), 2)))
    tops, bottoms = shown[..., 0], shown[..., 1]
    assert not (tops[0] == bottoms[0]).all() and not (tops[0] == tops[1]).all()
    meetings = [set(zip(top, bottom, strict=True)) for top, bottom in zip(tops, bottoms, strict=True)]
    assert len(meetings[0] & meetings[1]) < 10


def test_processes_share_a_batch_and_a_resumed_run_goes_on():
    alone = list(islice(Pairings((6, 4), 1, Share(4), 2), 5))
    pair = [list(islice(Pairings((6, 4), 1, Share(4, 2, rank), 2), 5)) for rank in range(2)]
    for whole, first, second in zip(alone, *pair, strict=True):
        assert whole == first[:2] + second[:2] + first[2:] + second[2:]
    assert list(islice(Pairings((6, 4), 1, Share(4), 2, start=3), 2)) == alone[3:]


def test_only_a_model_that_translates_gets_pairs():
    data = digits()
    model = SimpleNamespace(seed=0, share=Share(4), rules=SimpleNamespace(d_steps=1), iteration=0)
    model.batch_sizes, model.images_at = None, lambda iteration: 4 * iteration
    model.batch_size_at = lambda iteration: 4
    data.trainer = SimpleNamespace(lightning_module=model)
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, 8, 8) and labels.unique().numel() > 1
    model.translate = None
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, 16, 8) and labels.tolist() == [0] * 4
    assert images[:, :, 0, 0].amax() == 0 and images[0, :, 8, 0].tolist() == COLOURS["paper"]


def put(path, colour, size=(12, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        put(tmp_path / "trainA" / f"{i}.png", (i, 0, 0))
    for i in range(2):
        put(tmp_path / "trainB" / "deep" / f"{i}.png", (0, 50 + i, 0), (20, 12))
    put(tmp_path / "testA" / "0.png", (9, 9, 9))
    put(tmp_path / "testB" / "0.png", (8, 8, 8))
    return tmp_path


FOLDER = OPTIONS | {"classes": 0}


def test_folders_of_both_domains(folder):
    data = loaded(UnpairedFolder(**FOLDER, path=str(folder)))
    assert [len(images) for images in data.domains] == [3, 2] and not data.paired
    assert pixels(data.domains[1])[:, 1, 0, 0].tolist() == [50, 51]
    assert [pixels(data.to_translate[domain])[0, 0, 0, 0].item() for domain in (0, 1)] == [9, 8]


def test_without_test_folders_the_training_images_are_translated(folder):
    (folder / "testA" / "0.png").unlink()
    (folder / "testA").rmdir()
    data = loaded(UnpairedFolder(**FOLDER, path=str(folder)))
    assert [len(data.to_translate[domain]) for domain in (0, 1)] == [3, 2]


@pytest.mark.parametrize("memory_gb", [3.0, 0.0])
def test_larger_images_are_loaded_for_crops(folder, memory_gb):
    data = loaded(UnpairedFolder(**FOLDER, path=str(folder), load=12, memory_gb=memory_gb))
    assert data.domains[0].in_memory is (memory_gb > 0)
    pairs, _ = Pairs(*data.domains).__getitems__([(0, 0)])
    assert pairs.shape == (1, 3, 24, 12)
    assert data.train_set[0][0].shape == data.references[0][0][0].shape == data.to_translate[0][0][0].shape == (3, 8, 8)


def test_noise_is_dark_and_bright():
    data = loaded(UnpairedNoise(**OPTIONS | {"classes": 3, "size": 9, "seed": 1}))
    assert data.test_set is None and len(data.to_translate[0]) == 9
    assert pixels(data.domains[0]).amax() < 128 <= pixels(data.domains[1]).amin()
    assert data.domains[1].labels.tolist() == [0, 1, 2] * 3


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match="trainA and trainB"):
        loaded(UnpairedFolder(**FOLDER, path=str(tmp_path)))
    with pytest.raises(InputError, match="data.load=4"):
        UnpairedFolder(**FOLDER, load=4)
    with pytest.raises(InputError, match="data.domains=3"):
        digits(domains=3)
    with pytest.raises(InputError, match="data.channels=1"):
        digits(channels=1)
    with pytest.raises(InputError, match="two different colours"):
        digits(ink=COLOURS["paper"])
    with pytest.raises(InputError, match="0 to 255"):
        digits(ink=[0, 0, 256])
