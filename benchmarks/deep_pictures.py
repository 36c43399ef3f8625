"""The pictures of docs/deep_zoo.md: what ProGAN drew at each resolution, StyleGAN's mixed and truncated styles.

    python benchmarks/deep_pictures.py [progan] [stylegan]

Trains each with its shipped settings on Fashion-MNIST, below logs/benchmarks (a finished run is left alone), and copies
what the runs' own callbacks drew, twice as large, to docs/images/. They
take 30 minutes and 5; the pictures there are of runs of `zoo.py`, ProGAN on one core (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image
from runs import IMAGES, train

#: model: minutes, and the pictures by the folder of samples/ that they are the last of
PICTURES = {
    "progan": (30, {"growth": "progan_growth"}),
    "stylegan": (5, {"style_mixing": "stylegan_mixing", "truncation": "stylegan_truncation"}),
}


def draw(model: str) -> None:
    """Train a model and keep its pictures."""
    minutes, pictures = PICTURES[model]
    words = [f"model={model}", f"minutes={minutes}", "seed=0", "evaluation.every=0", "samples.every=0"]
    run = train(f"deep_pictures/{model}_{minutes}min", words)
    for folder, name in pictures.items():
        enlarged(sorted((run / "samples" / folder).glob("*.png"))[-1]).save(IMAGES / f"{name}.png", optimize=True)


def enlarged(path: Path) -> Image.Image:
    """A picture twice as large, pixel by pixel."""
    picture = Image.open(path).convert("RGB")
    return picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[*PICTURES, []], default=[], metavar="model")
    for model in parser.parse_args().models or PICTURES:
        draw(model)


if __name__ == "__main__":
    main()
