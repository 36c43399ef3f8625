"""What a config describes, made: classes that are of the kind that is asked for, and nothing else. Free of torch.

A `_target_` names a class, which is looked at before it is called: it must be of the kind that is asked for, and so
must the class of every object inside, of which the constructor's annotation says the kind. So no config calls a
function. A config out of a folder, which anybody may have made, is held to the names of a few packages besides, before
anything of them is imported: `refuse_foreign`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from saddle.config.compose import within
from saddle.errors import InputError, cause_of

PLUGINS = "saddle.plugins"  # the group of entry points by which an installed package says that configs may name it
#: What a folder's config may name beside this package and what the user trusts, by the group of the config.
LIBRARIES = {
    "metrics": ("torchmetrics.image",),
    "callbacks": ("lightning.pytorch.callbacks",),
    "logger": ("lightning.pytorch.loggers",),
    "sampler": ("optuna.samplers",),  # of a search
    "pruner": ("optuna.pruners",),
}
WRITERS = ("callbacks", "logger")  # groups whose objects write, and send
OUTSIDE = re.compile(r"^[~/]|^[A-Za-z][\w+.-]*:/|(^|/)\.\.(/|$)")  # a path that leaves the folder, and a URL


def instantiate(node: Any, of: type, **arguments: Any) -> Any:
    """The object of the class `of` that `node` describes, without what it states as `facts` for the config check.

    Raises:
        InputError: raised by the object's constructor, which Hydra would wrap, or because a `_target_` in the node is
            no class of its kind.
    """
    options = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    assert isinstance(options, dict)
    options.pop("facts", None)
    check_kinds(options, (of,))
    os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # libraries unpickle the files that they are given
    try:
        return hydra.utils.instantiate(options, **arguments)
    except InstantiationException as error:
        if cause := cause_of(error, InputError):
            raise cause from None
        raise


def locate(target: Any, of: type) -> Any:
    """The class that a `_target_` names.

    Raises:
        InputError: if there is none, as where a run folder of another version names a class that has moved since, or it
            is not `of`.
    """
    return _located(target, (of,))


def _located(target: Any, kinds: Sequence[type]) -> Any:
    package, _, name = str(target).rpartition(".")
    if not is_dotted(target) or not package:
        raise InputError(f"{target} is no class: a _target_ is like saddle.losses.Hinge")
    try:
        found = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{target} is not there ({error}): a wrong _target_, or the configuration is of another version of the code"
        ) from None
    if not isinstance(found, type) or top(found.__module__) != top(target):  # one that the module only imports
        raise InputError(f"{target} is no class of {top(target)}, and a _target_ is one")
    if not issubclass(found, tuple(kinds)):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        asked = f"a {wanted} is wanted" if kinds else "the annotation of the argument names no class of objects"
        raise InputError(f"{target} is of the wrong kind: {asked} here")
    return found


def check_kinds(node: Any, kinds: Sequence[type]) -> None:
    """Refuse a node in which a `_target_`, at any depth, names anything but a class of the kind that is wanted there.

    Args:
        node: plain data.
        kinds: what `node`, or the elements of a list or a mapping, may be objects of.
    """
    if isinstance(node, list | tuple):
        for element in node:
            check_kinds(element, kinds)
    elif isinstance(node, Mapping):
        cls = _located(node["_target_"], kinds) if "_target_" in node else None
        for key, value in node.items():
            check_kinds(value, kinds if cls is None else kinds_of(cls, str(key)))


def kinds_of(cls: type, argument: str) -> list[type]:
    """The classes that a constructor's annotation of an argument names: `list[Penalty] | None` names Penalty.

    Of a function it is what that returns. Types of the standard library are none, nor are those that say nothing.
    """
    for base in cls.__mro__:
        constructor: Any = inspect.unwrap(base.__init__)  # type: ignore[misc]
        hints = getattr(constructor, "__annotations__", {})
        if argument in inspect.signature(constructor).parameters and argument in hints:
            alone = SimpleNamespace(__annotations__={argument: hints[argument]})  # others may not be known at run time
            try:
                return [*_classes(typing.get_type_hints(alone, constructor.__globals__)[argument])]
            except NameError:
                return []
    return []


def _classes(hint: Any) -> Iterator[type]:
    inner = typing.get_args(hint)
    if inner:
        for each in inner[-1:] if typing.get_origin(hint) is Callable else inner:
            yield from _classes(each)
    elif isinstance(hint, type) and top(hint.__module__) not in sys.stdlib_module_names:
        yield hint


# --------------------------------------------------------------------------------- configs that anybody may have made


def refuse_resolvers(config: Any, where: object) -> None:
    """Raise an InputError if a value of plain data would have to be resolved, as from the environment."""
    for key, value in nodes_of(config):
        if isinstance(value, str) and "${" in value:
            raise InputError(f"{where}: {key} is {value}, and nothing in a folder is resolved: write the value there")


def refuse_foreign(config: Any, trust: Collection[str], where: object) -> None:
    """Raise an InputError if a config names what a folder's config may not. Nothing is imported.

    Args:
        config: plain data.
        trust: packages of the user's that it may name too, and places.
        where: the config's name in an error.
    """
    for key, name in foreign(config):
        if not any(within(name, trusted) for trusted in trust) and not plugin(name):
            what = "PACKAGE" if key.rpartition(".")[2] == "_target_" else f"'{name}'"
            raise InputError(
                f"{where}: {key} is {name}, which a folder may not name: leave it out, or if that is your own, add "
                f"trust=[{what}]"
            )


def foreign(config: Any) -> Iterator[tuple[str, str]]:
    """The key and the name of what a folder's config may not name.

    That is a `_target_` that is not of this package, nor of the `LIBRARIES` of its group; and a place outside of the
    run folder to which a logger or a callback would send or write.
    """
    for key, value in nodes_of(config):
        if key.rpartition(".")[2] == "_target_":
            allowed = ("saddle", *LIBRARIES.get(top(key), ()))
            if not (is_dotted(value) and any(within(value, name) for name in allowed)):
                yield key, str(value)
        elif top(key) in WRITERS and isinstance(value, str) and OUTSIDE.search(value):
            yield key, value


def plugin(target: str) -> bool:
    """Whether an installed package says by an entry point that configs may name `target`."""
    return any(within(target, point.module) for point in entry_points(group=PLUGINS))


def nodes_of(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All nodes of plain data below `node`, also those in lists, with their dotted keys."""
    inner = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for name, value in inner:
        below = f"{key}.{name}".lstrip(".")
        yield below, value
        yield from nodes_of(value, below)


def is_dotted(name: Any) -> bool:
    """Whether something is a name such as `saddle.losses.Hinge`."""
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def top(name: str) -> str:
    """The first part of a dotted name."""
    return name.partition(".")[0]
