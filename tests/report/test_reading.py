"""Run folders in every state are read, and what is broken is left out."""

import json
import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from sweeps import config_of, write_grid, write_grid_sweep, write_jobs, write_run

from saddle.errors import InputError
from saddle.report.reading import natural, read_run, read_sweep, read_yaml

ROOT = Path(__file__).parents[2]


def test_a_config_is_read_as_omegaconf_reads_it(tmp_path: Path) -> None:
    config = config_of({}, 3) | {"small": 1e-5, "text": "a: b\nc # d", "none": None, "flags": [True, {"a": 1}]}
    config |= {"empty": {}, "number": "12", "list": [], "scientific": 1e38}
    path = tmp_path / "config.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    assert read_yaml(path) == OmegaConf.to_container(OmegaConf.load(path))
    path.write_text("lr: 1e-4\nname: 1e\n")
    assert read_yaml(path) == {"lr": 1e-4, "name": "1e"}


def test_runs_that_are_unfinished_broken_or_failed(tmp_path: Path) -> None:
    config = config_of({}, 0)
    write_run(tmp_path / "0_done", config, 20.0)
    write_grid(tmp_path / "0_done", 100)
    write_run(tmp_path / "1_running", config, 30.0, status=None)
    write_run(tmp_path / "2_diverged", config, 10.0, status="nonfinite", diverged=True)
    write_run(tmp_path / "3_failed", config, None, status="failed", error="RuntimeError: no memory")
    write_run(tmp_path / "4_broken", config, 40.0)
    (tmp_path / "4_broken" / "config.yaml").write_text("a: [1")
    (tmp_path / "4_broken" / "results.json").write_text('{"status": "do')
    with open(tmp_path / "1_running" / "metrics.csv", "a") as file:
        file.write("1100,0.9,1.7,2")  # cut short by a crash: 2 may have been 28.4
    (tmp_path / "5_no_config").mkdir()
    (tmp_path / "5_no_config" / "results.json").write_text(json.dumps({"status": "failed"}))
    (tmp_path / "report").mkdir()
    (tmp_path / "jobs.json").write_text("{}")
    runs = read_sweep(tmp_path, "eval/frechet")
    assert [run.status for run in runs] == ["done", "unfinished", "nonfinite", "failed", "unfinished", "failed"]
    scores = [run.score("eval/frechet") for run in runs]
    assert scores[:2] == [20.0, 30.0] and math.isnan(scores[2]) and scores[4] == 40.0
    assert scores[3] == 50.0 * (1 + 400 / 800)  # its newest
    assert runs[2].diverged and not runs[4].config and runs[0].grid is not None and runs[1].grid is None
    assert [run.ended for run in runs] == [True, False, True, False, False, False]


def test_runs_are_found_at_any_depth_in_natural_order(tmp_path: Path) -> None:
    for name in ("b/10_x", "b/9_x", "a/0_x"):
        write_run(tmp_path / name, config_of({}, 0), 1.0)
    assert [run.name for run in read_sweep(tmp_path, "eval/frechet")] == ["a/0_x", "b/9_x", "b/10_x"]
    assert natural("9a") < natural("10a")


@pytest.mark.parametrize(
    ("make", "score", "message"),
    [
        (None, "eval/frechet", "no such folder"),
        ("empty", "eval/frechet", "no run folder is inside.*there is: nothing"),
        ("file", "eval/frechet", "no run folder is inside.*notes.txt"),
        ("run", "eval/frechet", "is one run"),
        ("sweep", "eval/frechet_distance", "no run has it; did you mean eval/frechet\\? \\(scores: eval/frechet\\)"),
    ],
)
def test_wrong_input_is_one_line_that_says_what_is_there(tmp_path: Path, make: str, score: str, message: str) -> None:
    folder = tmp_path / "it"
    if make == "run":
        write_run(folder, config_of({}, 0), 1.0)
    elif make:
        folder.mkdir()
    if make == "file":
        (folder / "notes.txt").touch()
    if make == "sweep":
        write_run(folder / "0", config_of({}, 0), 1.0)
    with pytest.raises(InputError, match=message) as error:
        read_sweep(folder, score)
    assert "\n" not in str(error.value)


def test_what_the_jobs_of_a_sweep_were_told_is_read(tmp_path: Path) -> None:
    write_grid_sweep(tmp_path / "sweep", {"loss": ["hinge", "wasserstein"]}, lambda v, s: 1.0, seeds=1)
    write_run(tmp_path / "alone", config_of({}, 0), 1.0)
    (tmp_path / "other").mkdir()
    write_jobs(tmp_path / "other", {"0_x": ["+model.new=1", "~penalty", "model.name='a=b'"]})
    write_run(tmp_path / "other" / "0_x", config_of({}, 0), 1.0)
    told = {run.name: run.overrides for run in read_sweep(tmp_path, "eval/frechet")}
    assert told == {
        "alone": None,
        "other/0_x": {"model.new": "1", "penalty": "", "model.name": "'a=b'"},
        "sweep/0_loss-hinge_seed-0": {"loss": "hinge", "seed": "0"},
        "sweep/1_loss-wasserstein_seed-0": {"loss": "wasserstein", "seed": "0"},
    }


def test_a_killed_run_without_metrics_is_read(tmp_path: Path) -> None:
    write_run(tmp_path / "0", config_of({}, 0), 1.0, status=None)
    (tmp_path / "0" / "metrics.csv").unlink()
    run = read_run(tmp_path / "0", tmp_path)
    assert run.status == "unfinished" and math.isnan(run.score("eval/frechet")) and not run.curves


def test_a_run_that_a_search_ended_is_not_called_collapsed(tmp_path: Path) -> None:
    write_run(tmp_path / "0", config_of({}, 0), 900.0, status="pruned", collapsed=True)
    run = read_run(tmp_path / "0", tmp_path)
    assert run.hopeless and not run.collapsed and not run.ended
    write_run(tmp_path / "1", config_of({}, 0), 900.0, collapsed=True)
    assert read_run(tmp_path / "1", tmp_path).collapsed


def test_any_number_of_results_json_is_a_score(tmp_path: Path) -> None:
    for seed, size in enumerate((100, 200)):
        write_run(tmp_path / str(seed), config_of({}, seed), 5.0, **{"parameters/generator": size})
    runs = read_sweep(tmp_path, "parameters/generator")
    assert [run.score("parameters/generator") for run in runs] == [100, 200]
    with pytest.raises(InputError, match="no run has it"):
        read_sweep(tmp_path, "parameters/generators")
