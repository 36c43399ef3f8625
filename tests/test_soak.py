"""The soak in small: every fault once, on one configuration; the long run is `make soak`."""

import json
import os
from pathlib import Path

import faults
import pytest
from several_processes import MODELS, RUNS
from soak import FAULTS, PAGE, PRECISIONS, RESULTS, Soak, table

SMALL = {
    "kill": ("stylegan2_ada", "bf16-mixed"),  # twice: an adaptive p, lazy penalties
    "ask_to_end": ("began", "32"),
    "damage": ("dcgan", "32"),
    "spoil": ("dcgan", "32"),
    "fill_the_disk": ("dcgan", "32"),
}


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Soak:
    return Soak(tmp_path_factory.mktemp("soak"), seed=1)


def undisturbed(fault: str) -> bool:
    return fault == "fill_the_disk" and os.geteuid() != 0


@pytest.mark.parametrize("fault", SMALL)
def test_nothing_is_lost(soak: Soak, fault: str) -> None:
    if undisturbed(fault):
        pytest.skip("only root can mount a small disk")
    assert FAULTS[fault][0](soak, *SMALL[fault]).lost == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in SMALL])
def test_nothing_is_lost_by_the_slower_faults(soak: Soak, fault: str) -> None:
    assert FAULTS[fault][0](soak, FAULTS[fault][1][0], "32").lost == []


@pytest.mark.slow
def test_ten_kills_of_one_run(soak: Soak) -> None:
    assert soak.kill("dcgan_spectral_penalties", "32", kills=10).lost == []


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", [*RUNS, *MODELS])
def test_no_state_of_any_model_is_lost(soak: Soak, name: str, precision: str) -> None:
    assert soak.kill(name, precision).lost == []


def test_a_difference_is_found(soak: Soak, tmp_path: Path) -> None:
    """The comparison can fail: two seeds end differently in weights, optimisers, averages and scalars."""
    words = soak.words("dcgan", "32")
    for seed in (0, 1):
        assert soak.runs.run(*words, "iterations=2", f"seed={seed}", f"hydra.run.dir={tmp_path}/{seed}") == 0
    found = " ".join(faults.differences(tmp_path / "0", tmp_path / "1"))
    for part in ("metrics.csv", ".state_dict.generator.", ".state_dict.ema.", ".optimizer_states.1."):
        assert part in found, part


def test_the_page_shows_the_results() -> None:
    assert table(json.loads(RESULTS.read_text())) in PAGE.read_text()
