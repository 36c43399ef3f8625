"""Weights & Biases: one run of theirs per run folder."""

from __future__ import annotations

import netrc
import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch.loggers import WandbLogger


def wandb_logger(
    folder: str,
    project: str,
    entity: str | None = None,
    mode: str = "auto",
    tags: list[str] | None = None,
    **config: Any,
) -> WandbLogger:
    """Lightning's W&B logger for a run folder; resuming the folder continues the same W&B run.

    Args:
        folder: the run folder; the id of the W&B run is kept in ``wandb/id``.
        project, entity, tags: where and how it appears.
        mode: "online", "offline", or "auto": that of WANDB_MODE, else online where an API key is found, else offline.
        config: further arguments of `wandb.init`.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    kept = Path(folder) / "wandb" / "id"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(uuid.uuid4().hex[:12])
    return WandbLogger(
        name=Path(folder).name,
        save_dir=folder,
        project=project,
        entity=entity,
        tags=list(tags or []),
        mode=mode,  # Lightning's own argument `offline` sets a mode that wandb no longer knows
        id=kept.read_text().strip(),
        resume="allow",
        **config,
    )


def _logged_in() -> bool:
    """Whether an API key is found where wandb looks for it: the environment, or what `wandb login` wrote."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
