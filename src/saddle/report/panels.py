"""What the dashboard on Weights & Biases shows, as objects of `wandb-workspaces`. Free of torch.

A saved workspace and a report have the same sections of the same panels; the report says beside them how to read them.
The panels name what every run logs (docs/wandb.md) and are drawn by W&B from the runs that are there, now and later.
Importing it raises InputError where the library is not installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saddle.errors import InputError

try:
    import wandb_workspaces.expr as expr
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces
except ImportError:
    raise InputError("the dashboard needs wandb-workspaces: pip install 'saddle-gan[dashboard]'") from None


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
    logarithmic: bool
    groups: bool


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
    group: str | None


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
are in the report that `saddle report sweep=DIR` makes of the folder.
"""
HEALTH = """
Diversity is 1 where samples differ from each other as real images do, and near 0 after a mode collapse. Gradient norms
and the largest singular values of a layer stay within a factor of ten of their beginning in a run that is well.
"""


def sections(content: Content) -> list[tuple[str, str, list[Any]]]:
    """Of each section its heading, how to read it, and its panels, which are new ones at every call."""
    score = content.score
    return [
        ("Training", TRAINING, [
            line("Loss of D", "train/d_loss"),
            line("Loss of G", "train/g_loss"),
            line("D's mean logits", "train/real_logits", "train/fake_logits"),
            line("D's accuracy", "train/d_accuracy_real", "train/d_accuracy_fake", range_y=(0.0, 1.0)),
            line("Penalties, unweighted", metric_regex="train/penalty/.*"),
            line("Estimates of the distance", metric_regex="train/estimate/.*"),
            line("Gradient norm of D", "train/d_grad_norm", log_y=True),
            line("Gradient norm of G", "train/g_grad_norm", log_y=True),
            line("Images per second", "timing/images_per_second"),
        ]),
        ("Evaluation", EVALUATION, [
            line(score, score),
            *(line(f"{score} by {axis.name}", score, groupby=reports.Config(axis.key), groupby_aggfunc="mean",
                   groupby_rangefunc="stddev") for axis in [axis for axis in content.axes if axis.groups][:1]),
            bars(f"{score} in the end", score),
            line("All scores", metric_regex="eval/.*"),
            line("Classes that are drawn", "eval/classes", "eval/classes_real"),
        ]),
        ("Samples", SAMPLES, [
            reports.MediaBrowser(title=key, media_keys=[key], num_columns=2, mode="gallery", gallery_axis="step")
            for key in ("samples", "samples/walks")
        ]),
        ("Sensitivity", SENSITIVITY, [
            parallel_coordinates(content),
            reports.ParameterImportancePlot(with_respect_to=score),
            *(reports.ScatterPlot(title=f"{score} by {axis.name}", x=reports.Config(axis.key),
                                  y=reports.SummaryMetric(score), log_x=axis.logarithmic or None, regression=False)
              for axis in content.axes),
            reports.RunComparer(diff_only="split"),
        ]),
        ("Health", HEALTH, [
            line("Diversity of the samples", "health/diversity"),
            *(line(f"Largest singular values of {player}", metric_regex=f"spectrum/{network}/.*/0", log_y=True,
                   max_runs_to_show=10) for player, network in (("D", "discriminator"), ("G", "generator"))),
            line("D's logits on real images", "logits/real"),
            line("D's logits on generated images", "logits/fake"),
            bars("Collapsed (1) or not (0)", "collapsed"),
            bars("Diverged (1) or not (0)", "diverged"),
            reports.ScalarChart(title="Memory in bytes, at most", metric="peak_memory_bytes", groupby_aggfunc="max"),
        ]),
    ]  # fmt: skip


def line(title: str, *keys: str, **options: Any) -> Any:
    """Curves over iterations; grouped by a setting they are the mean and the standard deviation of its runs."""
    return reports.LinePlot(title=title, x="Step", y=list(keys), **options)


def bars(title: str, key: str) -> Any:
    """The last value of each run."""
    return reports.BarPlot(title=title, metrics=[key], max_bars_to_show=50)


def parallel_coordinates(content: Content) -> Any:
    """Every run a line through its settings to its score, the most important setting next to it."""
    column, score = reports.ParallelCoordinatesPlotColumn, reports.SummaryMetric(content.score)
    columns = [column(metric=reports.Config(axis.key), display_name=axis.name, log=axis.logarithmic or None)
               for axis in reversed(content.axes)]  # fmt: skip
    columns.append(column(metric=score, display_name=content.score))
    return reports.ParallelCoordinatesPlot(title="Settings and score", columns=columns)


# ---------------------------------------------------------------------------------------------------------- both views


def shown(content: Content) -> list[Any]:
    """The filter of the runs."""
    return [expr.Metric("Group") == content.group] if content.group else []


def workspace(content: Content) -> Any:
    """The saved view of the project."""
    return workspaces.Workspace(
        entity=content.entity,
        project=content.project,
        name=content.name,
        sections=[workspaces.Section(name=name, panels=panels, is_open=True) for name, _, panels in sections(content)],
        settings=workspaces.WorkspaceSettings(x_axis="Step", max_runs=20),
        runset_settings=workspaces.RunsetSettings(
            filters=shown(content), pinned_columns=["run:displayName", f"summary:{content.score}", "summary:status"]
        ),
    )


def report(content: Content) -> Any:
    """The report: the sections with how to read them."""
    of = f"the runs of the group {content.group}" if content.group else "all runs of the project"
    blocks: list[Any] = [reports.P(f"Every panel shows {of}."), reports.TableOfContents()]
    for name, text, panels in sections(content):
        for n, panel in enumerate(panels):  # three in a row: W&B's grid is 24 wide
            panel.layout = reports.Layout(x=n % 3 * 8, y=n // 3 * 7, w=8, h=7)
        grid = reports.PanelGrid(runsets=[reports.Runset(name=of, filters=shown(content))], panels=panels)
        blocks += [reports.H2(name), reports.P(" ".join(text.split())), grid]
    return reports.Report(
        project=content.project,
        entity=content.entity,
        title=content.name,
        description=f"Training, evaluation, samples, sensitivity and health of {of}.",
        blocks=blocks,
        width="fluid",
    )
