"""Numbers that change during training, as functions of the images shown or of the iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saddle.errors import InputError

if TYPE_CHECKING:
    from saddle.models.base import GAN

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


class Schedules:
    """The schedules of a run, by the name of what they set.

    Names: `g_lr`, `d_lr`, `beta2`, `ema` (its decay), `ema_kimg` (its half-life), `augment.<option>` and
    `penalty.<name>.<option>` (for example `augment.p` and `penalty.r1.weight`). Each is a mapping with `end`, one of
    `kimg` and `iterations` (its length), and if wanted `start` (default: the value that was set), `begin` (same unit)
    and `shape`.

    Raises:
        InputError: for a name that cannot be set, an option that does not exist, or a length given twice or not at all.
    """

    OPTIONS = frozenset({"start", "end", "kimg", "iterations", "begin", "shape"})

    def __init__(self, model: GAN, schedules: Mapping[str, Mapping[str, Any]]):
        self._schedules: list[tuple[str, Schedule, bool]] = []
        for name, options in schedules.items():
            unknown = set(options) - self.OPTIONS
            if unknown or "end" not in options or ("kimg" in options) == ("iterations" in options):
                raise InputError(
                    f"model.schedules.{name}: give end, one of kimg and iterations, and if wanted start, begin, shape"
                    + (f"; {', '.join(sorted(unknown))} is no option" if unknown else "")
                )
            by_images = "kimg" in options
            length = options["kimg"] if by_images else options["iterations"]
            start = options.get("start", read(model, name))
            more = {key: options[key] for key in ("begin", "shape") if key in options}
            self._schedules.append((name, Schedule(start, options["end"], length, **more), by_images))

    def apply(self, model: GAN) -> None:
        """Set every number to its value at the model's iteration; a function of it alone, so a resumed run agrees."""
        for name, schedule, by_images in self._schedules:
            write(model, name, schedule(model.kimg if by_images else model.iteration))


def read(model: GAN, name: str) -> float:
    """The present value of what a schedule may set."""
    owner, attribute = _place(model, name)
    return float(owner[attribute] if isinstance(owner, dict) else getattr(owner, attribute))


def write(model: GAN, name: str, value: float) -> None:
    """Set it; the optimisers too."""
    owner, attribute = _place(model, name)
    if isinstance(owner, dict):
        owner[attribute] = value
        model.renew_optimizers()
    elif hasattr(getattr(owner, attribute), "fill_"):
        getattr(owner, attribute).fill_(value)
    else:
        setattr(owner, attribute, value)


def _place(model: GAN, name: str) -> tuple[Any, str]:
    """The object or dict that holds a number, and its name there."""
    own: dict[str, tuple[Any, str]] = {
        "g_lr": (model.lr, "generator"),
        "d_lr": (model.lr, "discriminator"),
        "beta2": (model.optimizer_options, "beta2"),
        "ema": (model.ema, "decay"),
        "ema_kimg": (model.ema, "half_life"),
    }
    kind, *rest = name.split(".")
    if name in own:
        return own[name]
    if kind == "augment" and len(rest) == 1 and hasattr(model.augment, rest[0]):
        return model.augment, rest[0]
    if kind == "penalty" and len(rest) == 2 and rest[0] in model.penalties:
        penalty = model.penalties[rest[0]]
        if hasattr(penalty, rest[1]):
            return penalty, rest[1]
    known = ", ".join([*own, "augment.<option>", "penalty.<name>.<option> of a chosen penalty"])
    raise InputError(f"model.schedules.{name}: a schedule can set {known}")
