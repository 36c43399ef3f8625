"""Where Hydra finds the launcher of `hydra/launcher=processes`: it takes plugins from this package only."""

from hydra.core.config_store import ConfigStore

from saddle.sweep.launcher import Processes


class ProcessLauncher(Processes):
    """Runs each job of a sweep as a child process tree of its own."""


# what `hydra/launcher=processes` stands for; conf/hydra/launcher has others, which differ in the place
NODE = {"_target_": "hydra_plugins.saddle_launcher.ProcessLauncher", "_recursive_": False, "place": None}
ConfigStore.instance().store(group="hydra/launcher", name="processes", node=NODE, provider="saddle")
