"""The page of a report: page.html, filled in, in one file with everything in it. Free of torch."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from saddle.report.figures.effects import PAIRS, SHOWN
from saddle.report.figures.runs import CURVES, crop
from saddle.report.importance import ENOUGH
from saddle.report.reading import Run, plain
from saddle.report.settings import MANY, label
from saddle.report.statistics import LEVEL, SEEDS, SHARING
from saddle.report.study import Study
from saddle.report.summary import number, plural, summary

THUMBNAIL = 104  # pixels of a sample grid that the table of runs shows
LISTED = 60  # combinations in the table on the page; the CSV has all
LIMITS = {
    "CURVES": CURVES, "ENOUGH": ENOUGH, "LEVEL": LEVEL, "LISTED": LISTED, "MANY": MANY, "PAIRS": PAIRS,
    "SEEDS": SEEDS, "SHARING": SHARING, "SHOWN": SHOWN,
}  # fmt: skip


def page(study: Study, folder: str, by: int | None, fixed: Mapping[int, str], drawn: Mapping[str, Path | None]) -> str:
    """The whole page, as HTML.

    Args:
        folder: of the sweep.
        by: the setting that colours show, or None.
        fixed: the levels at which the sample grids hold the other settings.
        drawn: the figures by name; None for those that have nothing to show.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals |= {**LIMITS, "zip": zip}
    environment.filters |= {"label": label, "number": number, "plural": plural, "thumbnail": thumbnail}
    return environment.get_template("page.html").render(
        study=study,
        folder=plain(folder),
        by=by,
        title=f"{study.score} over {plural(len(study.cells), 'combination')} of settings",
        summary=summary(study, by),
        held=", ".join(f"{study.settings[k].name}={name}" for k, name in fixed.items()),
        scored=sum(len(cell.scores) > 0 for cell in study.cells),
        images={name: path and embed(path.read_bytes(), "png") for name, path in drawn.items()},
    )


def thumbnail(run: Run) -> str:
    """The upper left of the last sample grid, as the address of an image; empty where there is none."""
    image = crop(run, THUMBNAIL)
    if image is None:
        return ""
    image.thumbnail((2 * THUMBNAIL, 2 * THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return embed(buffer.getvalue(), "jpeg")


def embed(data: bytes, kind: str) -> str:
    """An image as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
