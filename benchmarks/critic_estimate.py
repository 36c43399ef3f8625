"""Does the critic's loss mean something? Its estimate of the Wasserstein distance beside the Frechet distance.

    python benchmarks/critic_estimate.py

One WGAN-GP run on Fashion-MNIST, scored every 200 iterations (WGAN-GP paper, figure 5). Writes
benchmarks/results/critic_estimate.json and docs/images/critic_estimate.png.
"""

from __future__ import annotations

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator
from runs import IMAGES, keep, results, series, train
from scipy.stats import spearmanr

OVERRIDES = ["model=wgan_gp", "minutes=5", "seed=0", "evaluation.every=200", "evaluation.samples=5000"]
OVERRIDES += ["samples.every=0", "log_every=50"]


def main() -> None:
    folder = train("critic_estimate", OVERRIDES)
    at, estimate = series(folder, "train/estimate/wasserstein")
    scored, frechet = series(folder, "eval/frechet")
    nearest = [estimate[int(np.argmin(np.abs(np.array(at) - i)))] for i in scored]
    correlation = float(spearmanr(nearest, frechet).statistic)
    record = {
        "command": f"python src/train.py {' '.join(OVERRIDES)}",
        "iterations": results(folder)["iterations"],
        "spearman": correlation,
        "estimate": dict(zip(at, estimate, strict=True)),
        "frechet": dict(zip(scored, frechet, strict=True)),
    }
    keep("critic_estimate", record)
    picture(record)


def picture(record: dict[str, Any]) -> None:
    """Both curves over the run, each with its own axis."""
    estimate, frechet = ({int(i): value for i, value in record[name].items()} for name in ("estimate", "frechet"))
    figure, left = plt.subplots(figsize=(7, 4), constrained_layout=True)
    left.plot(list(estimate), list(estimate.values()), color="C0", lw=1)
    left.set_xlabel("iteration")
    left.set_ylabel("critic's estimate, E C(x) - E C(G(z))", color="C0")
    left.set_yscale("log")
    right = left.twinx()
    right.plot(list(frechet), list(frechet.values()), "o-", color="C1", ms=3)
    right.set_ylabel("Frechet distance", color="C1")
    right.set_yscale("log")
    left.set_title(
        f"WGAN-GP on Fashion-MNIST: rank correlation {record['spearman']:.2f} over {len(frechet)} scores", fontsize=11
    )
    for axis, ticks in ((left, (1, 2, 5, 10, 20, 50)), (right, (10, 20, 50, 100, 200, 500))):
        low, high = axis.get_ylim()
        axis.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(NullLocator())
        axis.spines["top"].set_visible(False)
    figure.savefig(IMAGES / "critic_estimate.png", dpi=130)


if __name__ == "__main__":
    main()
