"""The same sweep for the agent of Weights & Biases. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from saddle.run.folder import write_atomic
from saddle.sweep import launcher
from saddle.sweep.search.options import Options
from saddle.sweep.search.space import Axis, Space
from saddle.sweep.search.start import prepare


def wandb_sweep(
    space: Space, options: Options, script: str, project: str | None = None, entity: str | None = None
) -> dict[str, Any]:
    """The same sweep for `wandb sweep` and `wandb agent`, which runs `script`.

    Seeds are one more parameter there, and of several objectives the first counts. The runs are the project's and the
    entity's, whatever they say themselves; where these are None, as `wandb sweep` has it.
    """
    parameters = {axis.key: _wandb_parameter(axis) for axis in space.axes}
    if space.seeds:
        parameters["seed"] = {"values": [int(seed) for seed in space.seeds]}
    objective = options.objectives[0]
    grid = all("values" in parameter for parameter in parameters.values())
    owner = {key: value for key, value in (("entity", entity), ("project", project)) if value}
    return owner | {
        "program": script,
        "method": "grid" if grid else "bayes",
        "metric": {"name": objective.score, "goal": objective.direction},
        "parameters": parameters,
        "command": ["${env}", "${interpreter}", "${program}", *space.fixed, "hydra.mode=RUN", "${args_no_hyphens}"],
    }


def _wandb_parameter(axis: Axis) -> dict[str, Any]:
    if axis.values:
        return {"values": [*axis.values]}
    if axis.step is not None and not axis.log:
        count = round((axis.high - axis.low) / axis.step) + 1
        return {"values": [axis.low + i * axis.step for i in range(count)]}
    if axis.whole:
        spread = "q_log_uniform_values" if axis.log else "int_uniform"
        return {"distribution": spread, "min": axis.low, "max": axis.high}
    return {"distribution": "log_uniform_values" if axis.log else "uniform", "min": axis.low, "max": axis.high}


def write_wandb_sweep(config: DictConfig, arguments: Sequence[str]) -> None:
    """Write wandb_sweep.yaml into the sweep folder instead of running anything.

    Raises:
        InputError: if a cell is wrong.
    """
    space, options, *_ = prepare(config.hydra, arguments)
    space = replace(space, fixed=(*launcher.flags_of(get_args_parser().parse_args()), *space.fixed))
    folder, script = Path(config.hydra.sweep.dir), Path(launcher.this_script())
    folder.mkdir(parents=True, exist_ok=True)
    program = str(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)
    path = folder / "wandb_sweep.yaml"
    project, entity = (OmegaConf.select(config, f"logger.wandb.{key}") for key in ("project", "entity"))
    space = replace(space, fixed=(*launcher.new_sweep(config.hydra, 1).flags, *space.fixed))
    sweep = wandb_sweep(space, options, program, project, entity)
    write_atomic(path, yaml.safe_dump(sweep, sort_keys=False))
    print(f"{path}: start it by `wandb sweep {path}` and run `wandb agent` where it says", flush=True)
