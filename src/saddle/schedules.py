"""Numbers that change during training, as functions of the images shown or of the iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from saddle.config.check import schedule_fault
from saddle.errors import InputError

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "cosine": lambda x: (1 - math.cos(math.pi * x)) / 2,
}


@dataclass(frozen=True)
class Schedule:
    """A number that goes from `start` to `end` and stays there.

    Args:
        start, end: the values.
        length: over how long, in the unit of `position`; above 0.
        begin: where it starts to move.
        shape: "linear", or "cosine" (half a period).

    Raises:
        InputError: for a length that is not positive or an unknown shape.
    """

    start: float
    end: float
    length: float
    begin: float = 0.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        if not self.length > 0:
            raise InputError(f"a schedule of length {self.length}: give kimg or iterations above 0")
        if self.shape not in SHAPES:
            raise InputError(f"a schedule of shape {self.shape}: one of {', '.join(SHAPES)}")

    def __call__(self, position: float) -> float:
        """The value at a position: images shown in thousands, or iterations."""
        share = min(max((position - self.begin) / self.length, 0.0), 1.0)
        return self.start + (self.end - self.start) * SHAPES[self.shape](share)


class Place(NamedTuple):
    """Where a number stands: the attribute `name` of an object, a float or a 0-d buffer."""

    owner: Any
    name: str

    def read(self) -> float:
        """The number; 0 where it is None."""
        return float(getattr(self.owner, self.name) or 0.0)

    def write(self, value: float) -> None:
        """Set it."""
        present = getattr(self.owner, self.name)
        if hasattr(present, "fill_"):
            present.fill_(value)
        else:
            setattr(self.owner, self.name, value)


class Schedules:
    """The schedules of a run, by the name of what they set.

    A name is one of `places` (`g_lr`, `d_lr`, `beta2`, `ema`, its decay, and `ema_kimg`, its half-life), or
    `augment.<option>` or `penalty.<name>.<option>` (for example `augment.p` and `penalty.r1.weight`). Each schedule is
    a mapping with `end`, one of `kimg` and `iterations` (its length), and if wanted `start` (default: the value that
    was set), `begin` (same unit) and `shape`.

    Args:
        schedules: by name.
        places: of the model's own numbers.
        augment: whose options `augment.<option>` are.
        penalties: by name.

    Raises:
        InputError: for a name that cannot be set, an option that does not exist, or a length given twice or not at all.
    """

    def __init__(
        self,
        schedules: Mapping[str, Mapping[str, Any]],
        places: Mapping[str, Place],
        augment: object,
        penalties: Mapping[str, object],
    ):
        self._schedules: list[tuple[Place, Schedule, bool]] = []
        for name, options in schedules.items():
            if fault := schedule_fault(options):
                raise InputError(f"model.schedules.{name}: {fault}")
            place = places.get(name) or self._option(name, augment, penalties)
            if place is None or not hasattr(*place):
                known = ", ".join([*places, "augment.<option>", "penalty.<name>.<option> of a chosen penalty"])
                raise InputError(f"model.schedules.{name}: a schedule can set {known}")
            by_images = "kimg" in options
            length = options["kimg"] if by_images else options["iterations"]
            more = {key: options[key] for key in ("begin", "shape") if key in options}
            schedule = Schedule(options.get("start", place.read()), options["end"], length, **more)
            self._schedules.append((place, schedule, by_images))

    @staticmethod
    def _option(name: str, augment: object, penalties: Mapping[str, object]) -> Place | None:
        kind, *rest = name.split(".")
        if kind == "augment" and len(rest) == 1:
            return Place(augment, rest[0])
        return Place(penalties.get(rest[0]), rest[1]) if kind == "penalty" and len(rest) == 2 else None

    def apply(self, iteration: int, kimg: float) -> None:
        """Set every number to its value at an iteration; a function of it alone, so a resumed run agrees.

        Args:
            iteration: finished iterations.
            kimg: thousands of real images that they have shown to D.
        """
        for place, schedule, by_images in self._schedules:
            place.write(schedule(kimg if by_images else iteration))
