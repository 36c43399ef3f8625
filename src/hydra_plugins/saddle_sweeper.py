"""Where Hydra finds the sweepers of conf/hydra/sweeper: it takes plugins from this package only."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

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
