"""Watches a run for the known ways in which a GAN fails, and says which of them it looks like."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saddle.callbacks import record
from saddle.callbacks.intervals import AtIntervals
from saddle.callbacks.spectra import largest, spectra_of
from saddle.images import from_data
from saddle.run.stopwatch import paused

log = logging.getLogger(__name__)


class Measured(dict[str, float]):
    """Numbers by name; what was not measured is NaN, of which every comparison is false."""

    def __missing__(self, name: str) -> float:
        return float("nan")


class Failure(NamedTuple):
    """A known way to fail: whether the numbers of now and of the beginning look like it, and what to say."""

    name: str
    looks_like: Callable[[Measured, Measured], bool]
    advice: str


FAILURES = (
    Failure(
        "mode collapse",
        lambda now, first: now["diversity"] < 0.2,
        "the samples are nearly alike (health/diversity {diversity:.2f} of the real images'); try model.packing=2, "
        "model.minibatch=100, a gradient penalty, or other learning rates",
    ),
    Failure(
        "vanishing gradients",
        lambda now, first: (
            (now["d_accuracy_real"] > 0.99 and now["d_accuracy_fake"] > 0.99)
            and now["g_grad_norm"] < 0.01 * first["g_grad_norm"]
        ),
        "D tells every image and G's gradient has shrunk to {g_grad_norm:.1e}; try loss=nonsaturating, a gradient "
        "penalty, or a smaller model.d_lr",
    ),
    Failure(
        "dead discriminator",
        lambda now, first: (
            abs(now["real_logits"] - now["fake_logits"]) < 1e-2
            and all(now[norm] < 0.001 * first[norm] for norm in ("g_grad_norm", "d_grad_norm"))
        ),
        "D says {real_logits:.2g} of every image and learns no more (gradient norm {d_grad_norm:.1e}), as where all "
        "rectified units of a layer are off; try a smaller model.d_lr or a wider D",
    ),
    Failure(
        "exploding gradients",
        lambda now, first: any(now[name] > 100 * first[name] for name in ("g_grad_norm", "d_grad_norm")),
        "gradient norms of G and D are {g_grad_norm:.1e} and {d_grad_norm:.1e}, a hundred times those of the "
        "beginning; try smaller learning rates or model.d_norm=spectral",
    ),
    Failure(
        "growing weights",
        lambda now, first: now["spectrum"] > 10 * first["spectrum"],
        "the largest singular value of a layer is {spectrum:.1f}, ten times that of the beginning, as before "
        "BigGAN's collapse; try model.d_norm=spectral, model.g_norm=spectral or smaller learning rates",
    ),
)


class Health(AtIntervals):
    """Records ``health/diversity``, gradient norms and the largest singular values, and warns once of each failure.

    Diversity is the mean distance between pairs of samples over that between pairs of real images: 1 where the samples
    are as different from each other as real images are, 0 where they are all the same. The three largest singular
    values of every layer of G and D are recorded as ``spectrum/<player>/<layer>/<i>`` (Brock et al. 2019, section 4.1
    and appendix F). Warnings also go to results.json.

    Args:
        every: iterations between two looks; 0 for none.
        samples: images that are compared with each other, at least 2.
    """

    def __init__(self, every: int, samples: int = 64):
        super().__init__(every)
        self.samples = samples
        self.first: dict[str, float] = {}
        self.warned: set[str] = set()
        self._real: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """What the beginning was like, and what was said."""
        return {"first": dict(self.first), "warned": sorted(self.warned), **super().state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from an earlier process of this run."""
        super().load_state_dict(state_dict)
        self.first, self.warned = dict(state_dict["first"]), set(state_dict["warned"])

    @torch.no_grad()
    def on_interval_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure, record and warn; every process computes the same."""
        with paused(trainer):
            singular_values = largest(spectra_of(pl_module))
            now = {name.removeprefix("train/"): v for name, v in pl_module.scores.items() if name.startswith("train/")}
            now["diversity"] = self.diversity(trainer, pl_module)
            now["spectrum"] = max(singular_values.values(), default=0.0)
            if not self.first:
                self.first = dict(now)
            record(trainer, {"health/diversity": now["diversity"], **singular_values}, pl_module.iteration)
            for failure in diagnose(now, self.first):
                if failure.name not in self.warned:
                    self.warned.add(failure.name)
                    said = (
                        f"iteration {pl_module.iteration}: {failure.name}: {failure.advice.format_map(Measured(now))}"
                    )
                    pl_module.warnings.append(said)
                    if trainer.is_global_zero:
                        log.warning("%s", said)

    def diversity(self, trainer: Any, pl_module: Any) -> float:
        """Spread of G's samples (not of its moving average, which lags) over that of the first real images."""
        if self._real is None:
            images, _ = trainer.datamodule.train_set.__getitems__(list(range(self.samples)))
            self._real = float(spread(from_data(images, torch.float32)))
        samples, _ = pl_module.sample(0, self.samples, seed=pl_module.seed, ema=False)
        return float(spread(samples)) / max(self._real, 1e-12)


def diagnose(now: Mapping[str, float], first: Mapping[str, float]) -> list[Failure]:
    """The failures that a run looks like, from its numbers now and at the first look."""
    return [failure for failure in FAILURES if failure.looks_like(Measured(now), Measured(first))]


def spread(images: Tensor) -> Tensor:
    """The mean Euclidean distance between different images [N, C, H, W], N at least 2; 0-d."""
    return torch.pdist(images.flatten(1).float()).mean()
