"""Hydra's instantiation, for yaml files that also state facts, and with a user's mistake left as what it is."""

from __future__ import annotations

from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from saddle.errors import InputError


def instantiate(node: Any, **arguments: Any) -> Any:
    """The object that `node` describes by its `_target_`, without what it states as `facts` for the config check.

    Raises:
        InputError: raised by the object's constructor; Hydra would wrap it.
    """
    options = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    assert isinstance(options, dict)
    options.pop("facts", None)
    try:
        return hydra.utils.instantiate(options, **arguments)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None
