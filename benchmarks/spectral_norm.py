"""What spectral norm does to a discriminator: singular values of every layer over a real run (SNGAN paper, figure 3).

    python benchmarks/spectral_norm.py

Four runs of DCGAN's networks with the hinge loss on Fashion-MNIST that differ in how D is held: not at all, by weight
clipping, by the gradient penalty, by spectral norm. Writes benchmarks/results/spectral_norm.json and
docs/images/spectral_norm.png.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from runs import IMAGES, keep, results, train

COMMON = ["model=dcgan", "loss=hinge", "callbacks=spectra", "callbacks.spectra.every=200", "iterations=2000", "seed=0"]
COMMON += ["evaluation.every=0", "samples.every=0"]
RUNS = {
    "no constraint": ["model.d_norm=none"],
    "weight clipping": ["model.d_norm=none", "penalty=[weight_clip]"],
    "gradient penalty": ["model.d_norm=none", "penalty=[gradient_penalty]"],
    "spectral norm": ["model.d_norm=spectral"],
}


def spectra(folder: Path) -> tuple[list[int], list[str], list[list[np.ndarray]]]:
    """Iterations, D's layers, and the singular values [iteration][layer]."""
    files = sorted((folder / "spectra").glob("*.npz"))
    layers = [name for name in np.load(files[0]).files if name.startswith("discriminator/")]
    return [int(path.stem) for path in files], layers, [[np.load(path)[name] for name in layers] for path in files]


def main() -> None:
    figure, axes = plt.subplots(2, len(RUNS), figsize=(13, 6.2), sharey="row", constrained_layout=True)
    record = {}
    for column, (label, overrides) in enumerate(RUNS.items()):
        folder = train(f"spectral_norm/{label.replace(' ', '_')}", [*COMMON, *overrides])
        iterations, layers, values = spectra(folder)
        titles = [f"layer {i + 1}" for i in range(len(layers) - 1)] + ["head"]
        for i, title in enumerate(titles):
            largest = [at[i][0] for at in values]
            axes[0, column].plot(iterations, largest, label=title, color=f"C{i}")
            last = values[-1][i]
            if len(last) > 1:  # a row vector has one singular value
                share = np.arange(len(last)) / (len(last) - 1)
                axes[1, column].plot(share, (last / last[0]) ** 2, color=f"C{i}")
        axes[0, column].set(title=label, yscale="log", xlabel="iteration")
        axes[1, column].set(xlabel="place in the spectrum", ylim=(0, 1.02))
        record[label] = {
            "command": f"python src/train.py {' '.join([*COMMON, *overrides])}",
            "eval/frechet": results(folder).get("eval/frechet"),
            "status": results(folder).get("status"),
            "iterations": iterations,
            "largest": {t: [float(at[i][0]) for at in values] for i, t in enumerate(titles)},
            "stable_rank_at_the_end": {
                t: float((values[-1][i] ** 2).sum() / values[-1][i][0] ** 2) for i, t in enumerate(titles)
            },
        }
    axes[0, 0].set_ylabel("largest singular value")
    axes[1, 0].set_ylabel("squared singular values at the end,\nthe largest as 1")
    axes[0, 0].legend(frameon=False, fontsize=8)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / "spectral_norm.png", dpi=130)
    keep("spectral_norm", record)


if __name__ == "__main__":
    main()
