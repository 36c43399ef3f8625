"""What `conf` and a search path hold: groups, their options, and what the yaml of each has. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import ConfigDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from saddle.config.ranges import Kind, ranges_of


class Library:
    """The yaml files that a composition may read.

    Args:
        config_name: the primary file, without its ending.
        always: overrides that every composition has.
    """

    def __init__(self, config_name: str, always: Sequence[str]):
        self.config_name, self.always = config_name, always
        self._groups: dict[str, list[str]] = {}
        self._chosen: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        self._read: dict[str, dict[str, bool]] = {}
        self._kinds: dict[tuple[str, str], dict[str, Kind]] = {}

    @property
    def _loader(self) -> Any:
        """Hydra's, of this context or, in a sweep, of the one that Hydra has made."""
        return GlobalHydra.instance().config_loader()

    @cached_property
    def _repository(self) -> Any:
        """Hydra's reader of yaml files, in `conf` and in the search path."""
        return self._loader._parse_overrides_and_create_caching_repo(self.config_name, self.always)[1]

    def groups(self, like: str = "") -> list[str]:
        """The groups beside `like`: all of the top, or of the folder in which `like` is."""
        parent = like.rpartition("/")[0]
        if parent not in self._groups:
            listed = self._loader.list_groups(parent)
            self._groups[parent] = [f"{parent}/{name}" if parent else name for name in listed]
        return self._groups[parent]

    def options_of(self, group: str) -> list[str]:
        """The options of a group, without those in folders below it."""
        return list(self._loader.get_group_options(group))

    def has(self, path: str) -> bool:
        """Whether there is a file, e.g. of an option: `loss/hinge`."""
        return bool(self._repository.config_exists(path))

    def takes_several(self, group: str) -> bool:
        """Whether options of a group can be combined: the primary file says so by an empty mapping, `penalty: {}`."""
        return group in self.groups(group) and self.keys(self.config_name).get(group, False)

    def keys(self, path: str) -> dict[str, bool]:
        """The dotted keys of a yaml file and of those that it is based on; whether each takes any entries."""
        if path not in self._read:
            file = self._repository.load_config(path)
            self._read[path] = {key: not value or not isinstance(value, dict) for key, value in keys_of(file.config)}
            for other in (str(each.path) for each in file.defaults_list if isinstance(each, ConfigDefault)):
                base = (other if other.startswith("/") else f"{path.rpartition('/')[0]}/{other}").lstrip("/")
                if self.has(base):
                    self._read[path] |= self.keys(base)
        return self._read[path]

    def options_with(self, key: str) -> tuple[str, list[str], bool]:
        """The group, and its options, that have a dotted key; whether each option is a part of its own name in it."""
        parts = key.split(".")
        for end in range(len(parts) - 1, 0, -1):
            group, name = "/".join(parts[:end]), ".".join(parts[end:])
            found = [option for option in self.options_of(group) if name in self.keys(f"{group}/{option}")]
            if found:
                return group, found, parts[end] in found
        return "", [], False

    def files(self, choices: Sequence[str]) -> list[tuple[str, str]]:
        """The yaml files of chosen options, without their ending, and the dotted node that each is put under."""
        if tuple(choices) not in self._chosen:
            listed = create_defaults_list(
                repo=self._repository,  # which has read most of the files already
                config_name=self.config_name,
                overrides_list=OverridesParser.create().parse_overrides([*self.always, *choices]),
                prepend_hydra=True,
                skip_missing=False,
            ).defaults
            files = ((str(file.config_path), (file.package or "").replace("_global_", "")) for file in listed)
            own = ("hydra/launcher/", "hydra/sweeper/")
            kept = [file for file in files if not file[0].startswith("hydra/") or file[0].startswith(own)]
            self._chosen[tuple(choices)] = kept
        return self._chosen[tuple(choices)]

    def kinds(self, choices: Sequence[str]) -> dict[str, Kind]:
        """What the comments in the yaml files of chosen options say of them, by dotted key."""
        found: dict[str, Kind] = {}
        for name, package in self.files(choices):
            if (name, package) not in self._kinds:
                path = Path(self._repository.load_config(name).path.removeprefix("file://"), f"{name}.yaml")
                self._kinds[name, package] = ranges_of(path, package) if path.is_file() else {}
            found |= self._kinds[name, package]
        return found


def keys_of(cfg: DictConfig | Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of all nodes, inner ones too, and their values as they are written."""
    node: Any = OmegaConf.to_container(cfg) if isinstance(cfg, DictConfig) else cfg
    for name, value in node.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{name}.")
