"""OmegaConf resolvers that the configs use. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from saddle.config.folders import count_classes


def pick(key: Any, table: Mapping[Any, Any]) -> Any:
    """The entry of a table, e.g. `${pick:${data.resolution},{32:80,64:100}}`; its last entry where the key has none.

    A key without an entry is refused elsewhere, by the list of what is supported; here it must only compose.
    """
    return table.get(key, list(table.values())[-1])


def times(a: float, b: float) -> float:
    """A product, e.g. `${times:8,${model.width}}`."""
    return a * b


def register() -> None:
    """Make the resolvers known; may be called again."""
    OmegaConf.register_new_resolver("pick", pick, replace=True)
    OmegaConf.register_new_resolver("times", times, replace=True)
    OmegaConf.register_new_resolver("count_classes", count_classes, replace=True, use_cache=True)
