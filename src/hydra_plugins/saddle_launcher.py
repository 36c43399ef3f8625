"""Where Hydra finds the launcher of `hydra/launcher=processes`: it takes plugins from this package only."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from saddle.sweep.launcher import Processes


class ProcessLauncher(Processes):
    """Runs each job of a sweep as a child process tree of its own."""


@dataclass
class ProcessLauncherConf:
    """What `hydra/launcher=processes` stands for; conf/hydra/launcher has others, which differ in the place."""

    _target_: str = "hydra_plugins.saddle_launcher.ProcessLauncher"
    _recursive_: bool = False
    place: Any = None


ConfigStore.instance().store(group="hydra/launcher", name="processes", node=ProcessLauncherConf, provider="saddle")
