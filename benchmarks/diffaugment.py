"""Little data: DiffAugment against no augmentation on a tenth of Fashion-MNIST, three seeds each.

    python benchmarks/diffaugment.py                    train what is not done yet, then report
    python benchmarks/diffaugment.py --jobs 2           two runs at once, of one thread each
    python benchmarks/diffaugment.py --seeds 0          only this seed

DCGAN without a norm in D. The runs with little data see the same 6,000 of the 60,000 training images and differ in the
augmentation alone; a third setting sees all images, so that what little data does can be told from what the lack of a
norm does. The Frechet distance is to all 60,000. The length is given in iterations, so that the result does not depend
on the machine's speed. Runs go to logs/benchmarks/, and finished ones are left alone. Writes
benchmarks/results/diffaugment.json, the table of docs/deep_zoo.md and docs/images/diffaugment.png, the distance along
the runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runs import IMAGES, ROOT, insert, keep, results, series, status, train

os.environ.setdefault("OMP_NUM_THREADS", "1")

LIMIT, ITERATIONS, EVERY = 6000, 10000, 2500
#: What is compared. Colours and cutout in addition make a D of this size learn several times more slowly.
SETTINGS = {
    "none": [f"data.limit={LIMIT}", "augment=none"],
    "diffaugment": [f"data.limit={LIMIT}", "augment=diffaugment", "augment.policy=[translation]"],
    "all": ["augment=none"],
}
LABELS = {
    "none": f"{LIMIT:,} images",
    "diffaugment": f"{LIMIT:,} images, DiffAugment (translation)",
    "all": "all 60,000 images",
}


def name(setting: str, seed: int) -> str:
    """The run's folder under logs/benchmarks/."""
    return f"diffaugment/{setting}_seed{seed}"


def overrides(setting: str, seed: int) -> list[str]:
    """What a run is started with."""
    return [
        "model=dcgan",
        "model.d_norm=none",
        *SETTINGS[setting],
        f"seed={seed}",
        f"iterations={ITERATIONS}",
        f"evaluation.every={EVERY}",
        "samples.every=0",
    ]


def report(seeds: Sequence[int]) -> None:
    """Write and print what the finished runs scored."""
    found: dict[str, Any] = {}
    for setting in SETTINGS:
        folders = {seed: ROOT / "logs" / "benchmarks" / name(setting, seed) for seed in seeds}
        done = {seed: folder for seed, folder in folders.items() if status(folder) == "done"}
        if not done:
            continue
        last = [results(folder)["eval/frechet"] for folder in done.values()]
        found[setting] = {
            "command": f"python src/train.py {' '.join(overrides(setting, min(done)))}",
            "seeds": [*done],
            "frechet": last,
            "mean": statistics.mean(last),
            "sd": statistics.stdev(last) if len(last) > 1 else None,
            "along": {seed: dict(zip(*series(folder, "eval/frechet"), strict=True)) for seed, folder in done.items()},
            "seconds": [results(folder)["seconds"] for folder in done.values()],
        }
    keep("diffaugment", found)
    insert("diffaugment", table(found), ROOT / "docs" / "deep_zoo.md")
    plot(found)


def table(found: dict[str, Any]) -> str:
    """The distance at the end of each run and its mean, and the least one along it, in markdown."""
    seeds = sorted({seed for entry in found.values() for seed in entry["seeds"]})
    head = ["", *(f"seed {seed}" for seed in seeds), "mean", "standard deviation", "least along the run, mean"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for setting, entry in found.items():
        last = dict(zip(entry["seeds"], entry["frechet"], strict=True))
        numbers = [f"{last[seed]:.1f}" if seed in last else "" for seed in seeds]
        least = statistics.mean(min(along.values()) for along in entry["along"].values())
        spread = f"{entry['sd']:.1f}" if entry["sd"] is not None else ""
        cells = [LABELS[setting], *numbers, f"{entry['mean']:.1f}", spread, f"{least:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(found: dict[str, Any]) -> None:
    """The Frechet distance of every run along its iterations."""
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    figure, axes = pyplot.subplots(figsize=(8.5, 3.6))
    for setting, colour in zip(SETTINGS, ("tab:red", "tab:blue", "tab:grey"), strict=True):
        for i, along in enumerate(found.get(setting, {}).get("along", {}).values()):
            axes.plot([*along], [*along.values()], color=colour, label=LABELS[setting] if i == 0 else None)
    axes.set_xlabel("iterations")
    axes.set_ylabel("Frechet distance to all training images")
    axes.set_yscale("log")
    axes.set_title("DCGAN without a norm in D, a line per seed")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(IMAGES / "diffaugment.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [
            pool.submit(train, name(setting, seed), overrides(setting, seed)) for seed in seeds for setting in SETTINGS
        ]
    for run in runs:
        run.result()  # raises what went wrong
    report(seeds)


if __name__ == "__main__":
    main()
