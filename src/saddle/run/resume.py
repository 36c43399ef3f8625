"""Which config a resumed run goes on with. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict

from saddle.config.check import check_rules, checked, plain
from saddle.config.compose import Composer, parse, value_of
from saddle.errors import InputError
from saddle.run.folder import RunFolder, refuse_links

CHANGEABLE = ("iterations", "minutes", "trainer", "logger")


def resumed(composer: Composer, overrides: Sequence[str]) -> tuple[dict[str, Any], RunFolder]:
    """The config and the folder of the run that `resume=DIR` names.

    The config is the one in the folder; what the command line changes is composed and checked as in a new run. What
    was computed from `iterations`, `minutes` or the trainer when the run began keeps its value.

    Raises:
        InputError: if DIR holds no run, or anything is changed that must stay.
    """
    folder = RunFolder(str(value_of(overrides, "resume")))
    changes = [text for text in overrides if root_of(text) in CHANGEABLE]
    replaced = [root_of(text) for text in changes if composer.is_choice(text)]
    config = folder.config_to_build(trusted(overrides), replaced)
    refuse_links(folder.path)
    refuse_changes(overrides, folder.path)
    known, trainer = composer.library.options_of("trainer"), config.choices.get("trainer")
    loggers = [name for name in config.choices.get("logger") or [] if name in composer.library.options_of("logger")]
    choices = [f"logger=[{','.join(loggers)}]"]
    if "trainer" not in replaced:
        if trainer not in known:  # a path would be read as a yaml of any folder
            listed = ", ".join(known)
            raise InputError(f"{folder.config_file}: choices.trainer={trainer} is no name of an option: {listed}")
        choices.append(f"trainer={trainer}")
    fresh = OmegaConf.create(checked(composer, [*choices, *changes], rules=False))
    with open_dict(config):
        for text in sorted(changes, key=composer.is_choice, reverse=True):  # a group first, then values inside it
            key = parse(text).key_or_group
            OmegaConf.update(config, key, OmegaConf.select(fresh, key), merge=False, force_add=True)
            if composer.is_choice(text):
                config.choices[key] = fresh.choices[key]
    result = plain(config)
    check_rules(result)
    return result, folder


def trusted(overrides: Sequence[str]) -> list[str]:
    """What a command line trusts: the packages, and the places of loggers and callbacks, of `trust=`."""
    given = value_of(overrides, "trust")
    if not isinstance(given, list | None) or not all(isinstance(name, str) for name in given or []):
        raise InputError(f"trust={given}: give a list of packages, e.g. trust=[mypackage]")
    return given or []


def root_of(override: str) -> str:
    """The first part of an override's key."""
    return parse(override).key_or_group.replace("/", ".").partition(".")[0]


def refuse_changes(overrides: Sequence[str], folder: Path) -> None:
    """Raise an InputError that names an override that would change what makes the run what it is."""
    for text in overrides:
        parsed = parse(text)
        if parsed.key_or_group == "hydra.run.dir" and Path(str(parsed.value())).resolve() != folder.resolve():
            raise InputError(f"{text}: a resumed run stays in its folder {folder}")
        if root_of(text) not in (*CHANGEABLE, "resume", "trust", "hydra"):
            raise InputError(
                f"{text} cannot be changed in a run that is resumed: only {', '.join(CHANGEABLE)} can; "
                "leave it out, or start a new run without resume="
            )
