"""The notebooks: script and notebook are the same, and what they claim holds."""

import runpy
from pathlib import Path

import jupytext
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_and_its_script_are_the_same(script):
    pair = [jupytext.read(path) for path in (script, script.with_suffix(".ipynb"))]
    sources = [[(cell.cell_type, cell.source) for cell in notebook.cells] for notebook in pair]
    assert sources[0] == sources[1]


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_been_executed_from_top_to_bottom(script):
    cells = nbformat.read(script.with_suffix(".ipynb"), as_version=4).cells
    counts = [cell.execution_count for cell in cells if cell.cell_type == "code"]
    assert counts == [*range(1, len(counts) + 1)]


def test_the_plain_step_is_the_real_one():
    found = runpy.run_path(str(next(path for path in NOTEBOOKS if path.stem == "one_step")))
    assert found["difference"] < 1e-9 and len(found["recorder"].batches) >= 3
    fresh = found["build_model"](found["cfg"])
    moved = [(a - b).abs().max().item() for a, b in zip(found["plain"].parameters(), fresh.parameters(), strict=True)]
    assert max(moved) > 1e-3  # so that the comparison means something


def test_the_plain_step_fits_on_a_page():
    script = next(path for path in NOTEBOOKS if path.stem == "one_step").read_text()
    step = script[script.index("def one_step(") : script.index("    return d_loss")]
    assert len(step.splitlines()) < 40
