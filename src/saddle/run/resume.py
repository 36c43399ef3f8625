"""Which config a resumed run goes on with. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from saddle.config.check import check_ranges, check_rules, check_types, checked, get, plain
from saddle.config.compose import Composer, keys_of, near, parse, value_of, within
from saddle.errors import InputError
from saddle.run.folder import RunFolder, refuse_links

NAME = re.compile(r"(?!hydra)\w[\w-]*([/.@]\w[\w-]*)*")
CHANGEABLE = ("iterations", "minutes", "trainer", "logger", "data.path", "data.workers")


def resumed(composer: Composer, overrides: Sequence[str], folder: RunFolder) -> dict[str, Any]:
    """The config of the run in a folder, with which it goes on.

    It is the one in the folder, checked as that of a new run; what the command line changes is composed and checked
    too. What was computed from `iterations`, `minutes` or the trainer when the run began keeps its value.

    Raises:
        InputError: if the folder holds no run, its config is wrong, or anything is changed that must stay.
    """
    changes = [text for text in overrides if changeable(key_of(text))]
    config = folder.config_to_build(trusted(overrides), [key_of(text) for text in changes if composer.is_choice(text)])
    refuse_links(folder.path, trusted(overrides))
    refuse_changes(overrides, folder.path)
    choices = check_config(composer, config, folder.config_file)
    folder.refuse_folders()
    others = [text for text in choices if key_of(text) not in map(key_of, changes)]
    fresh = OmegaConf.create(checked(composer, [*others, *changes], rules=False))
    with open_dict(config):
        for text in sorted(changes, key=composer.is_choice, reverse=True):  # a group first, then values inside it
            key = parse(text).key_or_group
            OmegaConf.update(config, key, OmegaConf.select(fresh, key), merge=False, force_add=True)
            if composer.is_choice(text):
                config.choices[key] = fresh.choices[key]
    result = plain(config)
    check_rules(result)
    return result


def trusted(overrides: Sequence[str]) -> list[str]:
    """What a command line trusts: the packages, and the places that are written to, of `trust=`."""
    given = value_of(overrides, "trust")
    if not isinstance(given, list | None) or not all(isinstance(name, str) for name in given or []):
        raise InputError(f"trust={given}: give a list of packages, e.g. trust=[mypackage]")
    return given or []


def key_of(override: str) -> str:
    """The dotted key of an override."""
    return parse(override).key_or_group.replace("/", ".")


def changeable(key: str) -> bool:
    """Whether what is under a dotted key does not touch the numbers of training."""
    return any(within(key, other) for other in CHANGEABLE)


def refuse_changes(overrides: Sequence[str], folder: Path) -> None:
    """Raise an InputError that names an override that would change what makes the run what it is."""
    for text in overrides:
        parsed, key = parse(text), key_of(text)
        if parsed.key_or_group == "hydra.run.dir" and Path(str(parsed.value())).resolve() != folder.resolve():
            raise InputError(f"{text}: a resumed run stays in its folder {folder}")
        if not changeable(key) and key.partition(".")[0] not in ("resume", "trust", "hydra"):
            raise InputError(
                f"{text} cannot be changed in a run that is resumed: only {', '.join(CHANGEABLE)} can; "
                "leave it out, or start a new run without resume="
            )


# ---------------------------------------------------------------------------------------- a config that may be edited


def check_config(composer: Composer, config: DictConfig, file: Path) -> list[str]:
    """Check a run folder's config against the yaml files of its choices, as that of a new run; the choices, as typed.

    Raises:
        InputError: naming the file and what is wrong.
    """
    try:
        found = plain(config)
        choices = choices_of(composer, found.pop("choices", None))
        reference = plain(composer.reference(choices))
        refuse_unknown(found, reference)
        check_types(found, reference)
        check_ranges(found, composer.ranges(choices), reference)
        check_rules(plain(config))
    except InputError as error:
        why = "it was edited, or written by another version of the code, or with another --config-dir"
        raise InputError(f"{file}: {error}; {why}") from None
    return choices


def choices_of(composer: Composer, choices: Any) -> list[str]:
    """The choices that a config records, as they would be typed. One that follows from another is left out."""
    if not isinstance(choices, Mapping):
        raise InputError("choices must be there: the options that the run was made of")
    typed = []
    for group, option in choices.items():
        if not (are_names(group) and are_names(option)):
            raise InputError(f"choices.{group}={option} is no name of an option")
        if isinstance(option, list):  # entries of one's own have no file
            known = [name for name in option if name in composer.library.options_of(group)]
            typed.append(f"{group}=[{','.join(known)}]")
        elif option is not None and "@" not in str(group):
            typed.append(f"{group}={option}")
    return typed


def are_names(choice: Any) -> bool:
    """Whether what is chosen is null, or names of options of a group; a path would be read as any folder's yaml."""
    return all(name is None or NAME.fullmatch(str(name)) for name in (choice if isinstance(choice, list) else [choice]))


def refuse_unknown(config: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    """Raise an InputError that names an option that is not there, and the near match.

    Inside a group one's own options are allowed (`+group.name=value`), unless they look like a slip of the pen.
    """
    for key, value in keys_of(config):
        parent, _, name = key.rpartition(".")
        beside = get(reference, parent) if parent else reference
        if not isinstance(beside, Mapping) or name in beside:
            continue
        meant = near(name, [str(other) for other in beside])
        if not parent or (meant and not isinstance(value, Mapping)):
            raise InputError(f"there is no option {key}{meant}")


def lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config stays the same for the whole of a run; a checkpoint keeps it."""

    def kept(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        inner = {name: (f"{prefix}{name}", value) for name, value in node.items()}
        return {
            name: kept(value, f"{key}.") if isinstance(value, Mapping) else value
            for name, (key, value) in inner.items()
            if not changeable(key)
        }

    return kept({name: value for name, value in config.items() if name not in ("choices", "resume", "trust")}, "")


def refuse_edits(known: Mapping[str, Any], config: Mapping[str, Any], file: Path) -> None:
    """Raise an InputError that names what a config has otherwise than the run was trained with."""
    trained, found = dict(keys_of(known)), dict(keys_of(lasting(config)))
    for key in {**trained, **found}:
        if trained.get(key) != found.get(key) and not (
            isinstance(trained.get(key), Mapping) and isinstance(found.get(key), Mapping)
        ):
            if key not in found:
                raise InputError(f"{file} lacks {key}={trained[key]}, which the run was trained with: put it back")
            remedy = f"put {trained[key]} back" if key in trained else "leave it out"
            raise InputError(f"{file}: {key}={found[key]} is not what the run was trained with: {remedy}")
