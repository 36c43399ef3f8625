import pytest
import torch

from saddle.data.noise import Noise
from saddle.errors import InputError

OPTIONS = dict(resolution=16, channels=2, classes=3, size=500, seed=0, batch_size=4, flip=False)


def loaded(**options):
    data = Noise(**OPTIONS | options)
    data.prepare_data()
    data.setup()
    return data.train_set


def test_shape_and_distribution():
    images, labels = loaded().__getitems__(torch.arange(500))
    assert images.shape == (500, 2, 16, 16) and images.dtype == torch.uint8 and labels.dtype == torch.int64
    counts = torch.bincount(images.flatten().long(), minlength=256)
    assert len(counts) == 256 and (counts - 1000).abs().max() < 6 * 1000**0.5
    assert torch.bincount(labels).tolist() == [167, 167, 166]


def test_a_function_of_the_seed():
    assert loaded().fingerprint() == loaded().fingerprint() != loaded(seed=1).fingerprint()


def test_without_classes():
    assert loaded(classes=0).labels.unique().tolist() == [0]


def test_item_is_one_image():
    image, label = loaded()[4]
    assert image.shape == (2, 16, 16) and label.shape == () and int(label) == 1


def test_resolution_zero_is_refused():
    with pytest.raises(InputError, match="data.resolution=0"):
        loaded(resolution=0)
