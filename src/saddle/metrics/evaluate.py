"""Scores of a finished run, or of two sets of images without any run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torchmetrics import Metric

from saddle.errors import InputError
from saddle.metrics.evaluator import Evaluator, Scores
from saddle.metrics.features import ClassifierExtractor
from saddle.metrics.frechet import FrechetDistance
from saddle.metrics.sources import open_images
from saddle.run.instantiate import instantiate


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """What `python src/evaluate.py` does; the options are those of conf/evaluate.yaml. Returns what was written."""
    if (cfg.run is None) == (cfg.real is None and cfg.fake is None):
        raise InputError("say what to score: either run=DIR, or real=PATH fake=PATH")
    if cfg.run is None and (cfg.real is None or cfg.fake is None):
        raise InputError("give both real=PATH and fake=PATH")
    report = _evaluate_run(cfg) if cfg.run is not None else _evaluate_files(cfg)
    out = cfg.out if cfg.out is not None else Path(str(cfg.run)) / "evaluation.json" if cfg.run is not None else None
    _print(report)
    if out is not None:
        write_json(Path(str(out)).expanduser(), report)
        print(f"written: {out}")
    return report


def _evaluate_run(cfg: DictConfig) -> dict[str, Any]:
    from saddle.run.build import build_data, load_run

    run, model = load_run(cfg.run, weights=cfg.weights)
    metrics = cfg.get("metrics") or run.metrics
    if not metrics:
        raise InputError(f"the run {cfg.run} has no metrics: choose some, e.g. metrics=frechet or metrics=fid")
    built = build_metrics(metrics, cfg.classifier or run.data.classifier, run.data.classes)
    datamodule = build_data(run)
    datamodule.prepare_data()
    datamodule.setup()
    evaluator = Evaluator(built, cfg.n, cfg.batch)
    evaluator.prepare(datamodule)
    scores = evaluator.measure(model, datamodule, cfg.seed, cfg.ema, cfg.truncation)
    details = {"weights": cfg.weights, "ema": cfg.ema, "truncation": cfg.truncation, "seed": cfg.seed}
    return _report(scores, {"run": str(cfg.run), "iteration": model.iteration, "split": "train", **details})


def _evaluate_files(cfg: DictConfig) -> dict[str, Any]:
    real, fake = open_images(str(cfg.real)), open_images(str(cfg.fake))
    classifier = cfg.classifier or "fashion_mnist"
    if cfg.get("metrics"):
        metrics: dict[str, Metric] = build_metrics(cfg.metrics, classifier, None)
    else:
        metrics = {"frechet": FrechetDistance(ClassifierExtractor(classifier))}
    evaluator = Evaluator(metrics, batch=cfg.batch)
    evaluator.prepare()
    return _report(evaluator.compare(real, fake), {"real": str(cfg.real), "fake": str(cfg.fake)})


def build_metrics(metrics: Any, classifier: str | None, classes: int | None) -> dict[str, Metric]:
    """The metrics of a configuration.

    Args:
        metrics: nodes by name; an extractor whose `name` and `classes` are null gets the following ones.
        classifier: of the data.
        classes: of the data.

    Raises:
        InputError: what a metric refuses, e.g. data without a classifier.
    """
    nodes = OmegaConf.to_container(OmegaConf.create(metrics), resolve=True)
    assert isinstance(nodes, dict)
    built = {}
    for name, node in nodes.items():
        extractor = node.get("extractor", {})
        for key, value in (("name", classifier), ("classes", classes)):
            if key in extractor and extractor[key] is None:
                extractor[key] = value
        built[str(name)] = instantiate(node)
    return built


def _report(scores: Scores, details: dict[str, Any]) -> dict[str, Any]:
    return {
        **details,
        "n_real": scores.real,
        "n_fake": scores.fake,
        "extractors": scores.extractors,
        "scores": scores.scalars,
        "vectors": scores.vectors,
    }


def write_json(path: Path, report: dict[str, Any]) -> None:
    """Write the report; the file is replaced when the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(report, indent=2) + "\n")
    partial.replace(path)


def _print(report: dict[str, Any]) -> None:
    table = Table("metric", "value")
    table.columns[1].justify = "right"
    for name, value in report["scores"].items():
        table.add_row(name.removeprefix("eval/"), f"{value:.4f}")
    console = Console()
    console.print(table)
    console.print(f"{report['n_fake']} fake images against {report['n_real']} real ones", highlight=False)
