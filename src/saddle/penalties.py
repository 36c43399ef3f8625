"""Regularisers: small modules that read a `Turn` and return a term of their player's loss. They never step.

A new regulariser is one class here and one file under conf/penalty/, keyed by its own name. `penalty=[a,b]` on the
command line replaces the model's list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from saddle.distributed import all_reduce, world_size
from saddle.errors import InputError
from saddle.precision import at_least_float32
from saddle.randomness import layer_noise_from
from saddle.turn import Player, Turn


def input_gradients(logits: Tensor, images: Tensor) -> Tensor:
    """The gradient of each logit with respect to its own image or pack of images, [b, C, H, W], kept in the graph."""
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients


def slopes(logits: Tensor, images: Tensor) -> Tensor:
    """The Euclidean norm of each logit's gradient with respect to all pixels that it judges, [len(logits)].

    Where the gradient vanishes, so does the gradient of its norm: a square root of the square would give NaN.
    """
    return torch.linalg.vector_norm(input_gradients(logits, images).reshape(len(logits), -1), dim=1)


class Penalty(nn.Module):
    """A term of one player's loss.

    A term may differentiate D at real or generated images, which the turn prepares where it `needs` that, and at images
    of its own by `turn.judge`, if these require a gradient; and G at latents that do, by `turn.generate`.

    Args:
        weight: factor of the term.
        every: lazy regularisation: the term is computed on every k-th step of its player, times k, so that its mean
            over steps is that of a term on every step (Karras et al. 2020, section 3.1). It is added to the player's
            loss, not given an optimiser step of its own, so the optimiser needs no correction.
    """

    #: Whose loss the term belongs to; a term of both reads in `turn.player` whose turn it is.
    player: ClassVar[Player | Literal["both"]] = "discriminator"
    #: What the turn must prepare: "real_gradients", "fake_gradients" (input gradients at real or generated images).
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, weight: float = 1.0, every: int = 1):
        super().__init__()
        if every < 1:
            raise InputError(f"penalty.{type(self).__name__}.every={every}: give 1 or more steps")
        self.weight, self.every = weight, every

    def acts_on(self, player: Player) -> bool:
        """Whether the term is part of this player's loss."""
        return self.player in (player, "both")

    def due(self, step: int) -> bool:
        """Whether the term is part of the player's step number `step`, counted from 0."""
        return step % self.every == 0

    def forward(self, turn: Turn) -> Tensor | None:
        """The weighted term as a 0-d tensor; None from a constraint that only acts in `after_step`."""
        return None

    def after_step(self, network: nn.Module) -> None:
        """Act on the parameters of the player's network, after an optimiser step in which the term was due."""


def due(penalties: Mapping[str, Penalty], player: Player, step: int) -> tuple[dict[str, Penalty], frozenset[str]]:
    """The penalties of a player's step, by the name under which they are logged, and what its turns must prepare.

    Args:
        penalties: all, by name.
        player: who steps.
        step: the number of steps that the player has behind it.
    """
    found = {
        f"{name}_{player}" if penalty.player == "both" else name: penalty
        for name, penalty in penalties.items()
        if penalty.acts_on(player) and penalty.due(step)
    }
    return found, frozenset().union(*(penalty.needs for penalty in found.values()))


class R1(Penalty):
    """Zero-centred gradient penalty on real images: weight / 2 * E ||grad_x C(x)||^2 (Mescheder et al. 2018).

    The gradient is taken with respect to the images before augmentation. `weight` is the paper's gamma.
    """

    needs = frozenset({"real_gradients"})

    def __init__(self, weight: float = 10.0, every: int = 1):
        super().__init__(weight, every)

    def forward(self, turn: Turn) -> Tensor:
        """The term at the turn's real images."""
        return self.weight / 2 * slopes(turn.real_verdict.logits, turn.real).square().mean()


class R2(Penalty):
    """Zero-centred gradient penalty on generated images: weight / 2 * E ||grad_x C(x)||^2 (Mescheder et al. 2018).

    As `R1`, at the images that G made; R3GAN (Huang et al. 2024) uses both.
    """

    needs = frozenset({"fake_gradients"})

    def __init__(self, weight: float = 10.0, every: int = 1):
        super().__init__(weight, every)

    def forward(self, turn: Turn) -> Tensor:
        """The term at the turn's generated images."""
        return self.weight / 2 * slopes(turn.fake_verdict.logits, turn.fake).square().mean()


class GradientPenalty(Penalty):
    """Keeps the slope of D at `target` (Gulrajani et al. 2017, WGAN-GP, equation 3).

    weight * E (||grad C(x)|| - target)^2. The points x lie between a real image and a generated one, at a uniform
    random place that each pair (or pair of packs) has for itself; D judges them with the real one's label. The norm is
    over all pixels that a logit judges, the gradient with respect to the point before augmentation.

    Args:
        weight: lambda, 10 in the paper.
        every: D steps between two evaluations.
        target: the slope to keep; 1 in the paper.
        one_sided: penalise only slopes above the target (the paper's section 4): max(0, ||grad|| - target)^2.
    """

    def __init__(self, weight: float = 10.0, every: int = 1, target: float = 1.0, one_sided: bool = False):
        super().__init__(weight, every)
        self.target, self.one_sided = target, one_sided

    def forward(self, turn: Turn) -> Tensor:
        """The term at the points of this turn."""
        points = self.points(turn).detach().requires_grad_()
        excess = slopes(turn.judge(points, turn.real_labels, "gradient_penalty").logits, points) - self.target
        return self.weight * (torch.relu(excess) if self.one_sided else excess).square().mean()

    def points(self, turn: Turn) -> Tensor:
        """The images at which the slope is taken, [b, C, H, W]."""
        return between(turn, "gradient_penalty/place", turn.fake, turn.real)


class Dragan(GradientPenalty):
    """The gradient penalty around real images (Kodali et al. 2017, DRAGAN, section 3): weight * E (||grad C|| - 1)^2.

    The points lie between a real image x and x + std / 2 * U, at a uniform random place; std is the standard deviation
    of all pixels of the batch of all processes, U is uniform in [0, 1] for each pixel. Unlike `GradientPenalty`, the
    paper uses it beside batch norm in D.

    Args:
        weight: lambda, 10 in the released code.
        every: D steps between two evaluations.
        target: k, the slope to keep; 1 in the released code.
        two_sided: draw U from [-1, 1] instead, as the author later preferred: noise above 0 brightens every image.
    """

    def __init__(self, weight: float = 10.0, every: int = 1, target: float = 1.0, two_sided: bool = False):
        super().__init__(weight, every, target)
        self.two_sided = two_sided

    def points(self, turn: Turn) -> Tensor:
        """The images at which the slope is taken, [b, C, H, W]."""
        real = turn.real.detach()
        mean = all_reduce(real.mean()) / world_size()
        deviation = (all_reduce((real - mean).square().mean()) / world_size()).sqrt()
        noise = turn.draws("dragan/noise").uniform(*real.shape[1:])
        noise = 2 * noise - 1 if self.two_sided else noise
        return between(turn, "dragan/place", real, real + deviation / 2 * noise)


def between(turn: Turn, purpose: str, start: Tensor, end: Tensor) -> Tensor:
    """Points start + u (end - start), [b, C, H, W], u uniform in [0, 1) for each image, or for each pack of images."""
    packing = turn.game.discriminator.packing
    place = turn.draws(purpose).uniform(1, 1, 1)[::packing].repeat_interleave(packing, 0)
    return start + place * (end - start)


class Drift(Penalty):
    """weight * E r^2: keeps a critic's output from drifting (Karras et al. 2018, ProGAN, appendix A.1).

    Args:
        weight: epsilon, 0.001 in the paper.
        every: D steps between two evaluations.
    """

    def __init__(self, weight: float = 0.001, every: int = 1):
        super().__init__(weight, every)

    def forward(self, turn: Turn) -> Tensor:
        """The term for the turn's real logits."""
        return self.weight * turn.real_verdict.logits.square().mean()


class LeCam(Penalty):
    """Keeps each kind of logit near the other's moving average (Tseng et al. 2021, equation 5).

    weight * (E max(0, r - a_f)^2 + E max(0, a_r - f)^2); a_r and a_f average the means of r and f.

    Args:
        weight: 0.3 for BigGAN on CIFAR.
        decay: of the moving averages.
        start: D steps before the term acts; the averages follow from the beginning.
    """

    real_average: Tensor
    fake_average: Tensor

    def __init__(self, weight: float = 0.3, every: int = 1, decay: float = 0.99, start: int = 1000):
        super().__init__(weight, every)
        self.decay, self.start = decay, start
        self.register_buffer("real_average", torch.zeros(()))
        self.register_buffer("fake_average", torch.zeros(()))

    def forward(self, turn: Turn) -> Tensor:
        """The term for the turn's logits, which then enter the averages."""
        real, fake = turn.real_logits, turn.fake_logits
        with torch.no_grad():
            for average, logits in ((self.real_average, real), (self.fake_average, fake)):
                first = turn.step == 0 and turn.micro == 0
                follow(average, logits.mean(), 1.0 if first else 1 - self.decay)
        if turn.step < self.start:
            return real.new_zeros(())
        # the averages enter as values: a copy, because the next turn changes them in place
        over = torch.relu(real - self.fake_average.clone()).square().mean()
        under = torch.relu(self.real_average.clone() - fake).square().mean()
        return self.weight * (over + under)


class WeightClip(Penalty):
    """Clamps every weight of D to [-limit, limit] after each of its steps (Arjovsky et al. 2017, algorithm 1)."""

    def __init__(self, limit: float = 0.01):
        super().__init__()
        if limit <= 0:
            raise InputError(f"penalty.weight_clip.limit={limit}: give a positive number")
        self.limit = limit

    @torch.no_grad()
    def after_step(self, network: nn.Module) -> None:
        """Clamp D's weights in place."""
        for parameter in network.parameters():
            parameter.clamp_(-self.limit, self.limit)


class FeatureMatching(Penalty):
    """||E phi(x) - E phi(G(z))||^2 of D's features, a term of G (Salimans et al. 2016, section 3.1)."""

    player = "generator"

    def forward(self, turn: Turn) -> Tensor:
        """The term over the global batch."""
        target = at_least_float32(turn.real_features.detach()).mean(0)
        return self.weight * (at_least_float32(turn.fake_features).mean(0) - target).square().sum()


class PullingAway(Penalty):
    """Keeps generated images apart in D's features, a term of G (Zhao et al. 2017, EBGAN, equation 4).

    weight * sum over i != j of cos(s_i, s_j)^2 / (N (N - 1)), s_i being the features of the N images of the batch.

    Args:
        weight: 0.1 in the paper.
        every: G steps between two evaluations.

    Raises:
        InputError: from `forward`, in a batch of one.
    """

    player = "generator"

    def __init__(self, weight: float = 0.1, every: int = 1):
        super().__init__(weight, every)

    def forward(self, turn: Turn) -> Tensor:
        """The term over the global batch."""
        features = at_least_float32(turn.fake_features)
        n = len(features)
        if n < 2:
            raise InputError("penalty=pulling_away compares images: give data.batch_size of 2 or more")
        directions = F.normalize(features, dim=1)
        with torch.autocast(features.device.type, enabled=False):  # the diagonal must cancel
            squares = (directions @ directions.T).square()
        return self.weight * (squares.sum() - squares.diagonal().sum()) / (n * (n - 1))


class Consistency(Penalty):
    """D should not notice a small change, and G should answer to one.

    Terms of D, each the mean of a squared difference of logits:
    real * (C(x) - C(T(x)))^2 (CR, Zhang et al. 2020); fake * (C(G(z)) - C(T(G(z))))^2 (bCR, Zhao et al. 2021);
    latent_d * (C(G(z)) - C(G(z')))^2 (zCR, Zhao et al. 2021). A term of G: -latent_g * (G(z) - G(z'))^2, the mean over
    pixels too. T mirrors and shifts, see `shaken`; z' = z + noise * N(0, 1). ICR is all four.

    Args:
        real: 10 in CR and bCR.
        fake: 10 in bCR, 0 in CR.
        latent_d: 20 for ICR on CIFAR; 0 leaves the term out.
        latent_g: 0.5 for ICR on CIFAR; 0 leaves the term out.
        noise: standard deviation of the change of a latent.
        every: steps of each player between two evaluations.
    """

    player = "both"

    def __init__(
        self,
        real: float = 10.0,
        fake: float = 0.0,
        latent_d: float = 0.0,
        latent_g: float = 0.0,
        noise: float = 0.05,
        every: int = 1,
    ):
        super().__init__(every=every)
        self.real, self.fake, self.latent_d, self.latent_g, self.noise = real, fake, latent_d, latent_g, noise

    def acts_on(self, player: Player) -> bool:
        """Whether a term of this player has a weight."""
        return bool(self.latent_g) if player == "generator" else any((self.real, self.fake, self.latent_d))

    def forward(self, turn: Turn) -> Tensor:
        """The terms of the player whose turn it is."""
        if turn.player == "generator":
            return -self.latent_g * (turn.fake - self.near(turn)).square().mean()
        total = turn.real.new_zeros(())
        if self.real:
            changed = turn.judge(shaken(turn, turn.real, "real"), turn.real_labels, "consistency/real").logits
            total = total + self.real * (turn.real_verdict.logits - changed).square().mean()
        if self.fake:
            changed = turn.judge(shaken(turn, turn.fake, "fake"), turn.fake_labels, "consistency/fake").logits
            total = total + self.fake * (turn.fake_verdict.logits - changed).square().mean()
        if self.latent_d:
            with torch.no_grad():
                near = self.near(turn)
            changed = turn.judge(near, turn.fake_labels, "consistency/near").logits
            total = total + self.latent_d * (turn.fake_verdict.logits - changed).square().mean()
        return total

    def near(self, turn: Turn) -> Tensor:
        """G's images of latents a little beside those of the turn, [b, C, H, W]."""
        change = turn.draws("consistency/latents").normal(*turn.latents.shape[1:])
        return turn.generate(turn.latents + self.noise * change, turn.fake_labels, "consistency")


def shaken(turn: Turn, images: Tensor, purpose: str) -> Tensor:
    """The images [b, C, H, W], each mirrored at even odds and shifted by up to an eighth of each side.

    The shift is by whole pixels; what enters is the image itself, reflected at its edge. Differentiable.
    """
    draws, (b, _, height, width) = turn.draws(f"consistency/{purpose}"), images.shape
    images = torch.where(draws.uniform(1, 1, 1) < 0.5, images.flip(-1), images)
    rows, columns = (
        _reflected(torch.arange(side, device=images.device) + draws.integers(2 * (side // 8) + 1, 1) - side // 8, side)
        for side in (height, width)
    )
    which = torch.arange(b, device=images.device)[:, None, None]
    return images.movedim(1, -1)[which, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _reflected(position: Tensor, side: int) -> Tensor:
    """Positions less than `side` outside [0, side) mirrored into it, about the centre of the outermost pixel."""
    return (side - 1) - ((side - 1) - position.abs()).abs()


class PathLength(Penalty):
    """Path-length regularisation of G (Karras et al. 2020, equation 4): weight * E (||J^T y|| - a)^2.

    J is the Jacobian of an image with respect to its latent, y ~ N(0, 1) / sqrt(H W), and a the moving average of the
    lengths. Of a generator with `styles` it is that with respect to the w of each layer, mixed ones too, and the square
    of the length is the mean over the layers, as in the released code. (There half of the batch pays for the term.)

    Args:
        weight: 2 in the paper.
        every: 4 in the paper.
        decay: of the moving average, as the weight of the newest mean (0.01 in the paper).
    """

    player = "generator"
    average: Tensor

    def __init__(self, weight: float = 2.0, every: int = 4, decay: float = 0.01):
        super().__init__(weight, every)
        self.decay = decay
        self.register_buffer("average", torch.zeros(()))

    def forward(self, turn: Turn) -> Tensor:
        """The term at fresh latents; the mean length then enters the average."""
        start, images = self.path(turn)
        noise = turn.draws("path_length/noise").normal(*images.shape[1:]) / (images.shape[2] * images.shape[3]) ** 0.5
        (gradients,) = torch.autograd.grad((images * noise).sum(), start, create_graph=True)
        squares = gradients.square().sum(-1)
        lengths = (squares if squares.dim() == 1 else squares.mean(1)).sqrt()
        with torch.no_grad():
            mean = all_reduce(lengths.mean()) / world_size()
            follow(self.average, mean, self.decay)
        return self.weight * (lengths - self.average.clone()).square().mean()

    def path(self, turn: Turn) -> tuple[Tensor, Tensor]:
        """Where the path starts, latents [b, latent_dim] or ws [b, layers, w_dim], and the images that it leads to."""
        latents = turn.game.prior.draw(turn.draws("path_length/latents"))
        generator: Any = turn.game.generator
        if not hasattr(generator, "styles"):
            latents.requires_grad_()
            return latents, turn.generate(latents, turn.fake_labels, "path_length")
        options = turn.options("path_length")
        with layer_noise_from(turn.draws("generator/path_length")):
            ws = generator.styles(latents, turn.fake_labels, **options)
            return ws, generator.synthesis(ws).to(turn.real.dtype)


class Orthogonal(Penalty):
    """Keeps the filters of G's convolutions and linear layers orthogonal (Brock et al. 2019, BigGAN, equations 2, 3).

    The sum over the layers of weight * ||W W^T * (1 - I)||_F^2 (off-diagonal: the filters' norms stay free) or of
    weight * ||W W^T - I||_F^2 (full). W is the raw weight as a matrix (out, rest), before any spectral norm.
    Embeddings are left out: a class embedding need not be orthogonal.

    Args:
        weight: 1e-4 in the paper.
        every: G steps between two evaluations.
        form: "off_diagonal" or "full".

    Raises:
        InputError: for any other form.
    """

    player = "generator"

    def __init__(self, weight: float = 1e-4, every: int = 1, form: str = "off_diagonal"):
        super().__init__(weight, every)
        if form not in ("off_diagonal", "full"):
            raise InputError(f"penalty.orthogonal.form={form}: must be one of off_diagonal, full")
        self.form = form

    def forward(self, turn: Turn) -> Tensor:
        """The term of the turn's generator."""
        total = turn.real.new_zeros(())
        for module in turn.game.generator.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                matrix = _as_matrix(module)
                with torch.autocast(matrix.device.type, enabled=False):  # bfloat16 would drown small products
                    gram = matrix @ matrix.T
                    wanted = gram.diagonal().diag() if self.form == "off_diagonal" else torch.eye(len(gram)).to(gram)
                    total = total + (gram - wanted).square().sum()
        return self.weight * total


def _as_matrix(module: nn.Module) -> Tensor:
    """The raw weight of a layer, (out, rest), a filter a row."""
    normed = parametrize.is_parametrized(module, "weight")
    layer: Any = module.get_submodule("parametrizations.weight") if normed else module
    weight: Tensor = layer.original if normed else layer.weight
    # a transposed convolution keeps its output channels in the second axis
    return (weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight).flatten(1)


def follow(average: Tensor, value: Tensor, weight: float) -> None:
    """Move a 0-d moving average towards `value` in place; what is not finite is ignored."""
    new = average.lerp(value.to(average.dtype), weight)
    average.copy_(torch.where(new.isfinite(), new, average))
