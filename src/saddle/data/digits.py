"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from saddle.data.base import DataModule, Split
from saddle.data.images import ArrayImages

TRAINING = 1500  # images; the others are the test part


class Digits(DataModule):
    """1,797 digits of 8 x 8 pixels in 17 shades of grey (Alpaydin and Kaynak, UCI, 1998), resized.

    The first 1,500 are the training part and the last 297 the test part. The images stand in the order in which they
    were collected, so a classifier is not tested on the neighbours of the images that it was trained on.
    """

    def read(self) -> tuple[Split, Split | None]:
        data = load_digits()
        images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
        train, test = (
            Split(ArrayImages(images[rows], self.resolution, "scikit-learn's digits"), data.target[rows])
            for rows in (slice(TRAINING), slice(TRAINING, None))
        )
        return train, test
