"""What Hydra knows of Saddle's sweeps: a launcher and two sweepers. Free of torch.

Hydra loads whatever is in the package hydra_plugins into every application of an environment, and takes no other for a
plugin. Saddle puts nothing there: its commands tell the Hydra of their own process of these.
"""

from __future__ import annotations

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from saddle.sweep.launcher import Processes
from saddle.sweep.search.agent import write_wandb_sweep
from saddle.sweep.search.start import begin


class SearchSweeper(Sweeper):
    """Lets optuna choose the cells: hydra/sweeper=random, tpe or nsga2. Its options are read from the config.

    All cells are checked first: where one is wrong, an InputError is raised and no job has started.
    """

    work = staticmethod(begin)

    def __init__(self, **options: Any):
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook: keep the config of the sweep."""
        self.config = config

    def sweep(self, arguments: list[str]) -> None:
        """Hydra's hook: work on the overrides of the command line."""
        assert self.config is not None
        self.work(self.config, arguments)


class WandbSweeper(SearchSweeper):
    """Runs nothing, and writes wandb_sweep.yaml for the agent of Weights & Biases: hydra/sweeper=wandb."""

    work = staticmethod(write_wandb_sweep)


OURS = {f"{plugin.__module__}.{plugin.__name__}": plugin for plugin in (Processes, SearchSweeper, WandbSweeper)}


def register() -> None:
    """Make them plugins of the Hydra of this process."""
    hydra = Plugins.instance()
    for plugin in OURS.values():
        hydra.register(plugin)
    theirs = Plugins.is_in_toplevel_plugins_module  # is asked before a plugin is made
    hydra.is_in_toplevel_plugins_module = lambda name: name in OURS or theirs(name)  # type: ignore[method-assign]
