"""Which config a resumed run goes on with. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict

from saddle.config.check import check_rules, checked, plain
from saddle.config.compose import Composer, parse, value_of
from saddle.errors import InputError
from saddle.run.folder import RunFolder

CHANGEABLE = ("iterations", "minutes", "trainer", "logger")


def resumed(composer: Composer, overrides: Sequence[str]) -> tuple[dict[str, Any], RunFolder]:
    """The config and the folder of the run that `resume=DIR` names.

    The config is the one in the folder; what the command line changes is composed and checked as in a new run. What
    was computed from `iterations`, `minutes` or the trainer when the run began keeps its value.

    Raises:
        InputError: if DIR holds no run, or anything is changed that must stay.
    """
    folder = RunFolder(str(value_of(overrides, "resume")))
    config = folder.config()
    refuse_changes(overrides, folder.path)
    changes = [text for text in overrides if root_of(text) in CHANGEABLE]
    shipped = composer.options("logger")
    loggers = [name for name in config.choices.get("logger") or [] if name in shipped]
    choices = [f"trainer={config.choices.trainer}", f"logger=[{','.join(loggers)}]"]
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


def root_of(override: str) -> str:
    """The first part of an override's key."""
    return parse(override).key_or_group.replace("/", ".").partition(".")[0]


def refuse_changes(overrides: Sequence[str], folder: Path) -> None:
    """Raise an InputError that names an override that would change what makes the run what it is."""
    for text in overrides:
        parsed = parse(text)
        if parsed.key_or_group == "hydra.run.dir" and Path(str(parsed.value())).resolve() != folder.resolve():
            raise InputError(f"{text}: a resumed run stays in its folder {folder}")
        if root_of(text) not in (*CHANGEABLE, "resume", "hydra"):
            raise InputError(
                f"{text} cannot be changed in a run that is resumed: only {', '.join(CHANGEABLE)} can; "
                "leave it out, or start a new run without resume="
            )
