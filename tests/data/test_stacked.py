"""Stacked images: their channels, labels and determinism, on the embedded digits."""

import pytest
import torch
from tiny import CONF

from saddle.data.stacked import Stacked
from saddle.errors import InputError


def data(**changes) -> Stacked:
    options = dict(resolution=8, channels=3, classes=0, batch_size=4, flip=False)
    made = Stacked(**{**options, "source": "digits", "images": 300, "test_images": 50, "seed": 0, **changes})
    made.prepare_data()
    made.setup()
    return made


def test_channels_are_images_of_the_source_and_labels_their_classes():
    stacked = data(images=20_000, classes=1000)
    singles = stacked.singles
    singles.setup()
    images, labels = stacked.train_set.__getitems__(range(100))
    assert images.shape == (100, 3, 8, 8) and images.dtype == torch.uint8
    known = {x.numpy().tobytes(): int(y) for x, y in (singles.train_set[i] for i in range(1500))}
    for image, label in zip(images, labels.tolist(), strict=True):
        a, b, c = (known[channel.numpy().tobytes()] for channel in image)
        assert label == 100 * a + 10 * b + c
    assert len(stacked.train_set) == 20_000 and len(stacked.test_set) == 50
    assert len(stacked.train_set.labels.unique()) == 1000


def test_the_test_part_is_made_of_test_images():
    stacked = data()
    singles = stacked.singles
    singles.setup()
    known = {x.numpy().tobytes() for x, _ in (singles.test_set[i] for i in range(297))}
    images = stacked.test_set.__getitems__(range(50))[0]
    assert all(channel.numpy().tobytes() in known for image in images for channel in image)


def test_the_channels_are_independent_and_uniform():
    labels = data(images=20_000, classes=1000).train_set.labels
    digits = torch.stack([labels // 100, labels // 10 % 10, labels % 10]).double()
    correlation = torch.corrcoef(digits) - torch.eye(3)
    assert float(correlation.abs().max()) < 4 / 20_000**0.5
    for row in digits:
        assert float((row.long().bincount(minlength=10) / 20_000 - 0.1).abs().max()) < 0.01


def test_images_are_a_function_of_the_seed():
    torch.manual_seed(1)
    first = data().train_set
    torch.randn(3)
    again, other = data().train_set, data(seed=1).train_set
    assert torch.equal(first.__getitems__(range(300))[0], again.__getitems__(range(300))[0])
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    streamed = data(memory_gb=0.0).train_set
    assert not streamed.in_memory and first.in_memory
    assert torch.equal(first.__getitems__([5, 250])[0], streamed.__getitems__([5, 250])[0])
    assert streamed.fingerprint() != data(memory_gb=0.0, seed=1).train_set.fingerprint()


def test_wrong_options_are_refused():
    for changes, says in (
        ({"source": "cifar10"}, "data.source=cifar10"),
        ({"channels": 1}, "data.channels=1"),
        ({"images": 0}, "data.images=0"),
        ({"classes": 10}, "data.classes=10"),
    ):
        with pytest.raises(InputError, match=says):
            data(**changes)


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "data").glob("stacked_*.yaml")))
def test_configurations(name):
    from hydra import compose, initialize_config_dir

    from saddle.config import resolvers
    from saddle.run.build import build_data

    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"data={name}"])
    made = build_data(cfg)
    assert made.source == name.removeprefix("stacked_") == cfg.metrics.stacked_modes.assignment.classifier
    assert (made.images, made.test_images, made.channels) == (128_000, 26_000, 3) and [*cfg.metrics] == [
        "stacked_modes"
    ]
