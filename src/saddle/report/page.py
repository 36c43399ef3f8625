"""The page of a report: one HTML file with everything in it. Free of torch."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from saddle.report import figures
from saddle.report.settings import Setting, label
from saddle.report.statistics import LEVEL, SEEDS
from saddle.report.study import GOOD, Cell, Study

THUMBNAIL = 104  # pixels of a sample grid that the table of runs shows
LISTED = 60  # combinations in the table on the page; the CSV has all

STYLE = """
:root { --ink:#222; --soft:#6b6b6b; --line:#e3e3e3; --accent:#0072b2 }
* { box-sizing:border-box }
html { scroll-behavior:smooth }
body { margin:0; color:var(--ink); background:#fff; line-height:1.55;
  font:16px/1.55 Charter,"Bitstream Charter","Source Serif 4",Georgia,"DejaVu Serif",serif }
nav { position:fixed; top:0; left:0; width:215px; height:100vh; overflow:auto; padding:34px 18px;
  border-right:1px solid var(--line); font:13.5px/1.4 system-ui,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif }
nav a { display:block; padding:4px 0; color:var(--soft); text-decoration:none }
nav a:hover { color:var(--accent) }
nav b { display:block; margin-bottom:10px }
main { max-width:1010px; margin:0 auto 120px; padding:26px 34px; }
@media (min-width:1100px) { main { margin-left:max(235px, calc(50vw - 400px)) } }
@media (max-width:1099px) { nav { position:static; width:auto; height:auto; border:0; columns:3; padding-bottom:0 } }
h1 { font-size:29px; line-height:1.2; margin:.3em 0 .2em; font-weight:600 }
h2 { font-size:21px; margin:2.4em 0 .5em; padding-top:.6em; border-top:1px solid var(--line); font-weight:600 }
p { margin:.5em 0; max-width:46em }
.path { color:var(--soft); font:13px ui-monospace,"DejaVu Sans Mono",monospace; overflow-wrap:anywhere }
.summary { font-size:18px; border-left:3px solid var(--accent); padding:2px 0 2px 18px; margin:1.2em 0 }
.note { color:#7a4a00; background:#fff8ea; padding:8px 14px; border-radius:4px }
figure { margin:1.2em 0 }
figure img { max-width:100%; height:auto; display:block }
figcaption, .how { color:var(--soft); font-size:14.5px; max-width:52em; margin-top:.5em }
.scroll { overflow-x:auto }
table { border-collapse:collapse; font:13px/1.35 system-ui,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;
  font-variant-numeric:tabular-nums; margin:.8em 0 }
th { text-align:left; border-bottom:1.5px solid #999; padding:5px 8px; vertical-align:bottom; font-weight:600 }
td { border-bottom:1px solid var(--line); padding:5px 8px; vertical-align:middle }
td.n, th.n { text-align:right; white-space:nowrap }
td.name { overflow-wrap:anywhere; min-width:130px; color:var(--soft); font-size:12px }
td img { width:64px; display:block; image-rendering:pixelated }
table.sortable th { cursor:pointer; position:sticky; top:0; background:#fff; white-space:nowrap }
table.sortable th[aria-sort=ascending]::after { content:" \\25B4" }
table.sortable th[aria-sort=descending]::after { content:" \\25BE" }
.bad { color:#b04a00 }
code { font:13.5px ui-monospace,"DejaVu Sans Mono",monospace }
@media print { nav { display:none } main { margin:0; max-width:none } }
"""

SORT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, i) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[i].dataset.v ?? row.cells[i].textContent;
    const order = (a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const both = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
      return (both ? x - y : x.localeCompare(y, "en", {numeric: true})) * (up ? 1 : -1);
    };
    body.append(...[...body.rows].sort(order));
  }));
}
"""


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


# ------------------------------------------------------------------------------------------------------------- summary


def summary(study: Study, by: int | None = None) -> str:
    """What the sweep says, in a paragraph of plain words; every number is computed from the runs.

    Args:
        study: the sweep.
        by: the setting by whose levels good combinations are counted; None for none.
    """
    said = [what_was_run(study), how_runs_ended(study)]
    if not np.isfinite(study.scores).any():
        return " ".join(
            [*said, f"No finished run has the score {study.score} yet, so nothing is said about the settings."]
        )
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
    counts: dict[str, int] = {}
    for run in study.runs:
        word = "diverged" if run.diverged else {"done": "finished"}.get(run.status, run.status)
        counts[word] = counts.get(word, 0) + 1
    collapsed = sum(run.collapsed for run in study.runs)
    if counts == {"finished": len(study.runs)}:
        text = "All finished"
    else:
        order = ["finished", *sorted(set(counts) - {"finished"})]
        text = sentence([f"{counts.get(word, 0):,} {word}" for word in order])
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
    top = study.cells[study.repeated[0]]
    worse = int((study.comparisons[0, 1:] < LEVEL).sum())
    others = len(study.repeated) - 1
    interval = study.interval(top)
    assert interval is not None
    mean = "geometric mean" if study.logarithmic else "mean"
    text += (
        f" Over seeds the best combination is {study.describe(top.values)} with a {mean} of "
        f"{number(study.mean(top.scores))} "
        f"(95% interval {number(interval[0])} to {number(interval[1])}, {len(top.scores)} seeds); "
    )
    if worse == others:
        return (
            text
            + f"it is better than {'the other one' if others == 1 else f'each of the {others} others'} beyond chance."
        )
    if worse == 0:
        return text + "with these seeds no other combination can be told apart from it."
    return (
        text + f"it is better than {worse} of the {others} others beyond chance; {others - worse} cannot be told apart."
    )


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
        first = study.order[: min(2, len(study.order))]
        named = sentence(
            [f"{study.settings[j].name} alone explains {spread(study.importance.single[:, j])}" for j in first]
        )
        pair = figures.ranked_pairs(study)[0]
        joint = spread(study.importance.pair[:, pair[0], pair[1]])
        names = f"{study.settings[pair[0]].name} and {study.settings[pair[1]].name}"
        text = f"Of the variance that settings explain, {named}; the strongest interaction, of {names}, {joint}."
    if study.explained is not None:
        text += f" Settings explain {study.explained:.0%} of the variance between single runs; the rest is the seed."
    return text.strip()


def spread(shares: np.ndarray) -> str:
    """A share in words: the mean over the trees, and the range of 10 to 90% of them."""
    low, high = np.quantile(shares, [0.1, 0.9])
    return f"{shares.mean():.0%} ({low:.0%} to {high:.0%})"


# -------------------------------------------------------------------------------------------------------------- tables


def class_of(css: str) -> str:
    """The attribute of a CSS class; nothing for none."""
    return f' class="{css}"' if css else ""


def cell_html(value: Any, numeric: bool = False, css: str = "") -> str:
    """A table cell; a float is shown short and sorted exactly."""
    if isinstance(value, float):
        sort = "" if math.isnan(value) else repr(value)
        return f'<td class="n" data-v="{sort}">{number(value)}</td>'
    css = css or ("n" if numeric else "")
    return f"<td{class_of(css)}>{escape(str(value))}</td>"


def table_html(head: Iterable[tuple[str, bool]], rows: Iterable[str], sortable: bool = False) -> str:
    """A table; of each column the name, and whether it holds numbers."""
    cells = "".join(f"<th{class_of('n' if numeric else '')}>{escape(name)}</th>" for name, numeric in head)
    css = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll"><table{css}><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def varied_table(study: Study) -> str:
    """The settings, their values, and what follows them."""
    rows = []
    for setting in study.settings:
        values = f"{label(setting.values[0])} to {label(setting.values[-1])} ({len(setting.values)} values)"
        if not setting.searched:
            values = ", ".join(map(label, setting.values))
        followers = [key.removeprefix("choices.") for key in setting.follows]
        more = f" and {len(followers) - 5} more" if len(followers) > 6 else ""
        listed = ", ".join(followers[: 5 if more else 6]) + more
        rows.append(
            f"<tr><td><code>{escape(setting.name)}</code></td>{cell_html(values)}{cell_html(listed, css='name')}</tr>"
        )
    return table_html([("setting", False), ("values", False), ("follow it", False)], rows)


def settings_table(study: Study) -> str:
    """The combinations by mean score, with intervals where there are enough seeds."""
    head = [(setting.name, setting.numeric) for setting in study.settings]
    head += [("seeds", True), ("mean", True), ("95% interval", True), ("best", True), ("worst", True), ("p", True)]
    head += [("diverged", True), ("collapsed", True), ("failed", True)]
    rows = []
    for n, cell in enumerate(study.cells[:LISTED]):
        counts = figures.failure_counts(study, cell.rows)
        interval = study.interval(cell)
        text = f"{number(interval[0])} to {number(interval[1])}" if interval else "too few seeds"
        cells = [cell_html(label(v), s.numeric) for s, v in zip(study.settings, cell.values, strict=True)]
        cells += [cell_html(len(cell.scores), True), cell_html(study.mean(cell.scores)), cell_html(text, True)]
        cells += [cell_html(each) for each in extremes(study, cell)]
        cells.append(cell_html(p_value(study, n)))
        cells += [cell_html(counts[word] or "", True, "n bad") for word in ("diverged", "collapsed", "failed")]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return table_html(head, rows, sortable=True)


def extremes(study: Study, cell: Cell) -> tuple[float, float]:
    """The best and the worst score of a combination; NaN without scores."""
    if not len(cell.scores):
        return math.nan, math.nan
    low, high = float(cell.scores.min()), float(cell.scores.max())
    return (high, low) if study.higher else (low, high)


def p_value(study: Study, cell: int) -> float:
    """The corrected p value of a cell against the best one with enough seeds; NaN where no claim is made."""
    if study.comparisons is None or cell not in study.repeated[1:]:
        return math.nan
    return float(study.comparisons[0, study.repeated.index(cell)])


def runs_table(study: Study) -> str:
    """Every run, best first, with its status, score and samples."""
    head = [("samples", False), *((s.name, s.numeric) for s in study.settings), ("seed", True)]
    head += [(study.score, True), ("status", False), ("iterations", True), ("minutes", True), ("run", False)]
    rows = []
    for i in study.best_first(study.newest):
        run = study.runs[i]
        cells = [f"<td>{thumbnail(run)}</td>"]
        values = study.values[i] if run.config else ["?"] * len(study.settings)
        cells += [value_html(setting, value) for setting, value in zip(study.settings, values, strict=True)]
        seconds, iterations = run.results.get("seconds"), run.results.get("iterations")
        cells += [cell_html(label(run.config.get("seed", "")), True), cell_html(float(study.newest[i]))]
        cells += [status_html(run), cell_html("" if iterations is None else iterations, True)]
        minutes = f"{seconds / 60:.1f}" if isinstance(seconds, int | float) else ""
        cells += [cell_html(minutes, True), cell_html(run.name, css="name")]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return table_html(head, rows, sortable=True)


def value_html(setting: Setting, value: Any) -> str:
    """The value of a setting in a table, sorted exactly."""
    sort = f' data-v="{value!r}"' if setting.numeric and not isinstance(value, str) else ""
    return f"<td{class_of('n' if setting.numeric else '')}{sort}>{escape(label(value))}</td>"


def status_html(run: Any) -> str:
    """How a run ended, with its error as a tooltip."""
    words = [run.status, *(["diverged"] if run.diverged and run.status != "nonfinite" else [])]
    words += ["collapsed"] if run.collapsed else []
    error = f' title="{escape(str(run.results.get("error")), quote=True)}"' if run.results.get("error") else ""
    return f"<td{class_of('' if words == ['done'] else 'bad')}{error}>{', '.join(words)}</td>"


def thumbnail(run: Any) -> str:
    """The upper left of the last sample grid, as an image inside the page."""
    image = figures.crop(run, THUMBNAIL)
    if image is None:
        return ""
    image.thumbnail((2 * THUMBNAIL, 2 * THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f'<img alt="samples" loading="lazy" src="{embed(buffer.getvalue(), "jpeg")}">'


def embed(data: bytes, kind: str) -> str:
    """An image as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


# ---------------------------------------------------------------------------------------------------------------- page


def picture(path: Path | None, caption: str, absent: str = "") -> str:
    """A figure with its caption; where there is none, why."""
    if path is None:
        return f'<p class="note">{absent}</p>' if absent else ""
    image = f'<img alt="{escape(path.stem.replace("_", " "))}" src="{embed(path.read_bytes(), "png")}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def page(title: str, folder: str, text: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """The whole page.

    Args:
        title: of the page.
        folder: of the sweep.
        text: the summary.
        sections: of each its anchor, heading and HTML.
    """
    links = "".join(f'<a href="#{anchor}">{escape(heading)}</a>' for anchor, heading, _ in sections)
    parts = "".join(
        f'<section id="{anchor}"><h2>{escape(heading)}</h2>{body}</section>' for anchor, heading, body in sections
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><nav><b>Sensitivity report</b>{links}</nav><main><h1>{escape(title)}</h1><p "
        f'class="path">{escape(folder)}</p>'
        f'<p class="summary">{escape(text)}</p>{parts}</main><script>{SORT}</script></body></html>\n'
    )
