"""Hydra's instantiation, for yaml files that also state facts, and with a user's mistake left as what it is."""

from __future__ import annotations

import pydoc
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from saddle.config.compose import keys_of
from saddle.errors import InputError


def instantiate(node: Any, **arguments: Any) -> Any:
    """The object that `node` describes by its `_target_`, without what it states as `facts` for the config check.

    Raises:
        InputError: raised by the object's constructor, which Hydra would wrap, or because there is no such object.
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
            for key, target in keys_of(options):
                if key.rpartition(".")[2] == "_target_":
                    locate(target)
            raise
        raise cause from None


def locate(target: str) -> Any:
    """The class or function that a `_target_` names.

    Raises:
        InputError: if there is none, as where a run folder of another version names a class that has moved since.
    """
    found = pydoc.locate(target)
    if found is None:
        raise InputError(f"{target} is not in this code: the configuration is of another version of the code")
    return found
