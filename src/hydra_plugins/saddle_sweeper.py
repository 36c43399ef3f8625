"""Where Hydra finds the sweepers of conf/hydra/sweeper: it takes plugins from this package only."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from saddle.sweep.search.agent import write_wandb_sweep
from saddle.sweep.search.start import begin


class SearchSweeper(Sweeper):
    """Lets optuna choose the cells: hydra/sweeper=random, tpe or nsga2. Its options are read from the config."""

    def __init__(self, **options: Any):
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook: keep the config of the sweep."""
        self.config = config

    def sweep(self, arguments: list[str]) -> None:
        """Check the space, then run the search.

        Raises:
            InputError: if a cell is wrong; then no job has started.
        """
        assert self.config is not None
        begin(self.config, arguments)


class WandbSweeper(SearchSweeper):
    """Runs nothing, and writes the sweep for the agent of Weights & Biases: hydra/sweeper=wandb."""

    def sweep(self, arguments: list[str]) -> None:
        """Check the space, then write wandb_sweep.yaml into the sweep folder.

        Raises:
            InputError: if a cell is wrong.
        """
        assert self.config is not None
        write_wandb_sweep(self.config, arguments)
