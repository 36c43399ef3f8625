"""benchmarks/sensitivity.py on a sweep of made-up runs, beside a copy of the page."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
from sweeps import write_grid_sweep

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script, writing below a temporary folder."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("sensitivity", ROOT / "benchmarks" / "sensitivity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copy(ROOT / "docs" / "sensitivity.md", tmp_path / "sensitivity.md")
    for name, path in (("DOC", "sensitivity.md"), ("IMAGES", "images"), ("RESULTS", "results")):
        monkeypatch.setattr(module, name, tmp_path / path)
    yield module
    sys.modules.pop("runs", None)


def test_a_study_is_put_between_its_marks_and_no_other(script, tmp_path, monkeypatch) -> None:
    axes = {"model.g_lr": [1e-4, 1e-3], "model.beta1": [0.5, 0.9], "loss": ["hinge"]}
    write_grid_sweep(tmp_path / "sweep", axes, lambda v, s: 20 + 4e3 * v["model.g_lr"] + s, grids=True)
    monkeypatch.setitem(script.OPTIONS, "lr_beta", ["by=model.g_lr"])
    script.keep_study("lr_beta", tmp_path / "sweep")
    page, before = (tmp_path / "sensitivity.md").read_text(), (ROOT / "docs" / "sensitivity.md").read_text()
    begin, end = "<!-- lr_beta: begin -->", "<!-- lr_beta: end -->"
    assert page.split(begin)[0] == before.split(begin)[0] and page.split(end)[1] == before.split(end)[1]
    part = page.split(begin)[1].split(end)[0]
    assert "> 12 runs varied" in part and "72 runs" not in part
    assert "| `model.g_lr` | `model.beta1` | seeds | mean | 95% interval |" in part
    assert "| 0.0001 | 0.5 | 3 | 21.4 | 18.92 to 23.88 |" in part  # 20.4, 21.4, 22.4: 21.4 -+ 4.3027 / sqrt(3)
    assert part.count("\n| ") == 1 + 4
    for name in ("interactions", "main_effects", "samples"):
        assert f"(images/sensitivity/lr_beta/{name}.png)" in part
        assert (tmp_path / "images" / "sensitivity" / "lr_beta" / f"{name}.png").is_file()
    assert (tmp_path / "results" / "sensitivity" / "lr_beta" / "settings.csv").is_file()
    script.keep_study("lr_beta", tmp_path / "sweep")
    assert (tmp_path / "sensitivity.md").read_text() == page
