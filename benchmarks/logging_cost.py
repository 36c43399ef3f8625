"""What logging costs: python benchmarks/logging_cost.py [step_ms=50]; writes benchmarks/results/logging_cost.json

Trains the default model for a few iterations with Weights & Biases offline, and times each call that a run makes for
its logs alone: scalars and clock (with metrics.csv and timing.csv), pictures, histograms. Each cost is spread over the
iterations between two such calls as they ship, and set against a step of `step_ms`. W&B's own process runs beside the
training; its CPU time is told apart.

What is measured for its own sake is not in it: drawing samples, scores, singular values. The time in which histograms
are computed and pictures encoded is.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from runs import ROOT, keep

os.environ["WANDB_MODE"] = "offline"
REPEATS, EVERY = 20, 10
WORDS = [
    "data=digits", "metrics=none", "evaluation.every=0", "precision=32", f"log_every={EVERY}", f"samples.every={EVERY}",
    f"callbacks.walks.every={EVERY}", f"callbacks.histograms.every={EVERY}", "callbacks.health.every=0",
    f"iterations={EVERY * REPEATS}", "logger=wandb",
]  # fmt: skip
PICTURES = {"samples": "samples", "samples/walks": "walks"}  # names of the pictures to keys of the table


def main(step_ms: float = 50.0) -> None:
    """Measure, print and write the table."""
    import wandb

    from saddle.config import resolvers
    from saddle.config.check import checked
    from saddle.config.compose import Composer
    from saddle.run.folder import RunFolder
    from saddle.run.training import train

    resolvers.register()
    with Composer(ROOT / "conf", "train") as composer:
        config, shipped = checked(composer, WORDS), checked(composer, [])
    spent: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, timed(spent):
        run = RunFolder(folder)
        run.begin(config)
        before = os.times()
        train(OmegaConf.create(config), run)
        wandb.teardown()
        after, seconds = os.times(), run.results()["seconds"]
    intervals = {
        "scalars": shipped["log_every"],
        "timing": shipped["log_every"],
        "samples": shipped["samples"]["every"],
        "walks": shipped["callbacks"]["walks"]["every"],
        "histograms": shipped["callbacks"]["histograms"]["every"],
    }
    calls = {}
    for name, interval in intervals.items():
        ms = 1000 * statistics.median(spent[name][1:])  # the first one warms up
        calls[name] = {"ms_per_call": ms, "every": interval, "share_of_step": ms / interval / step_ms}
        print(f"{name:<11} {ms:8.2f} ms every {interval:>5} iterations  {ms / interval / step_ms:.4%} of a step")
    total = sum(row["share_of_step"] for row in calls.values())
    service = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"together {total:.3%} of a step of {step_ms:g} ms")
    print(f"W&B's own process: {service:.2f} s of CPU from start to end, for {REPEATS} logs of each kind")
    keep(
        "logging_cost",
        {"step_ms": step_ms, "calls": calls, "share_of_step": total, "service_cpu_seconds": service,
         "service_logs_of_each_kind": REPEATS, "training_seconds": seconds},
    )  # fmt: skip


@contextmanager
def timed(spent: dict[str, list[float]]) -> Iterator[None]:
    """Let the calls that log note how long they took, in seconds."""
    from saddle.callbacks import histograms, pictures, scalars
    from saddle.run.life import Life

    def noted(original: Any, key: str | None) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = original(*args, **options)
            spent[key or PICTURES[args[1]]].append(time.perf_counter() - start)
            return result

        return call

    places = [
        (scalars, "record", "scalars"),
        (Life, "log_timing", "timing"),
        (pictures, "record_image", None),
        (histograms.Histograms, "on_interval_end", "histograms"),
    ]
    originals = [getattr(owner, name) for owner, name, _ in places]
    for (owner, name, key), original in zip(places, originals, strict=True):
        setattr(owner, name, noted(original, key))
    try:
        yield
    finally:
        for (owner, name, _), original in zip(places, originals, strict=True):
            setattr(owner, name, original)


if __name__ == "__main__":
    main(**{key: float(value) for key, value in (word.split("=", 1) for word in sys.argv[1:])})
