"""What varied is what the jobs of a sweep were told, or what configs differ in without what follows another key."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sweeps import config_of

from saddle.report.reading import Run, flatten
from saddle.report.settings import Setting, find_settings, label


def runs_of(chosen: list[dict[str, Any]], seeds: int = 2, **more: list[Any]) -> list[Run]:
    """Runs of these settings, `seeds` of each; `more` adds keys to the config of each combination."""
    runs = []
    for n, values in enumerate(chosen):
        for seed in range(seeds):
            config = config_of(values, seed) | {key: column[n] for key, column in more.items()}
            name = f"{n}-{seed}"
            runs.append(Run(Path("sweep") / name, name, flatten(config)))
    return runs


def names(runs: list[Run]) -> set[str]:
    return {setting.name for setting in find_settings(runs)}


def test_the_seed_and_what_names_a_run_are_no_settings() -> None:
    assert names(runs_of([{}], seeds=4)) == set()


def test_one_varied_key_is_one_setting_whatever_is_computed_from_it() -> None:
    found = find_settings(runs_of([{"model.g_lr": 1e-4}, {"model.g_lr": 2e-4}, {"model.g_lr": 4e-4}]))
    assert [setting.name for setting in found] == ["model.g_lr"]
    assert found[0].values == (1e-4, 2e-4, 4e-4) and found[0].follows == ("model.d_lr",)


def test_a_choice_leads_what_its_file_sets() -> None:
    found = find_settings(runs_of([{"model": "dcgan"}, {"model": "wgan_gp"}]))
    assert [setting.name for setting in found] == ["model"]
    assert set(found[0].follows) == {"model.d_norm", "model.trunk.norm"}


def test_a_grid_of_choices_and_numbers() -> None:
    axes = itertools.product(("dcgan", "wgan_gp"), ("hinge", "wasserstein"), (16, 32))
    chosen = [{"model": model, "loss": loss, "model.width": width} for model, loss, width in axes]
    found = {setting.name: set(setting.follows) for setting in find_settings(runs_of(chosen))}
    assert found == {
        "model": {"model.d_norm", "model.trunk.norm"},
        "loss": {"loss._target_"},
        "model.width": {"model.generator.width", "model.trunk.width"},
    }


def test_ranges_searched_at_random_do_not_fold_into_each_other_by_accident() -> None:
    rng = np.random.default_rng(0)
    chosen = [
        {"model.g_lr": float(10 ** rng.uniform(-5, -2)), "model.beta1": float(rng.uniform()), "model.width": 16 * n}
        for n in rng.integers(1, 4, size=20)
    ]
    assert names(runs_of(chosen, seeds=1)) == {"model.g_lr", "model.beta1", "model.width"}


def test_a_key_that_two_settings_determine_together_is_folded() -> None:
    chosen = [{"model": m, "model.width": w} for m in ("dcgan", "wgan_gp") for w in (16, 32, 64)]
    scale = [w["model.width"] * (1 if w["model"] == "dcgan" else 3) % 7 for w in chosen]
    assert names(runs_of(chosen, **{"model.trunk.scale": scale})) == {"model", "model.width"}


def test_a_full_grid_folds_no_key_that_was_varied() -> None:
    chosen = [
        {"model.width": w, "model.d_steps": d, "data.batch_size": b} for w in (16, 32) for d in (1, 2) for b in (8, 9)
    ]
    assert names(runs_of(chosen)) == {"model.width", "model.d_steps", "data.batch_size"}


def jobs_of(chosen: list[dict[str, Any]], fixed: dict[str, Any] | None = None, **more: list[Any]) -> list[Run]:
    """Runs of a sweep that was told these settings, and the `fixed` ones in each of its jobs."""
    told = [{**(fixed or {}), **values, "seed": seed} for values in chosen for seed in range(2)]
    runs = runs_of([{**values, **(fixed or {})} for values in chosen], **more)
    return [replace(run, overrides={k: str(v) for k, v in line.items()}) for run, line in zip(runs, told, strict=True)]


def test_what_the_jobs_of_a_sweep_were_told_are_its_settings() -> None:
    """Here each of two numbers determines the other, and a third that nobody typed is no setting."""
    chosen = [{"model.beta1": b, "model.d_steps": d} for b, d in ((0.0, 1), (0.5, 2), (0.9, 5))]
    assert names(runs_of(chosen, total=[1, 2, 3])) == {"total", "model.beta1", "model.d_steps"}
    found = find_settings(jobs_of(chosen, {"loss": "wasserstein"}, total=[1, 2, 3]))
    assert {setting.name: setting.follows for setting in found} == {"model.d_steps": ("total",), "model.beta1": ()}


def test_a_choice_and_a_mapping_are_found_under_the_names_that_the_config_has_for_them() -> None:
    runs = jobs_of([{"model": "dcgan"}, {"model": "wgan_gp"}])
    assert [setting.key for setting in find_settings(runs)] == ["choices.model"]
    chosen: list[dict[str, Any]] = [{}, {}]
    runs = [
        replace(
            run,
            config={**run.config, "model.schedules.g_lr": value},
            overrides={"model.schedules": f"{{g_lr:{value}}}"},
        )
        for run, value in zip(runs_of(chosen, seeds=1), ("linear", "cosine"), strict=True)
    ]
    assert names(runs) == {"model.schedules.g_lr"}


def test_a_run_of_no_sweep_among_jobs_is_compared_by_its_config() -> None:
    runs = [
        *jobs_of([{"model.width": 16}, {"model.width": 32}]),
        *runs_of([{"model.width": 16, "loss": "wasserstein"}]),
    ]
    assert names(runs) == {"model.width", "loss"}
    assert names(runs[:-2]) == {"model.width"}


def test_a_key_absent_from_some_configs() -> None:
    runs = runs_of([{}, {}])
    runs = [
        Run(r.folder, r.name, {**r.config, **({"penalty.r1.weight": 10.0} if n > 1 else {})})
        for n, r in enumerate(runs)
    ]
    assert find_settings(runs)[0].values == ("absent", 10.0)


def test_levels_of_lists_and_ranges() -> None:
    assert [name for name, _ in Setting("a", (None, 1, 2.5)).levels()] == ["null", "1", "2.5"]
    searched = Setting("a", tuple(10.0 ** np.linspace(-4, -1, 20)))
    assert searched.searched and searched.logarithmic and len(searched.levels()) == 5
    assert sum(len(values) for _, values in searched.levels()) == 20
    assert searched.position(1e-4) == -4


def test_numbers_are_short_without_powers_of_ten_where_a_reader_needs_none() -> None:
    assert [label(v) for v in (0.00021234, 12.345, 1819.4, 1e15, 3, True, None)] == [
        "0.000212", "12.3", "1819", "1e+15", "3", "true", "null"
    ]  # fmt: skip


def test_options_in_one_folder_are_short() -> None:
    one = Setting("choices.experiment", ("gulrajani/baseline", "gulrajani/mlp"))
    assert [name for name, _ in one.levels()] == ["baseline", "mlp"]
    assert [name for name, _ in Setting("choices.experiment", ("gulrajani/mlp", "dcgan_lsun")).levels()] == [
        "gulrajani/mlp", "dcgan_lsun"
    ]  # fmt: skip
