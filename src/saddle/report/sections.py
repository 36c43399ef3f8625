"""The sections of a report: figures, tables, and how to read them. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from saddle.report import figures, page
from saddle.report.importance import ENOUGH
from saddle.report.page import picture, plural
from saddle.report.settings import MANY
from saddle.report.statistics import LEVEL, SEEDS, SHARING
from saddle.report.study import Study

Figures = Mapping[str, Path | None]

RULE = f"""
Rule: with fewer than {SEEDS} finished seeds of a combination of settings there is no interval for it and no claim
about it. With enough, any two are compared by Welch's t test, two-sided, from {SHARING} combinations on with variances
that draw on those of all (Smyth 2004), and Holm's correction holds the chance of even one false claim among all pairs
below {LEVEL:.0%}.
"""
WORST = "A run that diverged counts as the worst score seen."
SEARCHED = f"""
What the jobs of a sweep were told; of runs that were started one by one, found from their configs. The seed is a
repeat and no setting. A key that follows another one is not a setting of its own: it is listed beside it. A range of more than {MANY} numbers is shown in bins.
"""
SCORES = f"""
Each row is a combination of settings, each point a run. A box spans the middle half of the seeds, its line is the
median, its whiskers reach the extremes; boxes are drawn from {SEEDS} seeds on. The best mean is on top.
"""
EFFECTS = """
One panel for each setting, the most important first. Grey: single runs. Blue: the mean over combinations of their
mean score, all else varying as it did. The bar is its 95% interval: over seeds, their variance pooled over
combinations, where at least half of the combinations have enough of them; in a search at random over combinations,
by bootstrap; else there is none. A steep line is a sensitive setting.
"""
RATIOS = "Scores are compared by their ratios: axes are logarithmic, means geometric."
INTERACTIONS = """
Mean score over two settings at a time, the strongest interaction first; darker is better. A pale grey field was not
run, or says why it has no score. Where all rows shade in the same way, the two settings act independently; where the
dark field moves from row to row, the best value of one depends on the other.
"""
IMPORTANCE = f"""
Functional analysis of variance of a random forest (Hutter et al. 2014): how much of the variance over the whole
space of settings each explains alone, and each two together beyond that. A line spans 10 to 90% of the trees, each
grown on a bootstrap sample. {WORST} The noise of few seeds shows as small interactions.
"""
FAILURES = """
Share of runs at each level that met a value that is not finite (diverged), lost most classes or most of their best
score (collapsed), or ended by another error; above each bar how many of how many. Unfinished runs are left out.
levels.csv has Wilson's 95% intervals of these shares.
"""
BUDGET = f"""
The best score to expect of k runs drawn at random from those that were made, in closed form over all subsets; the
bands are 95% bootstrap intervals over runs (as in Lucic et al. 2018), from {SEEDS} runs on. A curve that is good
from the start needs no tuning. {WORST} Where k nears the number of runs, a curve rests on the few best ones.
"""
PARALLEL = """
Each line is a finished run on its way through its settings to its score; darker is better, and the best are on top.
The most important setting is next to the score.
"""
CURVES = """
Each thin line is a run, each thick one the median over the runs of a level while at least half of them go on.
Limits leave out the most extreme 2% of the values.
"""
SAMPLES = """
The last sample grid of one run for every two levels, cut to its upper left: of several runs the one with the median
score, not the best. Its score is below. Choose others by rows=, columns= and where=[key:value].
"""
RUNS = """
Best first; click a heading to sort. The score of a run that has not finished is its newest one. Hold the pointer
over a status to read the error.
"""


def sections_of(study: Study, by: int | None, fixed: dict[int, str], drawn: Figures) -> list[tuple[str, str, str]]:
    """Anchor, heading and content of every section.

    Args:
        study: the sweep.
        by: the setting that colours show, or None.
        fixed: the levels at which the sample grids hold the other settings.
        drawn: the figures by name.
    """
    split = f"Colours are the levels of <code>{study.settings[by].name}</code>." if by is not None else ""
    ratios = RATIOS if study.logarithmic else ""
    unscored = f"No finished run has the score {escape(study.score)}."
    constant = "Nothing but the seed was varied." if not study.settings else unscored
    held = ", ".join(f"{study.settings[k].name}={name}" for k, name in fixed.items())
    held = f"All are of runs with {escape(held)}." if held else ""
    none_failed = "No run diverged, collapsed or failed." if study.settings else constant
    return [
        ("varied", "What was varied", varied(study)),
        ("scores", "Scores", scores(study, drawn, f"{SCORES} {split} {ratios}", unscored)),
        ("effects", "Main effects", picture(drawn["main_effects"], f"{EFFECTS} {ratios}", constant)),
        ("interactions", "Interactions", interactions(study, drawn)),
        ("importance", "Importance", importance(study, drawn)),
        ("failures", "Divergence and collapse", picture(drawn["failures"], FAILURES, none_failed)),
        ("budget", "Best score against budget", budget(drawn, split)),
        ("parallel", "Parallel coordinates", picture(drawn["parallel"], PARALLEL, constant)),
        ("curves", "Training curves", curves(study, drawn, split)),
        ("samples", "Samples", picture(drawn["samples"], f"{SAMPLES} {held}", "No run has drawn samples.")),
        ("runs", "All runs", f'<p class="how">{RUNS}</p>{page.runs_table(study)}'),
    ]


def varied(study: Study) -> str:
    """The table of settings and what to know about them."""
    unread = sum(not run.config for run in study.runs)
    few = [cell for cell in study.cells if len(cell.scores) < SEEDS]
    notes = ""
    if unread:
        notes += note(f"{plural(unread, 'run')} without a readable config: in the table of runs only.")
    if few and len(study.cells) > 1:
        notes += note(f"{len(few)} of {len(study.cells)} combinations have fewer than {SEEDS} finished seeds. {RULE}")
    if not study.settings:
        return f"<p>Nothing but the seed differs between the configs of the runs.</p>{notes}"
    return f'{page.varied_table(study)}<p class="how">{SEARCHED}</p>{notes}'


def note(text: str) -> str:
    """A paragraph that must not be missed."""
    return f'<p class="note">{text}</p>'


def scores(study: Study, drawn: Figures, caption: str, unscored: str) -> str:
    """The box plots, and the table of combinations."""
    count = sum(len(cell.scores) > 0 for cell in study.cells)
    if count > figures.SHOWN:
        caption += f" The best {figures.SHOWN} of {count} combinations are shown."
    text = picture(drawn["scores"], caption, unscored)
    if not count:
        return text
    listed = f" The best {page.LISTED} are listed; settings.csv has all." if len(study.cells) > page.LISTED else ""
    how = f"{RULE} p compares with the best combination that has enough seeds.{listed} Click a heading to sort."
    return f'{text}{page.settings_table(study)}<p class="how">{how}</p>'


def interactions(study: Study, drawn: Figures) -> str:
    """The heat maps."""
    pairs = len(figures.ranked_pairs(study))
    more = f" {figures.PAIRS} of {pairs} pairs are shown; interactions.csv has all." if pairs > figures.PAIRS else ""
    return picture(
        drawn["interactions"], INTERACTIONS + more, "An interaction needs two settings, and scores that differ."
    )


def importance(study: Study, drawn: Figures) -> str:
    """The bars of importance, and what was resampled."""
    seeds = len(study.repeated) == len(study.cells)
    resampled = "The seeds of each combination were resampled." if seeds else "The runs were resampled."
    enough = f"Importance needs at least {ENOUGH} runs that ended, settings, and scores that differ."
    return picture(drawn["importance"], f"{IMPORTANCE} {resampled}", enough)


def budget(drawn: Figures, split: str) -> str:
    """The curves of the expected best score."""
    return picture(drawn["budget"], f"{BUDGET} {split}", "A budget needs two runs that ended, and a score.")


def curves(study: Study, drawn: Figures, split: str) -> str:
    """The training curves."""
    count = len(study.runs)
    more = f"Of {count:,} runs an even choice of at most {figures.CURVES} is drawn." if count > figures.CURVES else ""
    return picture(drawn["curves"], f"{CURVES} {split} {more}", "No run has logged more than one row yet.")
