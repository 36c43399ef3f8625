"""The report as a whole: its page, figures and tables, on small, large and broken sweeps."""

import csv
import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from sweeps import config_of, write_grid, write_grid_sweep, write_jobs, write_run

from saddle.errors import InputError
from saddle.report.build import build_report
from saddle.report.figures.coordinates import parallel
from saddle.report.figures.runs import sample_runs, training_curves
from saddle.report.reading import read_sweep
from saddle.report.study import Study
from saddle.report.tables import TABLES

ROOT = Path(__file__).parents[2]
FIGURES = {
    "scores",
    "main_effects",
    "interactions",
    "importance",
    "failures",
    "budget",
    "parallel",
    "curves",
    "samples",
}
CSV = {"runs", "settings", "levels", "interactions", "importance", "budget"}


def report(sweep: Path, **options: Any) -> Path:
    """The report with the defaults of conf/report.yaml and small resamples."""
    defaults = OmegaConf.load(ROOT / "conf" / "report.yaml")
    return build_report(OmegaConf.merge(defaults, {"sweep": str(sweep), "resamples": 100, "trees": 8, **options}))


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def summary(page: Path) -> str:
    found = re.search(r'class="summary">(.*?)</p>', page.read_text())
    assert found
    return found[1]


class Sources(HTMLParser):
    """Everything that a page would load or link to, and whether its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def scorer(values: Mapping[str, Any], seed: int) -> float:
    """Worse at a high learning rate, much more so without WGAN-GP; seeds differ by a few per cent."""
    rate = 1 if values["model.g_lr"] == 1e-4 else 8 if values["model"] == "dcgan" else 1.8
    return 30.0 * rate * (1 + 0.03 * (seed - 1))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, two learning rates, three seeds; one run each diverged, failed, unfinished, without config."""
    folder = tmp_path_factory.mktemp("sweep")
    write_grid_sweep(folder, {"model": ["dcgan", "wgan_gp"], "model.g_lr": [1e-4, 1e-3]}, scorer, seeds=3, grids=True)
    for name, status in (("20_diverged", "nonfinite"), ("21_failed", "failed"), ("22_unfinished", None)):
        write_run(folder / name, config_of({"model": "dcgan", "model.g_lr": 1e-3}, 3), None, status, error="a < b")
    (folder / "23_lost").mkdir()
    (folder / "23_lost" / "results.json").write_text(json.dumps({"status": "failed", "error": "killed by SIGKILL"}))
    report(folder)
    return folder


def test_a_page_holds_everything_itself(sweep: Path) -> None:
    page = (sweep / "report" / "report.html").read_text()
    sources = Sources()
    sources.feed(page)
    assert not sources.open and len(sources.found) > len(FIGURES) + 12
    assert all(each.startswith(("data:image/", "#")) for each in sources.found)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page) and "@import" not in page
    for anchor in (each[1:] for each in sources.found if each.startswith("#")):
        assert f'id="{anchor}"' in page


def test_figures_and_tables_are_beside_it(sweep: Path) -> None:
    names = {path.name for path in (sweep / "report").iterdir()}
    assert names == {"report.html"} | {f"{name}.png" for name in FIGURES} | {f"{name}.csv" for name in CSV}
    rows = table(sweep / "report" / "settings.csv")
    means = [[float(r["mean"]) for r in rows if (r["model"], r["model.g_lr"]) == key][0]
             for key in (("dcgan", "0.0001"), ("wgan_gp", "0.001"), ("dcgan", "0.001"))]  # fmt: skip
    geometric = np.exp(np.mean(np.log([0.97, 1, 1.03])))
    assert means == pytest.approx(30 * geometric * np.array([1, 1.8, 8]))
    failed = {row["run"]: row["status"] for row in table(sweep / "report" / "runs.csv")}
    assert len(failed) == 16 and failed["23_lost"] == "failed" and failed["22_unfinished"] == "unfinished"


def test_what_another_has_made_is_not_replaced(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    (tmp_path / "runs.csv").write_text("mine")
    wrong = {"mine.html": "mine.html is there", "new.html": "runs.csv is there", "runs.csv/a.html": "no folder"}
    for name, says in wrong.items():
        with pytest.raises(InputError, match=says):
            report(sweep, out=str(tmp_path / name))
    (tmp_path / "runs.csv").unlink()
    for _ in range(2):
        report(sweep, out=str(tmp_path / "new.html"))
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".csv"} == {*TABLES}
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"


def test_failures_are_counted_by_level(sweep: Path) -> None:
    levels = {(row["setting"], row["level"]): row for row in table(sweep / "report" / "levels.csv")}
    row = levels["model", "dcgan"]
    assert (row["runs"], row["over"], row["diverged"], row["failed"]) == ("9", "8", "1", "1")
    assert float(row["bad_share"]) == 0.25 and levels["model", "wgan_gp"]["diverged"] == "0"


def test_the_summary_says_what_is_in_the_data(sweep: Path) -> None:
    text = summary(sweep / "report" / "report.html")
    assert "16 runs varied model and model.g_lr: 4 combinations" in text
    assert "12 finished, 1 diverged, 2 failed and 1 unfinished" in text
    assert "The best eval/frechet, 29.1, was reached with" in text and "model.g_lr=0.0001 (seed 0)" in text
    assert "3 of 4 combinations come within a factor of 2" in text
    assert "1 of 2 with dcgan and 2 of 2 with wgan_gp" in text
    assert "better than 2 of the 3 others beyond chance; 1 cannot be told apart" in text


def test_errors_are_shown_and_escaped(sweep: Path) -> None:
    page = (sweep / "report" / "report.html").read_text()
    assert 'title="a &lt; b"' in page and 'title="killed by SIGKILL"' in page


def test_two_runs_of_one_seed_make_no_claim(tmp_path: Path) -> None:
    write_grid_sweep(tmp_path, {"model.g_lr": [1e-4, 1e-3]}, lambda v, s: 10.0 if v["model.g_lr"] < 5e-4 else 900.0, 1)
    page = report(tmp_path)
    assert "With fewer than 3 finished seeds of every combination no claim is made" in summary(page)
    assert "beyond chance" not in page.read_text()
    assert table(page.parent / "importance.csv") == []
    assert all(row["low"] == "" for row in table(page.parent / "levels.csv"))


def test_a_sweep_over_seeds_alone(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / str(seed), config_of({}, seed), 30.0 + seed)
    page = report(tmp_path)
    assert "3 runs of the same settings. All finished." in summary(page)
    assert "Nothing but the seed" in page.read_text()


def test_no_scores_yet(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / str(seed), config_of({"model.width": 16 * (seed + 1)}, 0), None, status=None)
        (tmp_path / str(seed) / "metrics.csv").unlink()
    page = report(tmp_path)
    assert "No finished run has the score eval/frechet yet" in summary(page)
    assert not (page.parent / "scores.png").exists()


def test_more_is_better_for_an_inception_score(tmp_path: Path) -> None:
    for n, width in enumerate((16, 32, 64)):
        for seed in range(3):
            config = config_of({"model.width": width}, seed)
            write_run(tmp_path / f"{n}_{seed}", config, None, **{"eval/inception_score": 5.0 + n + 0.01 * seed})
    page = report(tmp_path, score="eval/inception_score")
    assert "The best eval/inception_score, 7.02, was reached with model.width=64" in summary(page)
    assert "it is better than each of the 2 others beyond chance" in summary(page)
    rows = [row for row in table(page.parent / "budget.csv") if row["group"] == "all runs"]
    best = [float(row["expected_best"]) for row in rows]
    assert best == sorted(best) and best[-1] == pytest.approx(7.02)


def test_a_slice_of_the_samples_is_chosen(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "other" / "page.html"
    report(sweep, out=str(out), where=["model:dcgan"], by="model.g_lr")
    assert (out.parent / "samples.png").is_file() and "All are of runs with model=dcgan." in out.read_text()
    groups = {row["group"] for row in table(out.parent / "budget.csv")}
    assert groups == {"all runs", "model.g_lr=0.0001", "model.g_lr=0.001"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "model.glr"}, "by=model.glr: no such setting was varied; did you mean model.g_lr"),
        ({"rows": "model", "columns": "model"}, "are the same setting"),
        ({"where": ["model.g_lr"]}, "write key:value"),
        ({"where": ["model:wgan_pg"]}, "no run has it; did you mean wgan_gp? (model: dcgan, wgan_gp)"),
        ({"where": ["model:dcgan"], "rows": "model"}, "where= holds it at one value"),
        ({"out": "report"}, "must be a file that ends in .html"),
    ],
)
def test_wrong_options_are_refused_in_one_line(sweep: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as error:
        report(sweep, **options)
    assert "\n" not in str(error.value)


def test_the_same_folder_gives_the_same_page(sweep: Path, tmp_path: Path) -> None:
    assert report(sweep, out=str(tmp_path / "again.html")).read_bytes() == (sweep / "report/report.html").read_bytes()


def test_the_command_needs_no_torch_and_names_what_is_wrong(tmp_path: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['report.py', *sys.argv[2:]]\n"
        f"sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "try: runpy.run_path(sys.path[0] + '/report.py', run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, "", f"sweep={tmp_path}/none"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stdout.strip() == "False"
    assert done.stderr.strip() == f"error: sweep={tmp_path}/none: there is no such file or folder"


# ------------------------------------------------------------------------------------------ a folder of somebody else's

SCRIPT = "<script>evil()</script>"
TEXTS = [
    SCRIPT,
    '" onmouseover="evil()',
    "{{ 7 * 7 }}",
    "$\\frac$",
    "\\ud800",
    "=evil()",
    "\\u202e",
    "'-->",
    "x" * 5000,
]
BOMB = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in ((b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)), (b"IDAT", b""))
)


class Elements(HTMLParser):
    """The names of a page's elements and attributes, and the texts inside its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {tag, *(name for name, _ in attrs)}
        self.scripts += [""] * (tag == "script")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose every text would be code somewhere, with files that are no such files."""
    folder = tmp_path_factory.mktemp("hostile")
    jobs = {}
    for n, text in enumerate(TEXTS):
        config = config_of({"model.width": 16 + n % 2}, n % 2)
        config |= {f"{SCRIPT}key": text, "loss": {"_target_": SCRIPT if n % 2 else text}}
        name = os.fsdecode(f"{n}_<img src=x onerror=evil()>".encode() + b"\xff")
        text_of = {"status": "done" if n % 2 else json.loads(f'"{text}"') if n > 3 else text, "error": text}
        write_run(folder / name, {}, 10.0 + n, **{**text_of, "iterations": text, "seconds": text, f"eval/{text}": 1.0})
        (folder / name / "config.yaml").write_text(json.dumps(config).replace("\\\\ud800", "\\ud800"))
        write_grid(folder / name, 50)
        jobs[name] = [f"{SCRIPT}key={text}"]
    write_jobs(folder, jobs)
    runs = sorted(folder.glob("*_<*"))
    broken = {
        "config.yaml": ["[" * 5000, "- a list", "a: !!set {b}", "when: 2020-01-01", "seed: .nan",
                        "data: {resolution: -5}", "big: " + "9" * 400, "data: 3", "a: !!binary x"],
        "results.json": ["[" * 100_000, '{"status": ["a"]}', '{"eval/frechet": 1e999}', '{"seconds": true}',
                         '{"eval/frechet": ' + "9" * 400 + "}", '{"eval/frechet": -1e308, "status": "done"}', "[]",
                         "\0"],
        "metrics.csv": ["iteration,train/d_loss\n\u00b2,1\n", "iteration,train/d_loss\n" + "9" * 30 + ",1\n",
                        '"' * 200_000, "iteration,train/d_loss\n1,1e308\n2,-1e308\n", "\n\n",
                        "iteration,eval/frechet\n1,\0\n"],
    }  # fmt: skip
    for name, contents in broken.items():
        for n, content in enumerate(contents):
            write_run(folder / f"{name}_{n}", config_of({"model.width": 16 + n % 2}, n), 5.0)
            (folder / f"{name}_{n}" / name).write_text(content)
    grids = [run / "samples" / "00001000.png" for run in runs]
    for grid, content in zip(grids[1:], [b"%!PS-Adobe-3.0 EPSF-3.0", b"", BOMB], strict=False):
        grid.write_bytes(content)
    grids[0].unlink()
    os.mkfifo(grids[0])
    return folder


@pytest.mark.filterwarnings("ignore:Glyph")
def test_nothing_that_a_run_says_is_more_than_text(hostile: Path, sweep: Path) -> None:
    found, known = Elements(), Elements()
    found.feed(report(hostile).read_text())
    known.feed((sweep / "report" / "report.html").read_text())
    assert found.names <= known.names and found.scripts == known.scripts
    page = (hostile / "report" / "report.html").read_text()
    assert page.count("<script>") == 1 and "&lt;script&gt;" in page and "{{ 7 * 7 }}" in page
    assert page.count(">unreadable<") == 4  # a pipe, an empty file, a bomb, and what Pillow has ghostscript for


def test_no_cell_of_a_table_is_a_formula(hostile: Path) -> None:
    tables = [path for path in (hostile / "report").glob("*.csv")]
    cells = [cell for path in tables for row in csv.reader(path.open(newline="")) for cell in row]
    assert "'=evil()" in cells and not [cell for cell in cells if cell[:1] in "=@" and cell]
    assert [float(cell) for cell in cells if cell[:1] in "+-" and cell]  # numbers stay numbers


# ----------------------------------------------------------------------------------------------- what it says is so


def test_empty_sections_are_left_out_with_their_entries(tmp_path: Path) -> None:
    write_grid_sweep(tmp_path, {"model.g_lr": [1e-4, 1e-3]}, lambda v, s: 10.0 + s, 1)
    page = report(tmp_path).read_text()
    absent = {"interactions", "importance", "failures", "samples"}
    shown = {"varied", "scores", "effects", "budget", "parallel", "curves", "runs"}
    for word in absent | shown:
        assert (f'href="#{word}"' in page) is (f'id="{word}"' in page) is (word in shown), word
    assert "its line is the median" not in page  # no box is drawn


def test_of_two_seeds_the_better_is_never_called_the_median(tmp_path: Path) -> None:
    for seeds, expected in ((2, 11.0), (3, 11.0), (4, 12.0)):
        folder = tmp_path / str(seeds)
        write_grid_sweep(folder, {"loss": ["hinge", "wasserstein"]}, lambda v, s: 10.0 + s, seeds, grids=True)
        study = Study(read_sweep(folder, "eval/frechet"), "eval/frechet")
        ((first, second),) = sample_runs(study, None, 0, {})
        assert first is not None and second is not None
        assert first.score("eval/frechet") == second.score("eval/frechet") == expected


@pytest.mark.parametrize("score", ["eval/frechet", "eval/inception_score"])
def test_the_best_is_on_top_of_the_parallel_coordinates(tmp_path: Path, score: str) -> None:
    for n, value in enumerate((3.0, 1.0, 2.0)):
        write_run(tmp_path / str(n), config_of({"model.width": 16 * (n + 1)}, 0), None, **{score: value})
    study = Study(read_sweep(tmp_path, score), score)
    figure = parallel(study)
    assert figure is not None
    (axes,) = figure.axes
    segments = axes.collections[0].get_segments()  # type: ignore[attr-defined]
    ends = sorted(segment[-1, 1] for segment in segments)
    assert ends == pytest.approx([0, 0.5, 1]) and segments[-1][-1, 1] == 1  # the best is drawn last
    numbers = {text.get_text(): text.xy[1] for text in axes.texts if text.xy[0] == 1}  # type: ignore[attr-defined]
    best = "1" if score == "eval/frechet" else "3"
    assert numbers[best] == 1


def test_curves_show_every_run_that_logged_anything(tmp_path: Path) -> None:
    """One row, as of a short run, is a point; a critic that nothing holds hides no other loss."""
    for n, loss in enumerate(("hinge", "wasserstein")):
        write_run(tmp_path / loss, config_of({"loss": loss}, 0), 1.0 + n)
    (tmp_path / "hinge" / "metrics.csv").write_text("iteration,train/d_loss,train/g_loss\n50,1.5,0.9\n")
    rows = "".join(f"{50 * i},{-(3.0**i)},{2 * i}\n" for i in range(1, 9))
    (tmp_path / "wasserstein" / "metrics.csv").write_text("iteration,train/d_loss,train/g_loss\n" + rows)
    figure = training_curves(Study(read_sweep(tmp_path, "eval/frechet"), "eval/frechet"), None)
    assert figure is not None
    d_loss, g_loss = figure.axes
    assert (d_loss.get_yscale(), g_loss.get_yscale()) == ("symlog", "linear")
    for axes in (d_loss, g_loss):
        assert [len(line.get_xdata()) for line in axes.lines] == [1, 8] and axes.lines[0].get_marker() == "o"
        low, high = axes.get_ylim()
        assert all(low < y < high for line in axes.lines for y in line.get_ydata())  # also the ends of a curve


@pytest.mark.slow
def test_two_thousand_runs_take_less_than_thirty_seconds(tmp_path: Path) -> None:
    """Of this process's own time, so that a busy machine does not count."""
    rng = np.random.default_rng(0)
    for n in range(2000):
        values = {
            "model": str(rng.choice(["dcgan", "wgan_gp"])),
            "loss": str(rng.choice(["hinge", "wasserstein", "nonsaturating"])),
            "model.g_lr": float(10 ** rng.uniform(-5, -2)),
            "model.beta1": float(rng.choice([0.0, 0.5, 0.9])),
            "model.width": int(rng.choice([16, 32, 64])),
            "model.d_steps": int(rng.choice([1, 2, 5])),
            "model.ema": float(rng.uniform(0.9, 0.9999)),
            "data.batch_size": int(rng.choice([32, 64, 128])),
        }
        score = 20 * np.exp(abs(np.log10(values["model.g_lr"] / 2e-4)) + 0.1 * rng.normal())
        write_run(
            tmp_path / f"{n}_x", config_of(values, n), float(score), "done" if rng.random() > 0.05 else "nonfinite"
        )
        write_grid(tmp_path / f"{n}_x", int(40 + n % 200))
    start = time.process_time()
    page = report(tmp_path, resamples=1000, trees=64)
    assert time.process_time() - start < 30
    assert "2,000 runs varied model, loss, data.batch_size" in summary(page)
    shares = {row["setting"]: float(row["share"]) for row in table(page.parent / "importance.csv") if not row["with"]}
    assert shares["model.g_lr"] > 0.8 and len(shares) == 8


def test_a_combination_that_a_search_ended_early_is_not_good(tmp_path: Path) -> None:
    for i, (rate, score, status) in enumerate([(1e-4, 10.0, "done"), (1e-3, 12.0, "done"), (1e-2, 900.0, "pruned")]):
        write_run(tmp_path / str(i), config_of({"model.g_lr": rate}, 0), score, status=status)
    text = summary(report(tmp_path))
    assert "2 finished and 1 pruned" in text and "2 of 3 combinations come within a factor of 2" in text
