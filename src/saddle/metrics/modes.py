"""Which modes of a distribution the samples reach, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor

from saddle.data.mixtures import Centres
from saddle.errors import InputError
from saddle.metrics.base import GatheringMetric, require_images

Points = Tensor | Sequence[Sequence[float]]


class Assignment:
    """To which of `modes` modes a sample belongs."""

    modes: int

    def __call__(self, samples: Tensor) -> Tensor:
        """Samples [N, ...] to modes, int64 [N] from 0 on, or -1 for a sample that belongs to none."""
        raise NotImplementedError


class NearestCentre(Assignment):
    """Points belong to the nearest centre, if they are within `deviations` standard deviations of it.

    Args:
        centres: those of a mixture, or points [modes, dims].
        sigma: standard deviation along each axis.
        deviations: 3 is published for mixtures in the plane (Srivastava et al. 2017; Lin et al. 2018).

    Raises:
        InputError: if the data have no centres.
    """

    def __init__(self, centres: Centres | Points | None, sigma: float | None, deviations: float = 3.0):
        if centres is None or sigma is None:
            raise InputError(
                "metrics=modes reads the centres of data=ring or data=grid, and there are none: choose other metrics, "
                "or leave metrics away to score a run by its own"
            )
        points = centres.points() if isinstance(centres, Centres) else centres
        self.centres, self.radius = torch.as_tensor(points).float(), deviations * sigma
        self.modes = len(self.centres)

    def __call__(self, samples: Tensor) -> Tensor:
        """Floats [N, dims, ...] -> int64 [N]."""
        points = samples.flatten(1).double()
        # differences, not the matrix product of cdist, which rounds away what is small beside the distance from 0
        distances = (points[:, None] - self.centres.to(points)).square().sum(2).sqrt()
        nearest, mode = distances.min(1)
        return torch.where(nearest <= self.radius, mode, -1)


class ModeCoverage(GatheringMetric):
    """Modes captured, share of samples of high quality, and the divergences of the modes' frequencies from uniform.

    A sample is of high quality if the assignment finds it a mode; a mode is captured by one such sample (Srivastava et
    al. 2017, section 4.1). The divergences are of the frequencies among samples of high quality (Lin et al. 2018).

    States are sums: counts of the modes, and of all samples.

    Args:
        assignment: of samples to modes.
    """

    counts: Tensor
    seen: Tensor

    def __init__(self, assignment: Assignment, **kwargs: Any):
        super().__init__(**kwargs)
        self.assignment = assignment
        self.add_state("counts", torch.zeros(assignment.modes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, images: Tensor) -> None:
        """Take in generated samples [N, ...], in the form that the assignment reads."""
        modes = self.assignment(images)
        self.counts += torch.bincount(modes[modes >= 0], minlength=len(self.counts)).to(self.counts)
        self.seen += len(modes)

    def compute(self) -> dict[str, Tensor]:
        """Scalars ``modes``, ``high_quality``, ``reverse_kl`` and ``mode_jsd`` (nats), and the vector ``mode_shares``.

        ``mode_shares`` [modes] are the frequencies of the modes among samples of high quality. Where there is none,
        they are 0 and the divergences are left out.

        Raises:
            InputError: before the first sample.
        """
        require_images(self.seen, "fake", least=1)
        good = self.counts.sum()
        shares = self.counts.double() / good.clamp(min=1)
        result = {"modes": (self.counts > 0).sum(), "high_quality": good / self.seen.double(), "mode_shares": shares}
        if good:
            p, uniform = shares.cpu().numpy(), np.full(len(shares), 1 / len(shares))
            between = (p + uniform) / 2
            jsd = (entropy(p, between) + entropy(uniform, between)) / 2
            divergences = {"reverse_kl": entropy(p, uniform), "mode_jsd": jsd}
            result |= {name: torch.tensor(x, dtype=torch.float64) for name, x in divergences.items()}
        return result
