"""The notebooks: script and notebook are the same, and what they claim holds."""

import runpy
from pathlib import Path
from typing import Any

import jupytext
import matplotlib as mpl
import nbformat
import pytest
from sweeps import config_of, write_grid, write_run

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


def test_notebooks_show_what_they_say_in_few_bytes():
    for script in NOTEBOOKS:
        file = script.with_suffix(".ipynb")
        cells = nbformat.read(file, as_version=4).cells
        assert any(cell.get("outputs") for cell in cells) and file.stat().st_size < 300_000
    notebook = nbformat.read(NOTEBOOKS[0].with_name("look_at_a_run.ipynb"), as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3  # losses, scores, samples
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)


def look_at(folder: Path, metrics: str | None, monkeypatch, loss: str = "hinge", **results: Any) -> dict[str, Any]:
    """What the notebook computes of a run with this metrics.csv."""
    config = config_of({"loss": loss}, 0) | {"log_every": 50}
    config["choices"]["data"] = "digits"
    write_run(folder, config, None, **results)
    (folder / "metrics.csv").write_text(metrics) if metrics is not None else (folder / "metrics.csv").unlink()
    monkeypatch.setenv("SADDLE_RUN", str(folder))
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    mpl.use("Agg")
    return runpy.run_path(str(NOTEBOOKS[0].with_name("look_at_a_run.py")))


@pytest.mark.parametrize(
    ("metrics", "status"),
    [
        (None, "failed"),  # before it trained
        (None, None),
        ("", "failed"),
        ("iteration,eval/frechet\n20,81.5\n", "done"),  # shorter than log_every
        ("iteration,train/d_loss,train/g_loss,eval/fid\n50,1.2,0.8,\n50,1.", None),  # cut short in its second row
        ("iteration,train/encoder_loss\n50,1.2\n", "interrupted"),
    ],
)
def test_the_notebook_opens_any_run(tmp_path, monkeypatch, capsys, metrics, status):
    found = look_at(tmp_path / "run", metrics, monkeypatch, status=status)
    out = capsys.readouterr().out
    assert found["results"]["status"] == (status or "unfinished") and "has drawn no samples" in out
    assert ("no losses yet" in out) is ("d_loss" not in (metrics or ""))


def test_the_notebook_shows_losses_below_zero(tmp_path, monkeypatch):
    rows = "iteration,train/d_loss,train/g_loss\n10,-3.5,0.5\n20,-40,2\n"
    found = look_at(tmp_path / "run", rows, monkeypatch, loss="wasserstein")
    assert found["left"].get_ylim()[0] < -40
    write_grid(tmp_path / "run", 100)
    assert len(runpy.run_path(str(NOTEBOOKS[0].with_name("look_at_a_run.py")))["chosen"]) == 1


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
