"""Scores of a finished run, or of two sets of images without any run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from torchmetrics import Metric

from saddle.config.compose import keys_of
from saddle.errors import InputError
from saddle.metrics.curve import draw_curve, truncation_text
from saddle.metrics.evaluator import Evaluator, Scores
from saddle.metrics.features import ClassifierExtractor, FeatureExtractor
from saddle.metrics.frechet import FrechetDistance
from saddle.metrics.memorisation import write_neighbours
from saddle.metrics.sources import ImageSource, ModelSource, SetSource, open_images
from saddle.run import build
from saddle.run.folder import write_atomic
from saddle.run.target import check_target, holds

Truncation = float | None
Measure = Callable[[int, Truncation], Scores]  # scores for a seed and a truncation
NEAREST = 5  # training images beside a sample in the picture of neighbours


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """What the command `evaluate` does; the options are those of conf/evaluate.yaml. Returns what was written."""
    out = Path(str(cfg.out)).expanduser() if cfg.out is not None else None
    if out is None and cfg.run is not None:
        out = Path(str(cfg.run)).expanduser() / "evaluation.json"
    if out is not None:
        check_out(cfg, out)
    with Bars() as bars:
        report = (_evaluate_run if cfg.run is not None else _evaluate_files)(cfg, out, bars)
    _print(report)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        if "curve" in report:
            draw_curve(out.with_suffix(".png"), report["curve"])
            print(f"written: {out.with_suffix('.png')}")
        write_atomic(out, json.dumps(report, indent=2) + "\n")
        print(f"written: {out}")
    return report


def check_out(cfg: DictConfig, out: Path) -> None:
    """Raise an InputError if the report cannot be written, or would replace something else."""
    if out.suffix != ".json":
        raise InputError(f"out={out}: must be a file that ends in .json")
    curve = [out.with_suffix(".png")] * isinstance(cfg.truncation, ListConfig)
    picture = [out.with_name("neighbours.png")] * bool(cfg.neighbours)
    beside = [] if cfg.out is None else [*curve, *picture]
    check_target(out, lambda path: cfg.out is None or holds(path, "extractors"), beside)


def _evaluate_run(cfg: DictConfig, out: Path | None, bars: Bars) -> dict[str, Any]:
    seeds, truncations = seeds_of(cfg), truncations_of(cfg)
    run, model = build.load_run(cfg.run, weights=cfg.weights, trust=cfg.trust)
    nodes = cfg.get("metrics") or run.metrics
    if not nodes:
        raise InputError(f"the run {cfg.run} has no metrics: choose some, e.g. metrics=frechet or metrics=fid")
    classifier = cfg.classifier or run.data.classifier
    if cfg.classifier and not cfg.get("metrics"):
        nodes = with_classifier(nodes, cfg.classifier, unread=not cfg.neighbours)
    own = classifier == run.data.classifier  # only that of the run's data could be trained on them
    metrics = build_metrics(nodes, classifier, run.data.classes if own else None)
    datamodule = build.build_data(run)
    datamodule.prepare_data()
    datamodule.setup()
    evaluator = Evaluator(metrics, cfg.n, cfg.batch, progress=bars.show)
    evaluator.prepare(datamodule)

    def measure(seed: int, truncation: Truncation) -> Scores:
        return evaluator.measure(model, datamodule, seed, cfg.ema, truncation)

    report: dict[str, Any] = {
        "run": str(cfg.run),
        "iteration": model.iteration,
        "split": "train",
        "weights": "last" if cfg.weights is None else cfg.weights,
        "ema": cfg.ema,
        **sweep(measure, seeds, truncations),
    }
    if cfg.neighbours:
        seed = seeds[0] if isinstance(seeds, list) else seeds
        truncation = truncations[0] if isinstance(truncations, list) else truncations
        real = SetSource(datamodule.train_set, datamodule.classes)
        drawn = {"seed": seed, "ema": cfg.ema, "truncation": truncation}
        fakes = ModelSource(model, cfg.neighbours, datamodule.train_set.dtype, **drawn)
        report["neighbours"] = _neighbours(cfg, out, fakes, real, extractor_of(evaluator, classifier))
    return report


def _evaluate_files(cfg: DictConfig, out: Path | None, bars: Bars) -> dict[str, Any]:
    real, fake = open_images(str(cfg.real)), open_images(str(cfg.fake))
    classifier = cfg.classifier or "fashion_mnist"
    if cfg.get("metrics"):
        metrics = build_metrics(cfg.metrics, classifier, None)
    elif not cfg.classifier and real.read(0, 1)[0].shape[1] != 1:
        raise InputError(
            f"{cfg.real} has colour images, and without metrics= they would be compared by the classifier of the grey "
            "Fashion-MNIST; choose metrics=[fid,inception_score], or a classifier="
        )
    else:
        metrics = {"frechet": FrechetDistance(ClassifierExtractor(classifier))}
    evaluator = Evaluator(metrics, batch=cfg.batch, progress=bars.show)
    evaluator.prepare()
    report = {"real": str(cfg.real), "fake": str(cfg.fake), **asdict(evaluator.compare(real, fake))}
    if cfg.neighbours:
        report["neighbours"] = _neighbours(cfg, out, fake, real, extractor_of(evaluator, classifier))
    return report


# --------------------------------------------------------------------------------------------- several seeds, a curve


def sweep(measure: Measure, seeds: int | list[int], truncations: Truncation | list[Truncation]) -> dict[str, Any]:
    """The part of a report that says how samples were drawn, and their scores.

    Args:
        measure: scores the samples of a seed and a truncation.
        seeds: one, or a list: then there are means and standard deviations.
        truncations: one, or a list: then the scores are under ``curve``, one entry for each.
    """
    points = []
    for truncation in truncations if isinstance(truncations, list) else [truncations]:
        found = [measure(seed, truncation) for seed in (seeds if isinstance(seeds, list) else [seeds])]
        point = asdict(found[0])
        if isinstance(seeds, list):
            point |= over_seeds([each.scores for each in found])
            point["vectors"] = {}  # those of one seed would not belong to the means
        points.append({"truncation": truncation, **point})
    if not isinstance(truncations, list):
        return {"seed": seeds, **points[0]}
    about = ("n_real", "n_fake", "extractors")
    common = {key: points[0][key] for key in about}
    inner = [{key: value for key, value in point.items() if key not in about} for point in points]
    return {"seed": seeds, "truncation": truncations, **common, "curve": inner}


def over_seeds(found: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """``scores``: the means over the seeds; ``scores_std``: the standard deviations, with n - 1; ``scores_by_seed``."""
    values = {name: [scores[name] for scores in found] for name in found[0]}
    return {
        "scores": {name: statistics.fmean(x) for name, x in values.items()},
        "scores_std": {name: statistics.stdev(x) for name, x in values.items()},
        "scores_by_seed": values,
    }


def seeds_of(cfg: DictConfig) -> int | list[int]:
    """The list `seeds`, or else `seed`."""
    return cfg.seed if cfg.seeds is None else list(cfg.seeds)


def truncations_of(cfg: DictConfig) -> Truncation | list[Truncation]:
    """The truncation to score, or the list of them; null is none. Their range is that of the config check."""
    given = cfg.truncation
    if isinstance(given, ListConfig):
        return [None if x is None else float(x) for x in given]
    return None if given is None else float(given)


# ------------------------------------------------------------------------------------------------------- what is built


def build_metrics(metrics: Any, classifier: str | None, classes: int | None) -> dict[str, Metric]:
    """The metrics of a configuration; an extractor in them whose `name` or `classes` are null gets those of the data.

    Raises:
        InputError: what a metric refuses, e.g. data without a classifier.
    """
    nodes = OmegaConf.to_container(OmegaConf.create(metrics), resolve=True)
    assert isinstance(nodes, dict)
    _complete(nodes, {"name": classifier, "classes": classes})
    return build.build_metrics(nodes)


def with_classifier(metrics: Any, classifier: str, unread: bool = True) -> Any:
    """A run's metrics with the classifier `classifier` for the run's own.

    Raises:
        InputError: if none of them reads a classifier, and nothing else would (`unread`).
    """
    nodes: Any = OmegaConf.create(OmegaConf.to_container(OmegaConf.create(metrics), resolve=True))
    target = f"{ClassifierExtractor.__module__}.{ClassifierExtractor.__qualname__}"
    extractors = [key for key, value in keys_of(nodes) if isinstance(value, dict) and value.get("_target_") == target]
    if not extractors and unread:
        listed = ", ".join(map(str, nodes))
        raise InputError(f"classifier={classifier}: none of the run's metrics ({listed}) reads one; give metrics= too")
    for key in extractors:
        OmegaConf.update(nodes, key, {"name": classifier, "classes": None}, merge=True)
    return nodes


def _complete(node: dict[Any, Any], known: Mapping[str, Any], in_extractor: bool = False) -> None:
    for key, value in node.items():
        if isinstance(value, dict):
            _complete(value, known, key == "extractor")
        elif in_extractor and value is None and key in known:
            node[key] = known[key]


def extractor_of(evaluator: Evaluator, classifier: str | None) -> FeatureExtractor:
    """Whose features say which images are neighbours: those of the first metric that has any, else the classifier's."""
    having = (extractor for extractor in evaluator.extractors().values() if extractor.features)
    return next(having, None) or ClassifierExtractor(classifier)


def _neighbours(
    cfg: DictConfig, out: Path | None, fakes: ImageSource, real: ImageSource, extractor: FeatureExtractor
) -> dict[str, Any]:
    """Write the picture of the samples' nearest real images, and say what it shows."""
    assert out is not None
    path = out.with_name("neighbours.png")
    count = min(cfg.neighbours, len(fakes))
    with torch.no_grad():
        distances = write_neighbours(path, fakes.read(0, count)[0], real, extractor, min(NEAREST, len(real)), cfg.batch)
    print(f"written: {path}")
    return {"picture": str(path), "extractor": extractor.name, "distances": distances.double().tolist()}


# ----------------------------------------------------------------------------------------------------- what is reported


class Bars(Progress):
    """Progress bars in a terminal, one for each thing that is looked at; nothing where the output is no terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console()
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._ids: dict[str, TaskID] = {}

    def show(self, what: str, done: int, total: int) -> None:
        """`done` of `total` images of `what` are scored."""
        if what not in self._ids:
            self._ids[what] = self.add_task(what, total=total)
        self.update(self._ids[what], completed=done, total=total)


def _print(report: dict[str, Any]) -> None:
    points = report.get("curve", [report])
    names = list(points[0]["scores"])
    if "curve" in report:  # a row for each truncation: so many columns would be cut off
        table = Table("truncation", *(name.removeprefix("eval/") for name in names))
        for point in points:
            table.add_row(truncation_text(point["truncation"]), *(_cell(point, name) for name in names))
    else:
        table = Table("metric", "value")
        for name in names:
            table.add_row(name.removeprefix("eval/"), _cell(report, name))
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    console = Console()
    console.print(table)
    console.print(f"{report['n_fake']} fake images against {report['n_real']} real ones", highlight=False)
    if "scores_std" in points[0]:
        console.print(f"mean ± standard deviation over the seeds {report['seed']}", highlight=False)


def _cell(point: Mapping[str, Any], name: str) -> str:
    spread = f" ± {point['scores_std'][name]:.4f}" if "scores_std" in point else ""
    return f"{point['scores'][name]:.4f}{spread}"
