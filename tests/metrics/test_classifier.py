"""Training the classifier, and whether the committed weights know real images."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saddle.data.digits import Digits
from saddle.errors import InputError
from saddle.metrics import classifier as own
from saddle.metrics.features import ClassifierExtractor
from saddle.metrics.train_classifier import fit, main

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def digits(**options) -> Digits:
    common = {"resolution": 32, "channels": 1, "classes": 10, "batch_size": 64, "flip": False}
    module = Digits(**{**common, **options})
    module.prepare_data()
    module.setup()
    return module


@pytest.mark.skipif(not DEBIAN.exists(), reason="needs Debian's package dataset-fashion-mnist")
def test_committed_fashion_mnist_accuracy():
    with gzip.open(DEBIAN / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 1000 * 784), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(DEBIAN / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + 1000), np.uint8, offset=8).astype(np.int64)
    images = torch.nn.functional.pad(torch.from_numpy(pixels.copy()), (2, 2, 2, 2))
    model = own.load(own.WEIGHTS / "fashion_mnist.safetensors")
    assert own.accuracy(model, images, torch.from_numpy(labels)) >= 0.91  # 0.92 on all 10,000


def test_committed_digits_accuracy():
    test = digits().test_set
    assert test is not None
    model = own.load(own.WEIGHTS / "digits.safetensors")
    assert own.accuracy(model, *test.__getitems__(range(len(test)))) >= 0.97


def test_training_learns_and_repeats():
    """Horizontal against vertical bars: two classes that twenty steps tell apart."""
    images = torch.zeros(64, 1, 32, 32, dtype=torch.uint8)
    images[:32, :, 12:20], images[32:, :, :, 12:20] = 255, 255
    labels = torch.arange(64) // 32
    state = torch.random.get_rng_state()
    models = [own.train(images, labels, 2, steps=20, batch=16, seed=3) for _ in range(2)]
    assert own.accuracy(models[0], images, labels) == 1.0
    for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    torch.testing.assert_close(torch.random.get_rng_state(), state)  # the run's own random numbers are left alone


def test_data_without_a_classifier_gets_one_on_first_use(monkeypatch, tmp_path):
    """Where there are labels; the second time it is there."""
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    calls = []

    def quick(images, labels, classes, **options):
        calls.append(len(images))
        return own.Classifier(images.shape[1], classes).eval()

    monkeypatch.setattr(own, "train", quick)
    module = digits()
    for _ in range(2):
        extractor = ClassifierExtractor("mine", classes=10)
        extractor.prepare(module)
        assert extractor(torch.zeros(2, 1, 32, 32, dtype=torch.uint8)).logits.shape == (2, 10)
    assert calls == [1500]
    metadata = own.read_metadata(tmp_path / "classifiers" / "mine.safetensors")
    assert metadata["data"] == module.train_set.fingerprint()


def test_wrong_input():
    with pytest.raises(InputError, match="data.classes is 0"):
        fit(digits(classes=0), "x", Path("x"))
    with pytest.raises(InputError, match="say which data"):
        main([])


def test_a_classifier_with_broken_statistics_is_refused_by_name(monkeypatch, tmp_path):
    """Its weights are finite; what it says of images is not."""
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    model = own.load(own.WEIGHTS / "digits.safetensors")
    next(x for name, x in model.named_buffers() if name.endswith("running_var")).fill_(-1)
    own.save(model, tmp_path / "classifiers" / "mine.safetensors", {})
    with pytest.raises(InputError, match="mine gives features that are not finite: its weights are broken"):
        ClassifierExtractor("mine")(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize("metadata", [{}, {"channels": "1"}, {"channels": "one", "classes": "10"}])
def test_what_is_no_classifier_is_refused_by_name(tmp_path, metadata):
    save_file({"x": torch.zeros(1)}, tmp_path / "mine.safetensors", metadata=metadata)
    with pytest.raises(InputError, match="mine.safetensors is not a classifier of this repository"):
        own.read_metadata(tmp_path / "mine.safetensors")
    (tmp_path / "mine.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"mine.safetensors is damaged \(.*\): delete it to train anew"):
        own.read_metadata(tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match="could not be read or written .*Is a directory"):
        own.read_metadata(tmp_path)
