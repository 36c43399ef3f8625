"""The saved workspace and the report on Weights & Biases, as objects of `wandb-workspaces`. Free of torch.

Both have the same sections of the same panels; the report says beside them how to read them. The panels name what every
run logs (docs/wandb.md) and are drawn by W&B from the runs that are there, now and later.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from saddle.errors import InputError
from saddle.report.reading import read_sweep
from saddle.report.study import FEW, Study
from saddle.run.account import logged_in
from saddle.run.folder import write_atomic

CHOICE = "choices."
MEDIA = ("samples", "samples/walks")
LOGIN = "`wandb login`, or WANDB_API_KEY in the environment"


@dataclass(frozen=True)
class Axis:
    """A setting as W&B finds it.

    Attributes:
        name: as typed: `loss`, `model.g_lr`.
        key: dotted key in the config of a run: `choices.loss`, `model.g_lr`.
        logarithmic: whether its axis is.
        groups: whether it has few enough values to group curves by.
    """

    name: str
    key: str
    logarithmic: bool = False
    groups: bool = False


@dataclass(frozen=True)
class Content:
    """What a dashboard shows.

    Attributes:
        project: on W&B.
        entity: user or team; empty for the default one of the account.
        name: of the workspace and of the report.
        score: whose curves and sensitivity are shown.
        axes: the settings, the most important first where that is known.
        group: of the runs; None for all.
    """

    project: str
    entity: str
    name: str
    score: str
    axes: tuple[Axis, ...]
    group: str | None = None

    @property
    def by(self) -> Axis | None:
        """The setting that curves are grouped by."""
        return next((axis for axis in self.axes if axis.groups), None)


@dataclass(frozen=True)
class Section:
    """A heading, how to read what is below it, and the panels, made anew for each place that they are shown in."""

    name: str
    text: str
    panels: Callable[[], list[Any]]


def build_dashboard(cfg: DictConfig) -> None:
    """Send the workspace and the report, or write them into a file.

    Args:
        cfg: of conf/dashboard.yaml.

    Raises:
        InputError: if `wandb-workspaces` is not installed, nobody is logged in and no file is named, W&B refuses, or
            the sweep cannot be read.
    """
    library()
    content = content_of(cfg)
    if cfg.out is not None:
        out = Path(str(cfg.out))
        if out.suffix != ".json":
            raise InputError(f"out={out}: must be a file that ends in .json")
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, json.dumps(objects(content), indent=2) + "\n")
        print(f"workspace and report: {out}; they are sent without out=, once you are logged in ({LOGIN})", flush=True)
        return
    if not logged_in():
        raise InputError(
            f"you are not logged in to W&B: {LOGIN}; out=FILE.json writes the dashboard into a file instead"
        )
    for url in send(content):
        print(url, flush=True)


def library() -> tuple[Any, Any, Any]:
    """The modules of `wandb-workspaces`: workspaces, reports, expressions.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import wandb_workspaces.expr as expr
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise InputError("the dashboard needs wandb-workspaces: pip install 'saddle-gan[dashboard]'") from None
    return workspaces, reports, expr


# ------------------------------------------------------------------------------------------------------------- content


def content_of(cfg: DictConfig) -> Content:
    """What the options of conf/dashboard.yaml ask for.

    Raises:
        InputError: if the sweep cannot be read.
    """
    axes = [axis_of(str(name), str(name) in cfg.logarithmic) for name in cfg.settings]
    group = cfg.group
    if cfg.sweep is not None:
        study = Study(read_sweep(str(cfg.sweep), cfg.score), cfg.score)
        axes = axes_of(study)
        group = group or Path(str(cfg.sweep)).resolve().name
    name = cfg.name or ("GAN dashboard" if group is None else f"GAN dashboard: {group}")
    return Content(str(cfg.project), str(cfg.entity or ""), str(name)[:128], cfg.score, tuple(axes), group)


def axis_of(name: str, logarithmic: bool = False) -> Axis:
    """The axis of a setting as it is typed: a word without a dot chooses from a group, unless it is a number."""
    top = "." in name or name in ("seed", "iterations", "minutes", "precision")
    key = name if top else CHOICE + name
    return Axis(name, key, logarithmic, groups=not top)


def axes_of(study: Study) -> list[Axis]:
    """The settings that varied in a sweep, the most important first."""
    found = []
    for j in study.order:
        setting = study.settings[j]
        few = len(setting.levels()) <= FEW and not setting.searched
        found.append(Axis(setting.name, setting.key, setting.logarithmic, few))
    return found


# -------------------------------------------------------------------------------------------------------------- panels


def sections(content: Content) -> list[Section]:
    """The sections of the workspace and of the report, in order."""
    return [
        Section("Training", TRAINING, lambda: training(content)),
        Section("Evaluation", EVALUATION, lambda: evaluation(content)),
        Section("Samples", SAMPLES, samples),
        Section("Sensitivity", SENSITIVITY, lambda: sensitivity(content)),
        Section("Health", HEALTH, health),
    ]


TRAINING = """
Losses of a GAN say little by themselves: look for what changes. D's accuracies near 0.5 are an even game; both near 1
are a D that G can no longer fool. The estimates are what a loss says of the distance between the two distributions.
"""
EVALUATION = """
Scores of the moving average of G against the training set. With several runs of a setting the line is their mean and
the band their standard deviation over seeds.
"""
SAMPLES = """
The same latents at every iteration: move the slider. Walks go from latent to latent; a generator that has learned
single images jumps along them.
"""
SENSITIVITY = """
Importance and correlation are W&B's, over all runs that are shown, seeds among them. Intervals, tests and diverged runs
are in the report that `python src/report.py sweep=DIR` makes of the folder.
"""
HEALTH = """
Diversity is 1 where samples differ from each other as real images do, and near 0 after a mode collapse. Gradient norms
and the largest singular values of a layer stay within a factor of ten of their beginning in a run that is well.
"""


def line(title: str, *keys: str, regex: str | None = None, by: Axis | None = None, **options: Any) -> Any:
    """Curves over iterations; grouped by a setting they are the mean and the standard deviation of its runs."""
    _, reports, _ = library()
    if by is not None:
        options |= {"groupby": reports.Config(by.key), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    return reports.LinePlot(title=title, x="Step", y=list(keys), metric_regex=regex, **options)


def training(content: Content) -> list[Any]:
    """Losses, logits, accuracies, penalties, gradient norms."""
    return [
        line("Loss of D", "train/d_loss"),
        line("Loss of G", "train/g_loss"),
        line("D's mean logits", "train/real_logits", "train/fake_logits"),
        line("D's accuracy", "train/d_accuracy_real", "train/d_accuracy_fake", range_y=(0.0, 1.0)),
        line("Penalties, unweighted", regex="train/penalty/.*"),
        line("Estimates of the distance", regex="train/estimate/.*"),
        line("Gradient norm of D", "train/d_grad_norm", log_y=True),
        line("Gradient norm of G", "train/g_grad_norm", log_y=True),
        line("Images per second", "timing/images_per_second"),
    ]


def evaluation(content: Content) -> list[Any]:
    """The score over iterations, by run and by setting, its last values, and the other scores."""
    _, reports, _ = library()
    panels = [line(content.score, content.score)]
    if content.by is not None:
        panels.append(line(f"{content.score} by {content.by.name}", content.score, by=content.by))
    return [
        *panels,
        reports.BarPlot(title=f"{content.score} in the end", metrics=[content.score], max_bars_to_show=50),
        line("All scores", regex="eval/.*"),
        line("Classes that are drawn", "eval/classes", "eval/classes_real"),
    ]


def samples() -> list[Any]:
    """Pictures on a slider."""
    _, reports, _ = library()
    return [
        reports.MediaBrowser(title=key, media_keys=[key], num_columns=2, mode="gallery", gallery_axis="step")
        for key in MEDIA
    ]


def sensitivity(content: Content) -> list[Any]:
    """Parallel coordinates, importance, a scatter plot per setting, and what differs between the runs."""
    _, reports, _ = library()
    score = reports.SummaryMetric(content.score)
    column = reports.ParallelCoordinatesPlotColumn
    columns = [
        column(metric=reports.Config(axis.key), display_name=axis.name, log=axis.logarithmic or None)
        for axis in reversed(content.axes)  # the most important next to the score
    ]
    scatters = [
        reports.ScatterPlot(
            title=f"{content.score} by {axis.name}",
            x=reports.Config(axis.key),
            y=score,
            log_x=axis.logarithmic or None,
            regression=False,
        )
        for axis in content.axes
    ]
    return [
        reports.ParallelCoordinatesPlot(
            title="Settings and score", columns=[*columns, column(metric=score, display_name=content.score)]
        ),
        reports.ParameterImportancePlot(with_respect_to=content.score),
        *scatters,
        reports.RunComparer(diff_only="split"),
    ]


def health() -> list[Any]:
    """Signs of a failure."""
    _, reports, _ = library()
    return [
        line("Diversity of the samples", "health/diversity"),
        line("Largest singular values of D", regex="spectrum/discriminator/.*/0", log_y=True, max_runs_to_show=10),
        line("Largest singular values of G", regex="spectrum/generator/.*/0", log_y=True, max_runs_to_show=10),
        line("D's logits on real images", "logits/real"),
        line("D's logits on generated images", "logits/fake"),
        reports.BarPlot(title="Collapsed (1) or not (0)", metrics=["collapsed"], max_bars_to_show=50),
        reports.BarPlot(title="Diverged (1) or not (0)", metrics=["diverged"], max_bars_to_show=50),
        reports.ScalarChart(title="Memory in bytes, at most", metric="peak_memory_bytes", groupby_aggfunc="max"),
    ]


# ------------------------------------------------------------------------------------------------------------- objects


def workspace(content: Content) -> Any:
    """The saved view of the project."""
    workspaces, _, expr = library()
    shown = [expr.Metric("Group") == content.group] if content.group else []
    return workspaces.Workspace(
        entity=content.entity,
        project=content.project,
        name=content.name,
        sections=[
            workspaces.Section(name=section.name, panels=section.panels(), is_open=True)
            for section in sections(content)
        ],
        settings=workspaces.WorkspaceSettings(x_axis="Step", max_runs=20),
        runset_settings=workspaces.RunsetSettings(
            filters=shown, pinned_columns=["run:displayName", f"summary:{content.score}", "summary:status"]
        ),
    )


def report(content: Content) -> Any:
    """The report: the sections with how to read them."""
    _, reports, expr = library()
    shown = [expr.Metric("Group") == content.group] if content.group else []
    of = f"the runs of the group {content.group}" if content.group else "all runs of the project"
    blocks: list[Any] = [reports.P(f"Every panel shows {of}."), reports.TableOfContents()]
    for section in sections(content):
        blocks += [
            reports.H2(section.name),
            reports.P(" ".join(section.text.split())),
            reports.PanelGrid(runsets=[reports.Runset(name=of, filters=shown)], panels=placed(section.panels())),
        ]
    return reports.Report(
        project=content.project,
        entity=content.entity,
        title=content.name,
        description=f"Training, evaluation, samples, sensitivity and health of {of}.",
        blocks=blocks,
        width="fluid",
    )


def placed(panels: Sequence[Any], columns: int = 3, height: int = 7) -> list[Any]:
    """Panels of a report in rows: W&B's grid is 24 wide."""
    _, reports, _ = library()
    width = 24 // columns
    for n, panel in enumerate(panels):
        panel.layout = reports.Layout(x=n % columns * width, y=n // columns * height, w=width, h=height)
    return list(panels)


def objects(content: Content) -> dict[str, Any]:
    """What is sent, as plain data: the workspace and the report."""
    return {
        name: json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))
        for name, made in (("workspace", workspace(content)), ("report", report(content)))
    }


def send(content: Content) -> list[str]:
    """Save both on W&B; their addresses.

    Raises:
        InputError: if W&B refuses.
    """
    import wandb

    try:
        if not content.entity:
            content = Content(**{**vars(content), "entity": wandb.Api().default_entity or ""})
        saved = report(content).save()  # makes the project where there is none yet
        return [f"workspace: {workspace(content).save().url}", f"report: {saved.url}"]
    except (wandb.errors.Error, ValueError, OSError) as error:
        raise InputError(f"W&B refused the dashboard: {' '.join(str(error).split())}") from error
