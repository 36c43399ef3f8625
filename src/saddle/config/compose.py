"""Hydra's composition, with every error said in one line that names the near match. Free of torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ConfigDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from saddle.config.ranges import Kind, ranges_of
from saddle.errors import InputError

CONF = Path(__file__).parents[1] / "conf"  # the shipped configs; in a clone a link to those at its top
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)


class Composer:
    """Composes configs of the folder `conf` and of a search path; `config_name` is the primary one, without its ending.

    A context manager, because Hydra keeps one such folder per process.
    """

    def __init__(self, conf: Path, config_name: str, searchpath: Sequence[str] = ()):
        self.conf, self.config_name = conf, config_name
        places = [QuotedString(f"file://{path}", Quote.single).with_quotes() for path in searchpath]
        self._always = [f"hydra.searchpath=[{','.join(places)}]"] if places else []
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._chosen: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        self._read: dict[str, dict[str, bool]] = {}

    def __enter__(self) -> Composer:
        GlobalHydra.instance().clear()
        Plugins.instance()  # loads them; Hydra would hold the launchers in `conf` to plugins' of the same name
        launchers = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
        for path in (self.conf / "hydra" / "launcher").glob("*.yaml"):
            launchers.pop(path.name, None)
        hydra.initialize_config_dir(str(self.conf), job_name=self.config_name, version_base="1.3")
        return self

    def __exit__(self, *exception: object) -> None:
        GlobalHydra.instance().clear()

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of these overrides, with its `hydra` node.

        Raises:
            InputError: if there is none; the message names the near match.
        """
        key = tuple(overrides)
        if key not in self._composed:
            try:
                cfg = hydra.compose(self.config_name, [*self._always, *overrides], return_hydra_config=True)
            except COMPOSITION_ERRORS as error:
                raise InputError(self.explain(error, overrides)) from None
            self._settle(cfg, overrides)
            self._composed[key] = cfg
        return self._composed[key]

    def _settle(self, cfg: DictConfig, overrides: Sequence[str]) -> None:
        """Drop what a file sets for an option that another choice would have; refuse what is typed or has no option.

        A model or an experiment may set values of any group, such as `penalty.r1.weight`; they go with `penalty=[r1]`.
        """
        values = [parse(text) for text in overrides if not self.is_choice(text)]
        typed = {word.key_or_group: word.is_add() or word.is_force_add() for word in values}
        strays = self._strays(cfg, self._files(overrides))
        for key in strays:
            named = [other for other in typed if within(key, other) or within(other, key)]
            if any(typed[other] for other in named):  # by a plus: the user knows
                continue
            if named or not self._choices_with(key):
                known = (name for name, _ in keys_of(cfg) if not any(within(name, stray) for stray in strays))
                raise InputError(self._unknown([*named, key][0], known))
            parent, _, name = key.rpartition(".")
            with open_dict(cfg):
                del OmegaConf.select(cfg, parent)[name]

    def _strays(self, cfg: DictConfig, files: Sequence[tuple[str, str]]) -> list[str]:
        """The outermost keys of values for which no file has an option; a file has those of its own group's node."""
        chosen = (key.partition("@")[2] or key.replace("/", ".") for key in cfg.hydra.runtime.choices)
        nodes = {*self.groups(), *chosen}
        known = dict.fromkeys(nodes, False)  # true: takes any entries
        for path, package in files:
            home = package or path.rpartition("/")[0].partition("/")[0]
            for name, free in self._options(path).items():
                key = f"{package}.{name}".lstrip(".")
                node = max((node for node in nodes if within(key, node)), key=len, default="")
                if not home or (node and within(home, node)):
                    known[key] = known.get(key, False) or (free and key not in nodes)
        strays: list[str] = []
        for key, _ in keys_of(cfg):
            covered = ("hydra", *strays, *(free for free in known if known[free]))
            if key not in known and not any(within(key, other) for other in covered):
                strays.append(key)
        return strays

    @property
    def _loader(self) -> Any:
        """Hydra's, of this context or, in a sweep, of the one that Hydra has made."""
        return GlobalHydra.instance().config_loader()

    @cached_property
    def _repository(self) -> Any:
        """Hydra's reader of yaml files, in `conf` and in the search path."""
        return self._loader._parse_overrides_and_create_caching_repo(self.config_name, self._always)[1]

    def _options(self, path: str) -> dict[str, bool]:
        """The dotted keys of a yaml file and of those that it is based on; whether each takes any entries."""
        if path not in self._read:
            file = self._repository.load_config(path)
            self._read[path] = {key: not value or not isinstance(value, dict) for key, value in keys_of(file.config)}
            for other in (str(each.path) for each in file.defaults_list if isinstance(each, ConfigDefault)):
                base = other[1:] if other.startswith("/") else f"{path.rpartition('/')[0]}/{other}"
                if self._repository.config_exists(base):
                    self._read[path] |= self._options(base)
        return self._read[path]

    def _choices_with(self, key: str) -> list[str]:
        """The options of a group that have a key, as one would choose them: `augment=ada`, `penalty=[...,r1]`."""
        parts = key.split(".")
        for end in range(len(parts) - 1, 0, -1):
            group, name = "/".join(parts[:end]), ".".join(parts[end:])
            options = self._loader.get_group_options(group)
            found = [option for option in options if name in self._options(f"{group}/{option}")]
            if found:
                return [f"{group}=[...,{each}]" if each == parts[end] else f"{group}={each}" for each in found]
        return []

    def reference(self, overrides: Sequence[str]) -> DictConfig:
        """The config of the chosen groups alone, without the values on the command line."""
        return self.compose([text for text in overrides if self.is_choice(text)])

    def ranges(self, overrides: Sequence[str]) -> dict[str, Kind]:
        """The ranges that the comments of the chosen yaml files state, by dotted key."""
        found: dict[str, Kind] = {}
        for name, package in self._files(overrides):
            path = Path(self._repository.load_config(name).path.removeprefix("file://"), f"{name}.yaml")
            if path.is_file():
                found |= ranges_of(path, package)
        return found

    def _files(self, overrides: Sequence[str]) -> list[tuple[str, str]]:
        """The yaml files of the chosen options, without their ending, and the dotted node that each is put under."""
        chosen = [text for text in overrides if self.is_choice(text)]
        if tuple(chosen) not in self._chosen:
            listed = create_defaults_list(
                repo=self._repository,  # which has read most of the files already
                config_name=self.config_name,
                overrides_list=OverridesParser.create().parse_overrides([*self._always, *chosen]),
                prepend_hydra=True,
                skip_missing=False,
            ).defaults
            files = ((str(file.config_path), (file.package or "").replace("_global_", "")) for file in listed)
            self._chosen[tuple(chosen)] = [file for file in files if not file[0].startswith("hydra/")]
        return self._chosen[tuple(chosen)]

    def is_choice(self, override: str) -> bool:
        """Whether an override chooses an option of a group (`model=dcgan`), rather than sets a value."""
        key = parse(override).key_or_group
        return key in self.groups(key)

    def groups(self, like: str = "") -> list[str]:
        """The groups beside `like`: all of the top, or of the folder in which `like` is."""
        parent = like.rpartition("/")[0]
        return [f"{parent}/{name}" if parent else name for name in self._loader.list_groups(parent)]

    def options(self, group: str) -> list[str]:
        """The names of the options of a group."""
        return list(self._loader.get_group_options(group))

    def explain(self, error: Exception, overrides: Sequence[str], sweep: bool = False) -> str:
        """One line on what Hydra could not compose; in a sweep, an override may have several values."""
        if isinstance(error, MarkedYAMLError) and error.problem_mark:
            return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
        if isinstance(error, MissingConfigException):
            group, _, name = str(error.missing_cfg_file).rpartition("/")
            if group:
                options = self._loader.get_group_options(group)
                listed = ", ".join(options) or "none"
                return f"{group}={name}: no such {group}{near(name, options)} (there are: {listed})"
        for text in overrides:
            if ambiguous(text) and not sweep:
                return f"{text} names several values: add -m to sweep over them, or write a list as key=[a,b]"
        key = getattr(error.__cause__ or error, "full_key", None)
        if isinstance(error.__cause__, MissingMandatoryValue) or isinstance(error, MissingMandatoryValue):
            return f"{key} must be given: {key}=..."
        typed, message = [override.key_or_group for override in map(parse, overrides)], str(error)
        unknown = [word for word in typed if key and word.startswith(key)]
        unknown += [word for word in typed if f"'{word}'" in message or f"{word}=" in message]  # on the defaults list
        if unknown:
            try:
                known = [name for name, _ in keys_of(self.reference(overrides))]
            except (InputError, *COMPOSITION_ERRORS):
                known = []
            return self._unknown(unknown[0], known)
        return first_line(error.__cause__ or error) or first_line(error)

    def _unknown(self, key: str, options: Iterable[str]) -> str:
        """That there is no option `key`, and which of `options`, or of those of other choices, may be meant."""
        known = [name for name in (*options, *self.groups()) if not within(name, "hydra")]
        hint = near(key, known) or near(key.rpartition(".")[2], {name.rpartition(".")[2]: name for name in known})
        if key in known:  # Hydra wants a plus before what adds to a mapping
            hint = f" that takes new entries so: write '+{key}=...'"
        elif choices := self._choices_with(key):
            hint = f"; {' or '.join(choices)} has it"
        return f"there is no option {key}{hint}"


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


def keys_of(cfg: DictConfig | Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of all nodes, inner ones too, and their values as they are written."""
    node: Any = OmegaConf.to_container(cfg) if isinstance(cfg, DictConfig) else cfg
    for name, value in node.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{name}.")


def within(key: str, node: str) -> bool:
    """Whether a dotted key is that of a node, or of something in it."""
    return f"{key}.".startswith(f"{node}.")


def near(word: str, words: Iterable[str]) -> str:
    """ "; did you mean ...?" with the closest of `words` (of a mapping: with its value), or nothing."""
    found = difflib.get_close_matches(word, list(words), n=1)
    if not found:
        return ""
    return f"; did you mean {words[found[0]] if isinstance(words, Mapping) else found[0]}?"


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
