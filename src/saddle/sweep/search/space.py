"""What is searched: the options that vary, and what each may be. Free of torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from saddle.config.compose import parse
from saddle.errors import InputError

AT_MOST_CHECKED = 32  # cells whose config is checked before the first job

Values = dict[str, Any]  # of the axes, by key


def optuna() -> Any:
    """The package optuna, quiet.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import optuna as package
    except ImportError:
        raise InputError("a search needs optuna: pip install 'saddle-gan[optuna]'") from None
    package.logging.set_verbosity(package.logging.WARNING)
    return package


@dataclass(frozen=True)
class Axis:
    """What one option may be.

    Args:
        key: of the option, or a group.
        values: of a choice, as on the command line; empty for numbers.
        low, high: the ends of a range or an interval, both included.
        step: of a range; None for an interval.
        log: even in the logarithm.
    """

    key: str
    values: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    @classmethod
    def of(cls, override: Override) -> Axis:
        """The axis of an override with several values.

        Raises:
            InputError: if it has none.
        """
        sweep, key = override.value(), override.get_key_element()
        if isinstance(sweep, ChoiceSweep):
            return cls(key, tuple(dict.fromkeys(override.sweep_string_iterator())))
        if isinstance(sweep, RangeSweep):
            numbers = [*sweep.range()]
            if not numbers:
                raise InputError(f"{override.input_line}: the range is empty")
            return cls(key, (), min(numbers), max(numbers), abs(sweep.step), "log" in sweep.tags)
        if isinstance(sweep, IntervalSweep):
            assert sweep.start is not None and sweep.end is not None
            return cls(key, (), sweep.start, sweep.end, None, "log" in sweep.tags)
        raise InputError(f"{override.input_line}: a search takes a,b,c, choice(...), range(...) or interval(...)")

    @property
    def whole(self) -> bool:
        """The values are whole numbers."""
        return not self.values and all(isinstance(end, int) for end in (self.low, self.high, self.step or 0))

    @property
    def corners(self) -> tuple[Any, ...]:
        """All values of a choice; the ends of anything else."""
        return self.values or tuple(dict.fromkeys((self.low, self.high)))

    def distribution(self) -> Any:
        """The axis in optuna's words.

        Raises:
            InputError: if there is no such axis, e.g. a logarithm of 0.
        """
        distributions = optuna().distributions
        try:
            if self.values:
                return distributions.CategoricalDistribution(self.values)
            if self.whole:
                return distributions.IntDistribution(
                    int(self.low), int(self.high), log=self.log, step=int(self.step or 1)
                )
            return distributions.FloatDistribution(self.low, self.high, log=self.log, step=self.step)
        except ValueError as error:
            raise InputError(f"{self.key}: {error}") from None


@dataclass(frozen=True)
class Space:
    """What is searched: overrides that all jobs have, the axes, and the seeds of each cell."""

    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]
    seeds: tuple[str, ...] = ()

    @classmethod
    def read(cls, texts: Sequence[str]) -> Space:
        """The space of a list of overrides, of which the last of each key counts.

        Those with several values are axes, but for `seed`, which repeats each cell.

        Raises:
            InputError: if nothing is searched, or in a way that is not known.
        """
        last = {override.get_key_element(): override for override in map(parse, texts)}
        swept = {key: override for key, override in last.items() if override.is_sweep_override()}
        fixed = [f"{key}={override.get_value_element_as_str()}" for key, override in last.items() if key not in swept]
        seeds: tuple[str, ...] = ()
        try:
            if "seed" in swept:
                override = swept.pop("seed")
                if not override.is_discrete_sweep():
                    raise InputError(f"{override.input_line}: seeds repeat each cell; list them, e.g. seed=0,1,2")
                seeds = tuple(dict.fromkeys(override.sweep_string_iterator()))
            axes = tuple(map(Axis.of, swept.values()))
        except HydraException as error:
            raise InputError(str(error)) from None
        if not axes:
            raise InputError("there is nothing to search: give an option several values, e.g. model.g_lr=1e-4,1e-3")
        return cls((*fixed,), axes, seeds)

    def varied(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a cell that are its own, in the order of the axes."""
        cell = [(axis.key, values[axis.key]) for axis in self.axes]
        return [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in cell]

    def jobs(self, values: Mapping[str, Any]) -> list[list[str]]:
        """What varies in the jobs of a cell: one job per seed, or one."""
        return [[*self.varied(values), f"seed={seed}"] for seed in self.seeds] or [self.varied(values)]

    def corners(self) -> Iterator[Values]:
        """Cells whose configs show what is wrong with the space.

        All combinations of choices and of the ends of intervals; where those are many, each value beside the first ones
        of the other axes.
        """
        corners = {axis.key: axis.corners for axis in self.axes}
        if math.prod(map(len, corners.values())) <= AT_MOST_CHECKED:
            yield from (dict(zip(corners, cell, strict=True)) for cell in itertools.product(*corners.values()))
            return
        first = {key: values[0] for key, values in corners.items()}
        yield first
        yield from ({**first, key: value} for key, values in corners.items() for value in values[1:])
