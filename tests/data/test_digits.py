import numpy as np
import torch
from sklearn.datasets import load_digits

from saddle.data.digits import Digits


def loaded(resolution):
    data = Digits(resolution=resolution, channels=1, classes=10, batch_size=4, flip=False)
    data.prepare_data()
    data.setup()
    return data


def test_native_pixels_span_the_range():
    data, source = loaded(8), load_digits()
    pixels = torch.cat([part.__getitems__(range(len(part)))[0] for part in (data.train_set, data.test_set)])
    assert pixels.shape == (1797, 1, 8, 8) and pixels.min() == 0 and pixels.max() == 255
    assert np.abs(pixels[:, 0].numpy() / 255 - source.images / 16).max() < 0.5 / 255 + 1e-9
    assert torch.cat([data.train_set.labels, data.test_set.labels]).tolist() == source.target.tolist()


def test_split_and_size():
    data = loaded(32)
    assert (len(data.train_set), len(data.test_set)) == (1500, 297)
    assert data.train_set[0][0].shape == (1, 32, 32)
    for part in (data.train_set, data.test_set):
        counts = torch.bincount(part.labels, minlength=10)
        assert counts.min() > 0.8 * len(part) / 10
