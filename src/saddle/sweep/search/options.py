"""How it is searched: objectives, sampler, pruner, and the check of all that before the first job. Free of torch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.errors import HydraException

from saddle.config import ranges
from saddle.config.check import get, unproduced
from saddle.config.compose import near
from saddle.config.instantiate import instantiate
from saddle.errors import InputError
from saddle.sweep.search.space import Space, Values, optuna

DIRECTIONS = ("minimize", "maximize")

Check = Callable[[Sequence[str]], Mapping[str, Any]]  # of a job's overrides; raises InputError, or returns the config


@dataclass(frozen=True)
class Objective:
    """A score that cells are compared by.

    Args:
        score: a key of results.json whose value is a number.
        direction: minimize or maximize.
        failed: what a seed that failed or diverged counts as; None: its cell is told as failed.
    """

    score: str
    direction: str = "minimize"
    failed: float | None = None

    def value(self, results: Mapping[str, Any]) -> float | None:
        """What a seed that has ended counts as, or None."""
        value = results.get(self.score)
        good = results.get("status") == "done" and not results.get("diverged")
        return float(value) if good and isinstance(value, int | float) and math.isfinite(value) else self.failed


@dataclass(frozen=True)
class Options:
    """The options of a search: those of conf/hydra/sweeper/search.yaml."""

    trials: int
    objectives: tuple[Objective, ...]
    sampler: Values
    pruner: Values | None = None
    seed: int = 0

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Options:
        """Check and read the options.

        Raises:
            InputError: naming the first that is wrong.
        """
        for key, low in (("trials", 1), ("seed", 0)):
            if not ranges.is_int(given.get(key)) or given[key] < low:
                raise InputError(f"hydra.sweeper.{key}={given.get(key)}: must be a whole number of at least {low}")
        listed = given.get("objectives")
        if not isinstance(listed, list) or not listed:
            raise InputError("hydra.sweeper.objectives: must be a list of {score: ..., direction: ..., failed: ...}")
        objectives = tuple(_objective(entry) for entry in listed)
        pruner = given.get("pruner")
        if pruner and len(objectives) > 1:
            raise InputError("hydra.sweeper.pruner: only a search with one objective can prune; set it to null")
        for key, what in (("sampler", given.get("sampler")), ("pruner", pruner)):
            if (key == "sampler" or what is not None) and not (isinstance(what, dict) and what.get("_target_")):
                raise InputError(f"hydra.sweeper.{key}={what}: must have a _target_ such as optuna.{key}s....")
        return cls(given["trials"], objectives, dict(given["sampler"]), pruner, given["seed"])


def _objective(entry: Any) -> Objective:
    known = ("score", "direction", "failed")
    if not isinstance(entry, dict) or not isinstance(entry.get("score"), str):
        raise InputError(f"hydra.sweeper.objectives: {entry} must be like {{score: eval/frechet, direction: minimize}}")
    for key in entry:
        if key not in known:
            raise InputError(f"hydra.sweeper.objectives: there is no option {key}{near(key, known)}")
    objective = Objective(**entry)
    if objective.direction not in DIRECTIONS:
        raise InputError(
            f"hydra.sweeper.objectives: direction={objective.direction}: must be {' or '.join(DIRECTIONS)}"
        )
    if objective.failed is not None and not ranges.is_number(objective.failed):
        raise InputError(f"hydra.sweeper.objectives: failed={objective.failed}: must be a number, or null")
    return objective


def make(what: Mapping[str, Any], of: str, **more: Any) -> Any:
    """A sampler or a pruner, `of` the class of optuna's.

    Raises:
        InputError: if it cannot be made.
    """
    kinds = {"sampler": optuna().samplers.BaseSampler, "pruner": optuna().pruners.BasePruner}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "experimental"
            return instantiate(dict(what), kinds[of], **more)
    except HydraException as error:
        raise InputError(f"{what.get('_target_')}: {str(error.__cause__ or error).splitlines()[0]}") from None


def validate(space: Space, options: Options, check: Check) -> int:
    """Check the space, and the configs of cells all over it; how many jobs run at once.

    Raises:
        InputError: naming the cell that is wrong.
    """
    for axis in space.axes:
        axis.distribution()
    make(options.sampler, "sampler", seed=options.seed)
    if options.pruner:
        make(options.pruner, "pruner")
    at_once = 1
    for values in space.corners():
        try:
            config = check([*space.fixed, *space.jobs(values)[0]])
            for score in (objective.score for objective in options.objectives):
                if score.startswith("eval/") and (missing := unproduced(config, score)):
                    raise InputError(f"hydra.sweeper.objectives: {missing}")
        except InputError as error:
            raise InputError(f"cell ({' '.join(space.varied(values))}): {error}") from None
        at_once = get(config, "study.jobs") or 1
    return at_once
