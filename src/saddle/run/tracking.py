"""Weights & Biases: one run of theirs per run folder. What a run must not lose is in the folder's own files."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from numpy.typing import NDArray

from saddle.config.compose import first_line
from saddle.run.account import logged_in
from saddle.run.checkpoint import BEST
from saddle.run.folder import RunFolder
from saddle.run.launch import is_first_process
from saddle.run.status import EXIT_STATUS, FAILED

SWEEP_FILES = ("jobs.json", "multirun.yaml")  # what a sweep folder holds beside its run folders
CHOICES = ("model", "loss", "data", "experiment", "study")  # what a run is tagged by
SUMMARY = ("status", "iterations", "kimg", "seconds", "images_per_second", "peak_memory_bytes", "diverged", "collapsed")
PARAMETERS = "parameters/"
PATIENCE = 15.0  # seconds, for W&B to answer when a run begins


class WandbRun(WandbLogger):
    """Lightning's logger, with the iteration as W&B's step, so that curves and sliders count what metrics.csv counts.

    A resumed run folder goes on as the same W&B run; the iterations since its checkpoint, which it repeats, are
    bit-identical and W&B keeps the first.

    Args:
        folder: the run folder; the id of the W&B run is kept in ``wandb/id``.
        mode: "online", "offline", or "auto": that of WANDB_MODE, else online where an API key is found, else offline.
        group: what it is grouped by; "auto": see `sweep_of`.
        tags: more of them, beside the names of the model, the loss, the data, the experiment and the study.
        artifact: send checkpoints/best.ckpt at the end, as the artifact model-<id of the run>.
        options: further arguments of `wandb.init`: project, entity, job_type, ...
    """

    def __init__(
        self,
        folder: str | Path,
        mode: str = "auto",
        group: str | None = "auto",
        tags: Sequence[str] = (),
        artifact: bool = False,
        **options: Any,
    ):
        self.folder, self.artifact = RunFolder(folder), artifact
        os.environ.setdefault("WANDB_SILENT", "true")
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        kept = id_file(self.folder.path)
        if not kept.exists() and is_first_process():
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(uuid.uuid4().hex[:12])
        super().__init__(
            save_dir=folder,
            name=self.folder.path.name,
            tags=[*dict.fromkeys([*choices_of(folder), *tags])],
            group=sweep_of(folder) if group == "auto" else group,
            mode=mode,  # Lightning's own argument `offline` sets a mode that wandb no longer knows
            id=kept.read_text().strip() if kept.exists() else None,
            resume="allow",
            **options,
        )

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, begun when first asked for; on other processes than the first a stand-in without effect.

        Where W&B does not answer, or refuses the account, it is an offline one.
        """
        if self._experiment is None:
            options = {k: v for k, v in self._wandb_init.items() if k != "anonymous"}  # Lightning's; wandb warns of it
            try:
                self._experiment = wandb.init(**options, settings=wandb.Settings(init_timeout=PATIENCE))
            except wandb.Error as error:
                print(f"Weights & Biases: {first_line(error)[:200]}: the run goes on offline", flush=True)
                wandb.teardown()  # its service keeps the id of the run that did not begin
                self._experiment = wandb.init(**{**options, "mode": "offline"})
            id_file(self.folder.path).write_text(self._experiment.id)  # W&B's agent has chosen its own
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Send the config, and the version of the code as `code.commit` and `code.dirty`."""
        super().log_hyperparams({**params, "code": code_version()})

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send values of the iteration `step`."""
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def log_histograms(self, histograms: Mapping[str, tuple[NDArray, NDArray]], step: int) -> None:
        """Send histograms of the iteration `step`: by name the counts [bins] and the edges [bins + 1]."""
        self.log_metrics({name: wandb.Histogram(np_histogram=pair) for name, pair in histograms.items()}, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send how the run ended, and its best checkpoint if that was asked for; end the W&B run."""
        if self._experiment is None:
            return
        run, results = self._experiment, self.folder.results()
        known = {k: v for k, v in results.items() if k in SUMMARY or k.startswith(PARAMETERS)}
        run.summary.update({k: int(v) if isinstance(v, bool) else v for k, v in known.items()})  # so that bars show it
        best = self.folder.checkpoints / BEST
        if self.artifact and best.is_file():
            scores = {k: v for k, v in results.items() if k.startswith("eval/")}
            artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=scores)
            artifact.add_file(str(best))
            run.log_artifact(artifact, aliases=["best"])
        run.finish(exit_code=EXIT_STATUS.get(results.get("status", ""), FAILED))
        self._experiment = None


def id_file(folder: Path) -> Path:
    """Where a run folder keeps the id of its W&B run."""
    return folder / "wandb" / "id"


def sweep_of(folder: str | Path) -> str | None:
    """What a run is grouped by: WANDB_RUN_GROUP, else its sweep's folder or the sweep of W&B's agent, or None."""
    parent = Path(folder).resolve().parent
    inside = any((parent / name).is_file() for name in SWEEP_FILES)
    named = os.environ.get("WANDB_RUN_GROUP") or (parent.name if inside else os.environ.get("WANDB_SWEEP_ID"))
    return named or None


def choices_of(folder: str | Path) -> list[str]:
    """The names that a run is made of, as its config.yaml has them."""
    run = RunFolder(folder)
    choices: Any = (run.config().get("choices") if run.config_file.is_file() else None) or {}
    named = [str(choices[group]) for group in CHOICES if choices.get(group)]
    return [name[:64] for name in named]  # the longest that W&B takes


def code_version() -> dict[str, Any]:
    """The git commit of this code, and whether tracked files were changed since; both None outside a repository."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(here), *words]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    if git("ls-files", "--error-unmatch", __file__) is None:  # a copy of the package in somebody else's repository
        return {"commit": None, "dirty": None}
    changed = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}
