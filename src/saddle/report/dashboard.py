"""The dashboard on Weights & Biases: what its options ask for is sent, or written into a file. Free of torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from saddle.errors import InputError
from saddle.report.panels import Axis, Content, report, workspace
from saddle.report.reading import read_sweep
from saddle.report.settings import CHOICE
from saddle.report.study import FEW, Study
from saddle.run.account import logged_in
from saddle.run.folder import write_atomic
from saddle.run.target import check_target, holds

LOGIN = "`wandb login`, or WANDB_API_KEY in the environment"


def build_dashboard(cfg: DictConfig) -> None:
    """Send the workspace and the report, or write them into a file.

    Args:
        cfg: of conf/dashboard.yaml.

    Raises:
        InputError: if nobody is logged in and no file is named, W&B refuses, or the sweep cannot be read.
    """
    out = None if cfg.out is None else Path(str(cfg.out))
    if out is not None:
        if out.suffix != ".json":
            raise InputError(f"out={out}: must be a file that ends in .json")
        check_target(out, lambda path: holds(path, "workspace", "report"))
    content = content_of(cfg)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, json.dumps(objects(content), indent=2) + "\n")
        print(f"workspace and report: {out}; they are sent without out=, once you are logged in ({LOGIN})", flush=True)
        return
    if not logged_in():
        raise InputError(
            f"you are not logged in to W&B: {LOGIN}; out=FILE.json writes the dashboard into a file instead"
        )
    for url in send(content):
        print(url, flush=True)


def content_of(cfg: DictConfig) -> Content:
    """What the options of conf/dashboard.yaml ask for.

    Raises:
        InputError: if the sweep cannot be read.
    """
    axes = [axis_of(str(name), str(name) in cfg.logarithmic) for name in cfg.settings]
    group = cfg.group
    if cfg.sweep is not None:
        study = Study(read_sweep(str(cfg.sweep), cfg.score), cfg.score)
        settings = [study.settings[j] for j in study.order]
        axes = [Axis(s.name, s.key, s.logarithmic, not s.searched and len(s.values) <= FEW) for s in settings]
        group = group or Path(str(cfg.sweep)).resolve().name
    name = cfg.name or ("GAN dashboard" if group is None else f"GAN dashboard: {group}")
    return Content(str(cfg.project), str(cfg.entity or ""), str(name)[:128], cfg.score, tuple(axes), group)


def axis_of(name: str, logarithmic: bool) -> Axis:
    """The axis of a setting as it is typed: a word without a dot chooses from a group, unless it is a number."""
    top = "." in name or name in ("seed", "iterations", "minutes", "precision")
    return Axis(name, name if top else CHOICE + name, logarithmic, groups=not top)


def objects(content: Content) -> dict[str, Any]:
    """What is sent, as plain data: the workspace and the report.

    `wandb-workspaces` has no public name for it; its `save` sends what `_to_model` gives.
    """
    return {
        name: json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))
        for name, made in (("workspace", workspace(content)), ("report", report(content)))
    }


def send(content: Content) -> list[str]:
    """Save both on W&B; their addresses.

    Raises:
        InputError: if W&B refuses.
    """
    import wandb

    try:
        content = replace(content, entity=content.entity or wandb.Api().default_entity or "")
        saved = report(content).save()  # makes the project where there is none yet
        return [f"workspace: {workspace(content).save().url}", f"report: {saved.url}"]
    except (wandb.errors.Error, ValueError, OSError) as error:
        raise InputError(f"W&B refused the dashboard: {' '.join(str(error).split())}") from error
