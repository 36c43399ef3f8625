"""Train the classifier that scores a dataset's images: ``python -m saddle.metrics.train_classifier data=NAME``.

Writes src/saddle/metrics/weights/NAME.safetensors, or the file given by ``out=``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from saddle.config.compose import CONF
from saddle.config.instantiate import instantiate
from saddle.data.base import DataModule
from saddle.data.sets import ImageSet
from saddle.errors import InputError
from saddle.metrics import classifier

_MOST = 200_000  # images that are held in memory for training
_UNSEEN = 10  # where there is no test set, every tenth image is kept for the accuracy


def fit(datamodule: DataModule, name: str, path: Path, command: str = "trained on first use") -> float:
    """Train a classifier of the module's real images and write it, with the accuracy on images it has not seen.

    Args:
        datamodule: labelled data, set up.
        name: of the classifier.
        path: where the weights go.
        command: how they were made, for the file's metadata.

    Returns:
        the accuracy of the weights in the precision they are written in.
    """
    if datamodule.classes < 2:
        raise InputError(f"a classifier of {name} needs labels: data.classes is {datamodule.classes}")
    images, labels = _read(datamodule.train_set)
    if datamodule.test_set is not None:
        unseen = _read(datamodule.test_set)
    else:
        kept = torch.arange(len(images)) % _UNSEEN == 0
        unseen, (images, labels) = (images[kept], labels[kept]), (images[~kept], labels[~kept])
    steps, shift = (3600, 1) if len(images) > 10_000 else (800, 3)
    model = classifier.train(images, labels, datamodule.classes, steps=steps, flip=datamodule.flip, shift=shift)
    model = model.half().float()  # the precision it is written in
    accuracy = classifier.accuracy(model, *unseen)
    metadata = {"command": command, "data": datamodule.train_set.fingerprint(), "accuracy": f"{accuracy:.4f}"}
    classifier.save(model, path, metadata)
    return accuracy


def _read(images: ImageSet, chunk: int = 1000) -> tuple[Tensor, Tensor]:
    """Up to 200,000 images evenly spread over the set, at the classifier's resolution."""
    rows = torch.arange(len(images))[:: -(-len(images) // _MOST)]
    pixels, labels = [], []
    for part in rows.split(chunk):
        x, y = images.__getitems__(part)
        pixels.append(classifier.shrink_images(x))
        labels.append(y)
    return torch.cat(pixels), torch.cat(labels)


def main(arguments: Sequence[str]) -> int:
    """Compose the data's configuration, train, write, and print the accuracy."""
    from hydra import compose, initialize_config_dir

    out = [argument.removeprefix("out=") for argument in arguments if argument.startswith("out=")]
    overrides = [argument for argument in arguments if not argument.startswith("out=")]
    names = [argument.removeprefix("data=") for argument in overrides if argument.startswith("data=")]
    if not names:
        raise InputError("say which data: python -m saddle.metrics.train_classifier data=fashion_mnist")
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        config = compose("train", overrides=overrides)
    datamodule = instantiate(config.data, DataModule)
    datamodule.prepare_data()
    datamodule.setup()
    path = Path(out[0]) if out else classifier.WEIGHTS / f"{names[0]}.safetensors"
    accuracy = fit(datamodule, names[0], path, "python -m saddle.metrics.train_classifier " + " ".join(overrides))
    print(f"{path}: accuracy {accuracy:.4f} on images that the classifier has not seen")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        sys.exit(str(error))
