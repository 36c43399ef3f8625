"""Hydra's composition, with every error said in one line that names the near match. Free of torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from saddle.config.ranges import Kind, ranges_of
from saddle.errors import InputError

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)


class Composer:
    """Composes configs of one folder; a context manager, because Hydra keeps one such folder per process.

    Args:
        conf: the folder with the configs.
        config_name: the primary config, without its ending.
        searchpath: further folders with configs.
    """

    def __init__(self, conf: Path, config_name: str, searchpath: Sequence[str] = ()):
        self.conf, self.config_name = conf, config_name
        self._always = [f"hydra.searchpath=[{','.join(f'file://{path}' for path in searchpath)}]"] if searchpath else []
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __enter__(self) -> Composer:
        GlobalHydra.instance().clear()
        self._forget_plugins()
        hydra.initialize_config_dir(str(self.conf), job_name=self.config_name, version_base="1.3")
        return self

    def __exit__(self, *exception: object) -> None:
        GlobalHydra.instance().clear()

    def _forget_plugins(self) -> None:
        """Let the launchers in `conf` stand for themselves: Hydra would hold them to plugins' of the same name."""
        Plugins.instance()  # loads them
        launchers = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
        for path in (self.conf / "hydra" / "launcher").glob("*.yaml"):
            launchers.pop(path.name, None)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of these overrides, with its `hydra` node.

        Raises:
            InputError: if there is none; the message names the near match.
        """
        key = tuple(overrides)
        if key not in self._composed:
            try:
                words = [*self._always, *overrides]
                self._composed[key] = hydra.compose(self.config_name, words, return_hydra_config=True)
            except COMPOSITION_ERRORS as error:
                raise InputError(self.explain(error, overrides)) from None
        return self._composed[key]

    def reference(self, overrides: Sequence[str]) -> DictConfig:
        """The config of the chosen groups alone, without the values on the command line."""
        return self.compose([text for text in overrides if self.is_choice(text)])

    def ranges(self, overrides: Sequence[str]) -> dict[str, Kind]:
        """The ranges that the comments of the chosen yaml files state, by dotted key."""
        chosen = [text for text in overrides if self.is_choice(text)]
        parts = self._loader().compute_defaults_list(self.config_name, [*self._always, *chosen], RunMode.RUN).defaults
        found: dict[str, Kind] = {}
        for part in parts:
            path = self.conf / f"{part.config_path}.yaml"
            if path.is_file():
                found |= ranges_of(path, (part.package or "").replace("_global_", ""))
        return found

    def is_choice(self, override: str) -> bool:
        """Whether an override chooses an option of a group (`model=dcgan`), rather than sets a value."""
        key = parse(override).key_or_group
        return key in self.groups(key)

    def groups(self, like: str = "") -> list[str]:
        """The groups beside `like`: all of the top, or of the folder in which `like` is."""
        parent = like.rpartition("/")[0]
        return [f"{parent}/{name}" if parent else name for name in self._loader().list_groups(parent)]

    def explain(self, error: Exception, overrides: Sequence[str], sweep: bool = False) -> str:
        """One line on what Hydra could not compose; in a sweep, an override may have several values."""
        if isinstance(error, MarkedYAMLError) and error.problem_mark:
            return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
        if isinstance(error, MissingConfigException) and error.missing_cfg_file:
            return self._missing(error)
        for text in overrides:
            if ambiguous(text) and not sweep:
                return f"{text} names several values: add -m to sweep over them, or write a list as key=[a,b]"
        key = getattr(error.__cause__ or error, "full_key", None)
        if isinstance(error.__cause__, MissingMandatoryValue) or isinstance(error, MissingMandatoryValue):
            return f"{key} must be given: {key}=..."
        unknown = next((o.key_or_group for o in map(parse, overrides) if key and o.key_or_group.startswith(key)), None)
        named = unknown or self._unmatched(str(error), overrides)
        if named:
            return f"there is no option {named}{self._hint(named, overrides)}"
        return first_line(error.__cause__ or error) or first_line(error)

    def _missing(self, error: MissingConfigException) -> str:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if not group:
            return first_line(error)
        options = self._loader().get_group_options(group)
        return f"{group}={name}: no such {group}{near(name, options)} (there are: {', '.join(options) or 'none'})"

    def _unmatched(self, message: str, overrides: Sequence[str]) -> str | None:
        """The group that a message about the defaults list complains of."""
        keys = [override.key_or_group for override in map(parse, overrides)]
        return next((key for key in keys if f"'{key}'" in message or f"{key}=" in message), None)

    def _hint(self, key: str, overrides: Sequence[str]) -> str:
        try:
            known = [name for name in leaves(self.reference(overrides)) if not name.startswith("hydra.")]
        except (InputError, *COMPOSITION_ERRORS):
            known = []
        known += [group for group in self.groups() if group != "hydra"]
        if key in known:  # Hydra wants a plus before what adds to a mapping
            return f" that takes new entries so: write '+{key}=...'"
        return near(key, known) or near(key, {name.rpartition(".")[2]: name for name in known}, last=True)

    @staticmethod
    def _loader() -> Any:
        return GlobalHydra.instance().config_loader()


def parse(override: str) -> Override:
    """Hydra's reading of one override.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        hint = "write key=value, and quote a value with special characters, e.g. \"key='a=b'\""
        raise InputError(f"cannot read {override!r}; {hint}") from None


def value_of(overrides: Sequence[str], key: str) -> Any:
    """The last value that a list of overrides gives to `key`, or None."""
    values = [override.value() for override in map(parse, overrides) if override.key_or_group == key]
    return values[-1] if values else None


def ambiguous(override: str) -> bool:
    """Whether an override is a sweep over several values."""
    return parse(override).is_sweep_override()


def leaves(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all nodes, inner ones too."""
    for name in map(str, cfg):
        key = f"{prefix}{name}"
        yield key
        if OmegaConf.is_missing(cfg, name) or OmegaConf.is_interpolation(cfg, name):
            continue
        child = cfg[name]
        if isinstance(child, DictConfig):
            yield from leaves(child, f"{key}.")


def near(word: str, words: Iterable[str], last: bool = False) -> str:
    """ "; did you mean ...?" with the closest of `words`, or nothing.

    Args:
        word: what was typed.
        words: what there is; with `last`, a mapping from the last part of a dotted key to the key.
        last: compare the last part of `word` only.
    """
    found = difflib.get_close_matches(word.rpartition(".")[2] if last else word, list(words), n=1, cutoff=0.6)
    if not found:
        return ""
    return f"; did you mean {words[found[0]] if isinstance(words, Mapping) else found[0]}?"


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
