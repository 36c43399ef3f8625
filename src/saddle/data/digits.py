"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from saddle.data.base import DataModule, Part
from saddle.data.images import ArrayImages

_TRAINING = 1500


class Digits(DataModule):
    """1,797 digits of 8 x 8 pixels in 17 shades of grey (Alpaydin and Kaynak, UCI, 1998), resized.

    The first 1,500 are the training part and the last 297 the test part. The images stand in the order in which they
    were collected, so a classifier is not tested on the neighbours of the images that it was trained on.
    """

    def read(self) -> tuple[Part, Part | None]:
        data = load_digits()
        images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = torch.from_numpy(data.target.astype(np.int64))
        name = "scikit-learn's digits"
        train = Part(ArrayImages(images[:_TRAINING], self.resolution, name), labels[:_TRAINING])
        test = Part(ArrayImages(images[_TRAINING:], self.resolution, name), labels[_TRAINING:])
        return train, test
