"""What a sweep says, in a paragraph of plain words; every number is computed from the runs. Free of torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from saddle.report.statistics import LEVEL, SEEDS
from saddle.report.study import GOOD, Study


def summary(study: Study, by: int | None = None) -> str:
    """The whole paragraph; good combinations are counted by the levels of the setting `by`, None for none."""
    said = [what_was_run(study), how_runs_ended(study)]
    if not np.isfinite(study.scores).any():
        said.append(f"No finished run has the score {study.score} yet, so nothing is said about the settings.")
        return " ".join(said)
    said += [best(study), too_few_seeds(study), robustness(study, by), what_matters(study)]
    return " ".join(filter(None, said))


def what_was_run(study: Study) -> str:
    """How many runs of how many combinations of settings."""
    if not study.settings:
        return f"{plural(len(study.runs), 'run')} of the same settings."
    names = [setting.name for setting in study.settings]
    seeds = [len(cell.rows) for cell in study.cells]
    low, high = min(seeds), max(seeds)
    each = f"{low}" if low == high else f"{low} to {high}"
    word = "run each" if high == 1 else "runs (seeds) each"
    many = plural(len(study.cells), "combination")
    return f"{plural(len(study.runs), 'run')} varied {sentence(names)}: {many}, {each} {word}."


def how_runs_ended(study: Study) -> str:
    """How the runs ended."""
    words = {"done": "finished"}
    counts = Counter("diverged" if run.diverged else words.get(run.status, run.status) for run in study.runs)
    collapsed = sum(run.collapsed for run in study.runs)
    text = sentence([f"{counts[word]:,} {word}" for word in ("finished", *sorted(counts.keys() - {"finished"}))])
    if counts["finished"] == len(study.runs):
        text = "All finished"
    return text + (f"; {plural(collapsed, 'run')} collapsed." if collapsed else ".")


def best(study: Study) -> str:
    """The best run, the best combination, and from how many others it can be told apart."""
    i = int(study.best_first(study.scores)[0])
    run = study.runs[i]
    seed = f" (seed {run.config['seed']})" if "seed" in run.config and len(study.cells) < len(study.runs) else ""
    where = f", was reached with {study.describe(study.values[i])}{seed}" if study.settings and run.config else ""
    text = f"The best {study.score}, {number(study.scores[i])}{where}."
    if not where:
        text = f"The best {study.score} is {number(study.scores[i])}."
    if study.comparisons is None:
        return text
    top, others = study.repeated[0], len(study.repeated) - 1
    worse = int((study.comparisons[0, 1:] < LEVEL).sum())
    mean = "geometric mean" if study.logarithmic else "mean"
    interval = " to ".join(map(number, top.interval or ()))
    text += (
        f" Over seeds the best combination is {study.describe(top.values)} with a {mean} of {number(top.mean)} "
        f"(95% interval {interval}, {len(top.scores)} seeds); "
    )
    if worse == 0:
        return text + "with these seeds no other combination can be told apart from it."
    rest = f"{worse} of the {others} others beyond chance; {others - worse} cannot be told apart."
    if worse == others:
        rest = "the other one beyond chance." if others == 1 else f"each of the {others} others beyond chance."
    return f"{text}it is better than {rest}"


def too_few_seeds(study: Study) -> str:
    """Of how many combinations nothing is claimed."""
    few = sum(len(cell.scores) < SEEDS for cell in study.cells)
    if not few or len(study.cells) < 2:
        return ""
    if few == len(study.cells):
        return f"With fewer than {SEEDS} finished seeds of every combination no claim is made about which is better."
    which = f"{few:,} of {plural(len(study.cells), 'combination')} have fewer than {SEEDS} finished seeds"
    return f"{which}: nothing is claimed of them."


def robustness(study: Study, by: int | None) -> str:
    """How many combinations are good: the answer to "does it work only at those settings?"."""
    if len(study.cells) < 2:
        return ""
    overall = study.good(study.cells)
    if overall is None:
        return ""
    text = f"{overall[0]} of {plural(overall[1], 'combination')} come within a factor of {GOOD:g} of the best one"
    if by is None or len(study.settings) < 2:
        return text + "."
    parts = []
    for level in study.levels[by]:
        found = study.good([cell for cell in study.cells if set(cell.rows) & set(level.rows)])
        if found and found[1]:
            parts.append(f"{found[0]} of {found[1]} with {level.name}")
    return f"{text}: by {study.settings[by].name}, {sentence(parts)}."


def what_matters(study: Study) -> str:
    """Which settings explain the variance, and how much of it is the seed's."""
    text = ""
    if study.importance is not None and len(study.settings) > 1:
        names = [setting.name for setting in study.settings]
        alone = sentence([f"{names[j]} alone explains {spread(study.importance.share(j))}" for j in study.order[:2]])
        i, j = study.pairs[0]
        joint = f"the strongest interaction, of {names[i]} and {names[j]}, {spread(study.importance.share(i, j))}"
        text = f"Of the variance that settings explain, {alone}; {joint}."
    if study.explained is not None:
        text += f" Settings explain {study.explained:.0%} of the variance between single runs; the rest is the seed."
    return text.strip()


def spread(share: tuple[float, float, float]) -> str:
    """A share in words: the mean over the trees, and the range of 10 to 90% of them."""
    return "{:.0%} ({:.0%} to {:.0%})".format(*share)


# --------------------------------------------------------------------------------------------------------------- words


def number(value: float) -> str:
    """Four significant digits, but all digits of a large whole part; a dash for NaN."""
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def plural(count: int, word: str) -> str:
    """ "1 run", "2 runs"."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def sentence(parts: Sequence[str]) -> str:
    """ "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
