"""Mode dropping on two-dimensional mixtures: the plain GAN against unrolling and packing, on equal terms.

    python benchmarks/mixtures.py                                   train what is not done yet, then report
    python benchmarks/mixtures.py --data ring --methods gan,pac2    only these
    python benchmarks/mixtures.py --seeds 0                         report what there is

On each mixture all methods have the networks, optimiser, batch and iterations of conf/experiment/ring.yaml or
grid.yaml; only `PLANS` tells them apart. Runs go to logs/benchmarks/, one after another on one thread, and finished
ones are left alone. The report puts a table beside the published numbers into docs/experiments.md and writes
benchmarks/results/mixtures.json and docs/images/mixtures.png (the points of seed 0).
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runs import IMAGES, ROOT, insert, keep, results, status, train

os.environ.setdefault("OMP_NUM_THREADS", "1")

DATA = {"ring": 8, "grid": 25}  # and their modes
PLANS = {
    "gan": ("GAN", []),
    "unrolled": ("unrolled, K = 5", ["model=unrolled", "model.unroll_steps=5"]),
    "pac2": ("PacGAN2", ["model.packing=2"]),
    "pac3": ("PacGAN3", ["model.packing=3"]),
    "pac4": ("PacGAN4", ["model.packing=4"]),
}
SCORES = ["modes", "high_quality", "reverse_kl", "mode_jsd"]

#: Modes, share of high quality in per cent, reverse KL; None where the paper gives none. Lin et al. 2018 (PacGAN), and
#: Srivastava et al. 2017 (VEEGAN) for what is marked so. Their networks and budgets are others, and not each other's.
PUBLISHED: dict[tuple[str, str], list[tuple[str, float, float, float | None]]] = {
    ("ring", "gan"): [("PacGAN", 6.3, 98.2, 0.45), ("VEEGAN", 1.0, 99.3, None)],
    ("ring", "unrolled"): [("VEEGAN", 7.6, 35.6, None)],
    ("ring", "pac2"): [("PacGAN", 7.9, 95.6, 0.07)],
    ("ring", "pac3"): [("PacGAN", 7.8, 97.7, 0.10)],
    ("ring", "pac4"): [("PacGAN", 7.8, 95.9, 0.07)],
    ("grid", "gan"): [("PacGAN", 17.3, 94.8, 0.70), ("VEEGAN", 3.3, 0.5, None)],
    ("grid", "unrolled"): [("VEEGAN", 23.6, 16.0, None)],
    ("grid", "pac2"): [("PacGAN", 23.8, 91.3, 0.13)],
    ("grid", "pac3"): [("PacGAN", 24.6, 94.2, 0.06)],
    ("grid", "pac4"): [("PacGAN", 24.8, 93.6, 0.04)],
}


def name(data: str, method: str, seed: int) -> str:
    """The run's folder under logs/benchmarks/."""
    return f"mixtures/{data}_{method}_seed{seed}"


def overrides(data: str, method: str, seed: int) -> list[str]:
    """What a run is started with."""
    return [
        f"experiment={data}",
        *PLANS[method][1],
        f"seed={seed}",
        "trainer=cpu",
        "precision=32",
        "evaluation.every=0",
        "samples.every=0",
        "log_every=100",
    ]


def summary(data: str, method: str, seeds: Sequence[int]) -> dict[str, Any] | None:
    """Scores of all finished seeds with mean and standard deviation; None where none is finished."""
    folders = [ROOT / "logs" / "benchmarks" / name(data, method, seed) for seed in seeds]
    runs = {seed: results(folder) for seed, folder in zip(seeds, folders, strict=True) if status(folder) == "done"}
    if not runs:
        return None
    found: dict[str, Any] = {"command": " ".join(overrides(data, method, min(runs))), "seeds": [*runs]}
    for score in SCORES:
        # without a sample of high quality there are no frequencies of modes, and no divergence
        values = [run[f"eval/{score}"] for run in runs.values() if f"eval/{score}" in run]
        found[score] = {"values": values}
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else None
            found[score] |= {"mean": statistics.mean(values), "sd": spread}
    found["seconds"] = [run["seconds"] for run in runs.values()]
    return found


def shown(score: dict[str, Any], factor: float = 1.0, digits: int = 2) -> str:
    """Mean and standard deviation as text."""
    if "mean" not in score:
        return "none"
    mean = f"{factor * score['mean']:.{digits}f}"
    return mean if score["sd"] is None else f"{mean} ± {factor * score['sd']:.{digits}f}"


def published(data: str, method: str) -> str:
    """The published numbers as text."""
    lines = []
    for source, modes, quality, kl in PUBLISHED[data, method]:
        lines.append(f"{modes:g}, {quality:g}" + ("" if kl is None else f", {kl:g}") + f" ({source})")
    return "; ".join(lines)


def table(record: dict[str, dict[str, Any]]) -> str:
    """The report as a table in Markdown."""
    lines = []
    for data, modes in DATA.items():
        lines += [
            f"| {data} | modes of {modes} | high quality, % | reverse KL | seeds | published: modes, quality, KL |",
            "|---|---|---|---|---|---|",
        ]
        for method, found in record[data].items():
            cells = [
                PLANS[method][0],
                shown(found["modes"], digits=1),
                shown(found["high_quality"], 100, 1),
                shown(found["reverse_kl"]),
                str(len(found["seeds"])),
                published(data, method),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def picture(record: dict[str, dict[str, Any]], seed: int, path: Path) -> None:
    """One row for each mixture, one column for each method: real and generated points, and the logits of D."""
    from matplotlib.figure import Figure

    from saddle.callbacks.points import draw_points, generated_points, logits_on, real_points, window_of
    from saddle.run.build import build_data, load_run

    methods = [method for method in PLANS if any(method in found for found in record.values())]
    figure = Figure(figsize=(2.5 * len(methods) + 0.4, 2.7 * len(DATA) + 0.3), layout="constrained")
    panels = figure.subplots(len(DATA), len(methods), squeeze=False)
    for row, data in zip(panels, DATA, strict=True):
        for axes, method in zip(row, methods, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.set_title(PLANS[method][0] if data == "ring" else "", fontsize=11)
            folder = ROOT / "logs" / "benchmarks" / name(data, method, seed)
            if status(folder) != "done":
                axes.set_axis_off()
                continue
            cfg, model = load_run(folder)
            module = build_data(cfg)
            module.setup()
            real, fake = real_points(module.train_set, 2500), generated_points(model, 2500, seed=0)
            draw_points(axes, real, fake, logits_on(model, real, window_of(real)), dots=2.0)
            scores = results(folder)
            modes, quality = scores["eval/modes"], scores["eval/high_quality"]
            axes.set_xlabel(f"{modes:.0f} of {DATA[data]} modes, {quality:.0%} high quality", fontsize=9)
    handles = next(axes.get_legend_handles_labels() for axes in panels.flat if axes.get_legend_handles_labels()[0])
    figure.legend(*handles, loc="outside lower center", ncols=2, markerscale=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=",".join(DATA), help="mixtures, separated by commas")
    parser.add_argument("--methods", default=",".join(PLANS), help="methods, separated by commas")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, ... to train")
    options = parser.parse_args()
    for seed in range(options.seeds):  # a whole comparison first, then the next seed
        for data in options.data.split(","):
            for method in options.methods.split(","):
                chosen = (data, method, seed)
                train(name(*chosen), overrides(*chosen))
    every = {data: {method: summary(data, method, range(100)) for method in PLANS} for data in DATA}
    record = {data: {method: found for method, found in rows.items() if found} for data, rows in every.items()}
    if not any(record.values()):
        raise SystemExit("no run is finished yet")
    keep("mixtures", record)
    print(table(record))
    insert("mixtures", table(record), ROOT / "docs" / "experiments.md")
    picture(record, 0, IMAGES / "mixtures.png")


if __name__ == "__main__":
    main()
