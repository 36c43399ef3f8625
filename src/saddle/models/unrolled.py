"""The unrolled GAN (Metz et al. 2017): G learns from the discriminator that D is about to become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from saddle.discriminator import Discriminator
from saddle.distributed import all_reduce, is_distributed, world_size
from saddle.errors import InputError
from saddle.models.base import GAN, Reals, Rules
from saddle.models.optimisers import clip_factor
from saddle.networks.norm import power_iterate
from saddle.penalties import Penalty, due
from saddle.turn import Judge, MicroBatch, Turn, Verdict

Tensors = dict[str, Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class Unrolling(Rules):
    """The unrolled GAN's rules.

    Args:
        unroll_steps: K, at least 0; with 0 G's loss is at D's present parameters.
        unroll_optimizer: "same": a simulated step is one of D's optimiser, from its present state, as in the notebook;
            "sgd": a plain gradient step, as in the paper's equation 7.
        unroll_lr: learning rate of the simulated steps; None for D's present one.
        unroll_objective: what G minimises at the end: "saddle", minus D's adversarial loss, as in the paper, or "loss",
            the generator's function of the loss.

    Raises:
        InputError: for any other value.
    """

    unroll_steps: int = 5
    unroll_optimizer: str = "same"
    unroll_lr: float | None = None
    unroll_objective: str = "saddle"

    def __post_init__(self) -> None:
        if self.unroll_steps < 0:
            raise InputError(f"model.unroll_steps={self.unroll_steps}: must be at least 0")
        if self.unroll_optimizer not in ("same", "sgd"):
            raise InputError(f"model.unroll_optimizer={self.unroll_optimizer}: must be one of same, sgd")
        if self.unroll_objective not in ("saddle", "loss"):
            raise InputError(f"model.unroll_objective={self.unroll_objective}: must be one of saddle, loss")


class UnrolledTurn(Turn):
    """A turn in which G is judged by the discriminator that D is about to become."""

    @cached_property
    def discriminator(self) -> Judge:
        """D; in G's turn D after its simulated steps."""
        assert isinstance(self.game, Unrolled)
        return self.game.unroll(self) if self.player == "generator" else self.game.discriminator


class FutureTurn(Turn):
    """D's turn number `step`, simulated on the images of G's turn.

    Args:
        turn: G's.
        judge: the simulated D.
        step: the number of steps that D would have behind it.
        needs: as for `Turn`.
    """

    def __init__(self, turn: Turn, judge: Simulated, step: int, needs: Set[str]):
        self.latents, self.fake_labels, self.fake = turn.latents, turn.fake_labels, turn.fake
        self.discriminator = judge
        batch = MicroBatch(turn.real, turn.real_labels)
        super().__init__(turn.game, "discriminator", step, turn.micro, batch, needs)


class Unrolled(GAN):
    """G descends minus D's loss at the parameters that D would have after `unroll_steps` more steps.

    The steps are simulated as functions of G's images, and G's gradient flows through them too (the paper's equations 7
    to 10). As in the released notebook, all simulated steps and G's loss at their end are on one batch: the real images
    of D's last step, and the images that G makes in this one. A simulated step is what D would do with that batch: it
    descends the adversarial loss, the penalties that would be due and the head's term, and draws augmentations afresh.
    What a penalty does after a step (weight clipping) is not simulated. D itself, its statistics, its optimiser and the
    averages of its penalties stay as they are; its real steps are those of any GAN. With `trainer.accumulate` each
    micro-batch is unrolled on its own.
    """

    turn_type = UnrolledTurn
    rules_type = Unrolling

    def __init__(self, *parts: Any, **more: Any):
        super().__init__(*parts, **more)
        self._learning: set[str] = set()  # D's parameters that learn, noted before they are frozen

    def generator_step(self, step: int, reals: Reals) -> list[Tensor]:
        """G descends its loss through the simulated D; the real one is not touched."""
        self._learning = {name for name, p in self.discriminator.named_parameters() if p.requires_grad}
        return super().generator_step(step, reals)

    def generator_objective(self, turn: Turn) -> Tensor:
        """G's loss at the end of the simulated steps."""
        if self.rules.unroll_objective == "loss":
            return super().generator_objective(turn)
        return -self.loss.discriminator(turn.real_logits, self.most_real(turn.fake_logits))

    def unroll(self, turn: Turn) -> Simulated:
        """D after `unroll_steps` simulated steps on the images of G's turn, a function of them."""
        parameters = {
            name: p.detach().requires_grad_(name in self._learning) for name, p in self.discriminator.named_parameters()
        }
        ahead = Simulated(self.discriminator, parameters, _copied(self.discriminator))
        averages = {penalty: _copied(penalty) for penalty in self.penalties.values()}
        descent = self._descent()
        for k in range(self.rules.unroll_steps):
            ahead.within(power_iterate)
            loss = self._simulated_loss(turn, ahead, (self.iteration + 1) * self.rules.d_steps + k, averages)
            ahead.parameters = descent.step(ahead.parameters, averaged_gradients(loss, ahead.parameters))
        return ahead

    def _simulated_loss(self, turn: Turn, ahead: Simulated, step: int, averages: Mapping[Penalty, Tensors]) -> Tensor:
        """All that D minimises in its step number `step`, on the images of G's turn."""
        terms, needs = due(self.penalties, "discriminator", step)
        future = FutureTurn(turn, ahead, step, needs)
        loss = self.loss.discriminator(future.real_logits, future.fake_logits)
        for penalty in terms.values():
            term = functional_call(penalty, averages[penalty], (future,))
            loss = loss if term is None else loss + penalty.every * term
        term = ahead.head.loss(future)
        return loss if term is None else loss + term

    def _descent(self) -> Descent:
        """The rule of the simulated steps, with the present state of D's optimiser where that is simulated."""
        optimisers, optimizer = self.optimisers, self.optimisers.made["discriminator"]
        lr = optimisers.rate("discriminator") if self.rules.unroll_lr is None else self.rules.unroll_lr
        if self.rules.unroll_optimizer == "sgd":
            return Descent(plain, lr, {}, {"beta1": 0.0})
        present = {
            name: {key: value.detach() for key, value in optimizer.state[p].items() if isinstance(value, Tensor)}
            for name, p in self.discriminator.named_parameters()
            if p in optimizer.state
        }
        constants = {"beta1": optimisers.beta1, "beta2": optimisers.beta2, "eps": optimisers.eps}
        return Descent(STEP_RULES[optimisers.name], lr, present, constants, optimisers.gradient_clip_val)


class Within(nn.Module):
    """Calls a function of a discriminator; under `functional_call`, of one with other parameters."""

    def __init__(self, discriminator: Discriminator):
        super().__init__()
        self.discriminator = discriminator

    def forward(self, function: Callable[[Discriminator], T]) -> T:
        """What the function returns."""
        return function(self.discriminator)


@dataclass
class Simulated:
    """A discriminator at other parameters; called like one. The module itself stays as it is.

    Attributes:
        module: the real discriminator.
        parameters: by name, with a graph.
        buffers: by name; copies, which the layers change in place.
    """

    module: Discriminator
    parameters: Tensors
    buffers: Tensors

    def within(self, function: Callable[[Discriminator], T]) -> T:
        """What a function of the discriminator returns at these parameters and buffers."""
        state = {f"discriminator.{name}": x for name, x in (self.parameters | self.buffers).items()}
        return functional_call(Within(self.module), state, (function,))

    def forward(self, images: Tensor, labels: Tensor) -> Verdict:
        """The verdict on images [B, C, H, W] with labels [B], differentiable twice."""
        return self.within(lambda discriminator: discriminator.forward(images, labels))

    __call__ = forward

    @property
    def independent(self) -> bool:
        """Whether samples do not influence each other."""
        return self.module.independent

    @property
    def packing(self) -> int:
        """Images that get one logit together."""
        return self.module.packing

    @property
    def head(self) -> SimulatedHead:
        """Its head."""
        return SimulatedHead(self)


@dataclass
class SimulatedHead:
    """The head of a simulated discriminator, of which a turn asks its term of the loss."""

    discriminator: Simulated

    def loss(self, turn: Turn) -> Tensor | None:
        """The head's own term, None where it has none."""
        return self.discriminator.within(lambda discriminator: discriminator.head.loss(turn))


def _copied(module: nn.Module) -> Tensors:
    """Copies of a module's buffers by name."""
    return {name: buffer.detach().clone() for name, buffer in module.named_buffers()}


def averaged_gradients(loss: Tensor, parameters: Tensors) -> Tensors:
    """The gradients of a loss by name, the mean over the processes, in the graph; what it does not read is left out.

    The mean is a differentiable all-reduce, so that each process's images act on the parameters of all.
    """
    learning = {name: p for name, p in parameters.items() if p.requires_grad}
    found = torch.autograd.grad(loss, list(learning.values()), create_graph=True, allow_unused=True)
    gradients = {name: g for name, g in zip(learning, found, strict=True) if g is not None}
    if not is_distributed():
        return gradients
    flat = all_reduce(torch.cat([g.reshape(-1) for g in gradients.values()])) / world_size()
    pieces = flat.split([g.numel() for g in gradients.values()])
    return {name: piece.view_as(g) for (name, g), piece in zip(gradients.items(), pieces, strict=True)}


# ---- optimiser steps that can be differentiated --------------------------------------------------------------------

Options = Mapping[str, float]
StepRule = Callable[[Tensor, Tensors, Options], tuple[Tensor, Tensors]]


@dataclass
class Descent:
    """Steps of an optimiser as functions: parameters and gradients in, parameters out.

    Attributes:
        rule: (gradient, state, options) to (direction, next state); a step is minus `lr` times the direction.
        lr: learning rate.
        state: of each parameter by name, as torch's optimiser of the same name keeps it; followed along.
        options: beta1, beta2 and eps, as `saddle.models.optimisers.Optimisers` has them.
        gradient_clip_val: as there.
    """

    rule: StepRule
    lr: float
    state: dict[str, Tensors]
    options: Options
    gradient_clip_val: float | None = None

    def step(self, parameters: Tensors, gradients: Tensors) -> Tensors:
        """The parameters after a step; one without a gradient stays."""
        after = dict(parameters)
        if self.gradient_clip_val is not None:
            factor = clip_factor([*gradients.values()], self.gradient_clip_val)
            gradients = {name: factor * gradient for name, gradient in gradients.items()}
        for name, gradient in gradients.items():
            direction, self.state[name] = self.rule(gradient, self.state.get(name, {}), self.options)
            after[name] = parameters[name] - self.lr * direction
        return after


def plain(gradient: Tensor, state: Tensors, options: Options) -> tuple[Tensor, Tensors]:
    """Gradient descent with momentum beta1."""
    if "momentum_buffer" in state:
        gradient = options["beta1"] * state["momentum_buffer"] + gradient
    return gradient, {"momentum_buffer": gradient} if options["beta1"] else {}


def rmsprop(gradient: Tensor, state: Tensors, options: Options) -> tuple[Tensor, Tensors]:
    """RMSprop, beta2 being its smoothing constant."""
    smoothing = options["beta2"]
    squares = (1 - smoothing) * gradient.square()
    if "square_avg" in state:
        squares = squares + smoothing * state["square_avg"]
    return gradient / (root(squares) + options["eps"]), {"square_avg": squares}


def adam(gradient: Tensor, state: Tensors, options: Options) -> tuple[Tensor, Tensors]:
    """Adam (Kingma and Ba 2015)."""
    beta1, beta2 = options["beta1"], options["beta2"]
    step = state["step"].double() + 1 if state else torch.ones((), dtype=torch.float64, device=gradient.device)
    means, squares = (1 - beta1) * gradient, (1 - beta2) * gradient.square()
    if state:
        means, squares = means + beta1 * state["exp_avg"], squares + beta2 * state["exp_avg_sq"]
    # 0-d numbers in double precision, which do not widen what they multiply
    mean_share, square_share = 1 - beta1**step, 1 - beta2**step
    direction = means / mean_share / (root(squares) / square_share.sqrt() + options["eps"])
    return direction, {"step": step, "exp_avg": means, "exp_avg_sq": squares}


STEP_RULES: dict[str, StepRule] = {"adam": adam, "rmsprop": rmsprop, "sgd": plain}


def root(x: Tensor) -> Tensor:
    """Square root with derivative 0 at 0, where that of `sqrt` is infinite."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)
