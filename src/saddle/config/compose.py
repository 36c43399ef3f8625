"""Hydra's composition, with every error said in one line that names the near match. Free of torch."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException, ValidationError
from yaml import MarkedYAMLError, YAMLError

from saddle.config.library import Library, keys_of
from saddle.config.ranges import Kind
from saddle.errors import InputError

CONF = Path(__file__).parents[1] / "conf"  # the shipped configs; in a clone a link to those at its top
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)
OF_HYDRA = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode", "hydra.searchpath", "hydra.launcher", "hydra.sweeper")
#: What Lightning says to the processes of a run that it starts.
OF_LIGHTNING = re.compile(r"hydra\.job\.name=train_ddp_process_\d+|hydra\.output_subdir=null")


class Composer:
    """Composes configs of the folder `conf` and of a search path; `config_name` is the primary one, without its ending.

    A context manager, because Hydra keeps one such folder per process.
    """

    def __init__(self, conf: Path, config_name: str, searchpath: Sequence[str] = ()):
        self.conf, self.config_name = conf, config_name
        places = ",".join(quoted(f"file://{path}") for path in searchpath)
        self._always = [f"hydra.searchpath=[{places}]"] if places else []
        self.library = Library(config_name, self._always)
        self._composed: dict[tuple[str, ...], DictConfig] = {}

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
            words = self.read(overrides)
            try:
                cfg = hydra.compose(self.config_name, [*self._always, *words], return_hydra_config=True)
            except COMPOSITION_ERRORS as error:
                raise InputError(self.explain(error, overrides)) from None
            self._settle(cfg, words)
            self._composed[key] = cfg
        return self._composed[key]

    def read(self, overrides: Sequence[str], sweep: bool = False) -> list[str]:
        """The overrides in the words that Hydra takes for what was typed; in a sweep they may have several values.

        A path or a text that reads like a number stays as it is typed, and choosing nothing where nothing is chosen
        leaves things as they are.

        Raises:
            InputError: for what says nothing that is done, or chooses what cannot be.
        """
        read = []
        for text in overrides:
            override = parse(text)
            key = override.key_or_group
            if override.is_sweep_override() and not sweep:
                raise InputError(self._several(override, overrides))
            hydras = key.replace("/", ".")
            if OF_LIGHTNING.fullmatch(text):
                continue
            if within(hydras, "hydra") and not any(within(hydras, taken) for taken in OF_HYDRA):
                raise InputError(f"{text}: nothing reads this option of Hydra's; {', '.join(OF_HYDRA)} are read")
            if not self.is_choice(text):
                read.append(self._as_typed(override, overrides))
            elif not self._chooses_nothing(override, overrides):
                read.append(text)
        return read

    def _chooses_nothing(self, override: Override, overrides: Sequence[str]) -> bool:
        """Whether an override like `experiment=null` leaves things as they are; refuses what is no choice."""
        text, group, value = str(override.input_line), override.key_or_group, override.value()
        options = self.library.options_of(group)
        listed = f"there are: {', '.join(options)}"
        if override.is_sweep_override():
            return False
        if override.is_delete() or value is None:
            others = [other for other in overrides if parse(other).key_or_group != group]
            if value is None and not override.is_delete() and self._choices(others).get(group, "") is None:
                return True
            remedy = f"write {group}=none" if "none" in options else f"choose one of them ({listed})"
            raise InputError(f"{text}: {group} is always one of its choices; {remedy}")
        if isinstance(value, list) and len(value) > 1 and not self.library.takes_several(group):
            raise InputError(
                f"{text}: {group} is one choice, not a list; to try each, sweep: -m {group}={comma(value)}"
            )
        for name in value if isinstance(value, list) else [value]:
            if not isinstance(name, str) or not self.library.has(f"{group}/{name}"):
                name = name if isinstance(name, str) else text.partition("=")[2]
                raise InputError(f"{group}={name}: no such {group}{near(name, options)} ({listed})")
        if override.is_add() and group in self._choices([]):
            raise InputError(f"{text}: {group} is chosen already: leave the plus out: {text.lstrip('+')}")
        return False

    def _choices(self, overrides: Sequence[str]) -> Mapping[str, str | None]:
        """The option that is chosen in each group."""
        return self.compose([text for text in overrides if self.is_choice(text)]).hydra.runtime.choices

    def _as_typed(self, override: Override, overrides: Sequence[str]) -> str:
        """An override with its value quoted, where its kind is a text or a path and it would be read as a number."""
        text, key, value = str(override.input_line), override.key_or_group, override.value()
        group = key.replace(".", "/")
        if isinstance(value, str) and "/" in group and group in self.library.groups(group):
            raise InputError(f"{text}: an option of a group is chosen with a slash: {group}={value}")
        if override.is_delete() or isinstance(value, str | list | dict) and not within(key, "hydra"):
            return text
        kind = self.ranges(overrides).get(key)
        if kind is None or not kind.as_typed:
            return text
        if override.is_sweep_override():
            words = text.partition("=")[2]
            simple = isinstance(value, ChoiceSweep) and value.simple_form and not re.search(r"[\[({'\"]", words)
            return f"{text.partition('=')[0]}={','.join(map(quoted, words.split(',')))}" if simple else text
        if value is not None and not isinstance(value, str):
            value = text.partition("=")[2]
            text = f"{text.partition('=')[0]}={quoted(value)}"
        if within(key, "hydra") and not kind.accepts(value):  # the check sees the rest of the config
            raise InputError(f"{override.input_line}: {kind.fault(value) or f'must be {kind.words}'}")
        return text

    def _several(self, override: Override, overrides: Sequence[str]) -> str:
        """That an override has several values, and how that could be meant."""
        text, key = str(override.input_line), override.key_or_group
        if self.is_choice(text):
            a_list = self.library.takes_several(key)
        else:
            others = [other for other in overrides if other != text and not ambiguous(other)]
            a_list = OmegaConf.is_list(OmegaConf.select(self.reference(others), key))
        hint = f", or write a list as {key}=[{text.partition('=')[2]}]" if a_list else ""
        return f"{text} names several values: add -m to sweep over them{hint}"

    def _settle(self, cfg: DictConfig, overrides: Sequence[str]) -> None:
        """Drop what a file sets for an option that another choice would have; refuse what nothing takes.

        A model or an experiment may set values of any group, such as `penalty.r1.weight`; they go with `penalty=[r1]`.
        """
        files = self.library.files(self._choosing(overrides))
        for path, package in files:
            for key in (f"{package}.{name}".lstrip(".") for name in self.library.keys(path)):
                if key.startswith("hydra.") and not any(within(key, of) or within(of, key) for of in OF_HYDRA):
                    raise InputError(
                        f"conf/{path}.yaml: nothing reads {key}; of Hydra's, {', '.join(OF_HYDRA)} are read"
                    )
        values = [parse(text) for text in overrides if not self.is_choice(text)]
        for word in (word for word in values if word.is_add()):  # Hydra lets it be where the value is null
            there = (name for name, node in keys_of(self.reference(overrides)) if not isinstance(node, Mapping))
            if word.key_or_group in there:
                raise InputError(self._plus(word))
        typed = {word.key_or_group: word.is_add() or word.is_force_add() for word in values}
        strays = self._strays(cfg, files)
        for key in strays:
            named = [other for other in typed if within(key, other) or within(other, key)]
            if any(typed[other] for other in named) and self._takes_more(key, overrides, cfg):
                continue
            if named or not self.library.options_with(key)[1]:
                known = [name for name, _ in keys_of(cfg) if not any(within(name, stray) for stray in strays)]
                raise InputError(self._unknown([*named, key][0], known, overrides))
            parent, _, name = key.rpartition(".")
            with open_dict(cfg):
                del OmegaConf.select(cfg, parent)[name]

    def _takes_more(self, key: str, overrides: Sequence[str], cfg: DictConfig | None = None) -> bool:
        """Whether `key` may be added: in a mapping that takes more, or a part of one's own in a group of several.

        Raises:
            InputError: for a part in `cfg` that does not say what it is.
        """
        kinds = self.ranges(overrides)
        if any(kind.more and within(key, node) and key != node for node, kind in kinds.items()):
            return True
        group, _, part = key.partition(".")
        if not self.library.takes_several(group) or not part or "." in part or part in self.reference(overrides)[group]:
            return False
        if cfg is not None and not OmegaConf.select(cfg, f"{key}._target_"):
            raise InputError(
                f"{key} says nothing of what it is: give it a _target_, e.g. '+{key}._target_=package.Class'"
            )
        return True

    def _strays(self, cfg: DictConfig, files: Sequence[tuple[str, str]]) -> list[str]:
        """The outermost keys of values for which no file has an option; a file has those of its own group's node."""
        chosen = (key.partition("@")[2] or key.replace("/", ".") for key in cfg.hydra.runtime.choices)
        nodes = {*self.library.groups(), *chosen}
        known = dict.fromkeys(nodes, False)  # true: takes any entries
        for path, package in files:
            home = package or path.rpartition("/")[0].partition("/")[0]
            for name, free in self.library.keys(path).items():
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

    def _choosing(self, overrides: Sequence[str]) -> list[str]:
        return [text for text in overrides if self.is_choice(text)]

    def reference(self, overrides: Sequence[str]) -> DictConfig:
        """The config of the chosen groups alone, without the values on the command line."""
        return self.compose(self._choosing(overrides))

    def ranges(self, overrides: Sequence[str]) -> dict[str, Kind]:
        """What the comments of the chosen yaml files say that options must be, by dotted key."""
        choices = [text for text in self._choosing(overrides) if parse(text).value() is not None]
        try:
            return self.library.kinds(choices)
        except COMPOSITION_ERRORS as error:
            raise InputError(self.explain(error, choices)) from None

    def is_choice(self, override: str) -> bool:
        """Whether an override chooses an option of a group (`model=dcgan`), rather than sets a value."""
        key = parse(override).key_or_group
        return key in self.library.groups(key)

    def explain(self, error: Exception, overrides: Sequence[str]) -> str:
        """One line on what Hydra could not compose."""
        if isinstance(error, MarkedYAMLError) and error.problem_mark:
            return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
        if isinstance(error, MissingConfigException):
            group, _, name = str(error.missing_cfg_file).rpartition("/")
            if group:
                options = self.library.options_of(group)
                return (
                    f"{group}={name}: no such {group}{near(name, options)} (there are: {', '.join(options) or 'none'})"
                )
        key = getattr(error.__cause__ or error, "full_key", None)
        if isinstance(error.__cause__, MissingMandatoryValue) or isinstance(error, MissingMandatoryValue):
            return f"{key} must be given: {key}=..."
        message, choices = str(error), self._choosing(overrides)
        for text in choices:
            group = parse(text).key_or_group
            if f"'{group}'" in message or f"'{group}@" in message:  # on the defaults list
                found = self._choices([other for other in choices if parse(other).key_or_group != group])
                parent, known = group.rpartition("/")[0], [name for name in found if not re.search(r"[/@]", name)]
                where = f"{parent}={found[parent]}" if parent in found else f"this command (it has {', '.join(known)})"
                return f"{text}: there is no {group} to choose in {where}"
        values = [parse(text) for text in overrides if text not in choices]
        typed = [override for override in values if key and override.key_or_group.startswith(key)]
        typed += [each for each in values if f"'{each.key_or_group}'" in message or f"{each.key_or_group}=" in message]
        if typed and typed[0].is_delete():
            key = typed[0].key_or_group
            return f"{typed[0].input_line}: an option cannot be left out: set it, {key}=..., or say nothing of it"
        if typed and isinstance(error.__cause__ or error, ValidationError):
            return f"{typed[0].input_line}: {first_line(error.__cause__ or error)}"
        if typed:
            known = [name for name, _ in keys_of(self.reference(overrides))]
            if typed[0].is_add() and typed[0].key_or_group in known:
                return self._plus(typed[0])
            return self._unknown(typed[0].key_or_group, known, overrides)
        return first_line(error.__cause__ or error) or first_line(error)

    @staticmethod
    def _plus(override: Override) -> str:
        text = str(override.input_line)
        return f"{text}: there is an option {override.key_or_group}: leave the plus out: {text.lstrip('+')}"

    def _unknown(self, key: str, options: Iterable[str], overrides: Sequence[str]) -> str:
        """That there is no option `key`, and which of `options`, or of those of other choices, may be meant."""
        known = [name for name in (*options, *self.library.groups()) if not within(name, "hydra")]
        if key in known:
            return f"{key} takes new entries with a plus: write '+{key}=...'"
        group, choices, parts = self.library.options_with(key)
        if parts:
            listed = [*self.reference(overrides)[group], key.split(".")[group.count("/") + 1]]
            hint = f", as {listed[-1]} is not chosen: add {group}=[{comma(listed)}]"
        elif choices:
            several = [f"{group}={each}" for each in choices]
            hint = f"; {' or '.join([*several[:5], *['another'] * (len(several) > 5)])} has it"
        elif self._takes_more(key, overrides) or self._takes_more(".".join(key.split(".")[:2]), overrides):
            hint = f"; to add it write '+{key}=...'"
        else:
            parent, _, name = key.rpartition(".")
            ends = {other.rpartition(".")[2]: other for other in known}
            beside = {end: f"{parent}.{end}".lstrip(".") for end in ends if f"{parent}.{end}".lstrip(".") in known}
            hint = near(name, beside, 0.65) or near(name, ends, 0.75) or near(key, known, 0.8)
        return f"there is no option {key}{hint}"


def parse(override: str) -> Override:
    """Hydra's reading of one override.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        read = OverridesParser.create().parse_override(override)
    except HydraException:
        read = None
    if read is None or not read.key_or_group:
        hint = "write key=value, and quote a value with special characters, e.g. \"key='a=b'\""
        raise InputError(f"cannot read {override!r}; {hint}")
    return read


def value_of(overrides: Sequence[str], key: str) -> Any:
    """The last value that a list of overrides gives to `key`, a path or a list; a number as it is typed.

    None for null, or without one.
    """
    values = [override for override in map(parse, overrides) if override.key_or_group == key]
    value = values[-1].value() if values else None
    return str(values[-1].input_line).partition("=")[2] if isinstance(value, int | float) else value


def quoted(text: str, quote: Quote = Quote.single) -> str:
    """A text as a value on Hydra's command line."""
    return QuotedString(text, quote).with_quotes()


def ambiguous(override: str) -> bool:
    """Whether an override is a sweep over several values."""
    return parse(override).is_sweep_override()


def comma(words: Iterable[object]) -> str:
    """Words as a list on the command line has them between its brackets."""
    return ",".join(map(str, words))


def within(key: str, node: str) -> bool:
    """Whether a dotted key is that of a node, or of something in it."""
    return f"{key}.".startswith(f"{node}.")


def near(word: str, words: Iterable[str], likeness: float = 0.6) -> str:
    """ "; did you mean ...?" with the closest of `words` (of a mapping: with its value), or nothing."""
    found = difflib.get_close_matches(word, [each for each in words if each != "none"], n=1, cutoff=likeness)
    if not found:
        return ""
    return f"; did you mean {words[found[0]] if isinstance(words, Mapping) else found[0]}?"


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
