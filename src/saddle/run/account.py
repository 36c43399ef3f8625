"""Whether there is an account of Weights & Biases. Free of torch and of wandb."""

from __future__ import annotations

import netrc
import os
from urllib.parse import urlparse


def logged_in() -> bool:
    """Whether an API key is found where wandb looks for it: the environment, or what `wandb login` wrote."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
