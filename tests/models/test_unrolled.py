"""The unrolled GAN: gradients through D's simulated steps, and a D that is left exactly as it was."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from tiny import Dense, Flat, attach, batch, gan_of
from torch import nn

from saddle.augment import NoAugment
from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads import LinearHead
from saddle.losses import Minimax, NonSaturating, RelativisticAverage, Wasserstein
from saddle.models import optimisers
from saddle.models.unrolled import STEP_RULES, Descent, Simulated, Unrolled, UnrolledTurn, averaged_gradients, root
from saddle.networks.norm import BatchNorm, spectral_norm
from saddle.penalties import R1, LeCam

B = 6


class NormedTrunk(nn.Module):
    """A hidden layer under spectral norm, then batch norm: both kinds of statistics that a step moves."""

    features, independent = 5, False

    def __init__(self):
        super().__init__()
        self.linear, self.norm = spectral_norm(nn.Linear(16, 5)), BatchNorm(5)

    def forward(self, images):
        return torch.tanh(self.norm(self.linear(images.flatten(1))))


def unrolled(penalties=None, *, trunk=None, loss=None, **options):
    """A tiny model in float64 with optimisers; D takes large steps, so that unrolling them matters."""
    torch.manual_seed(0)
    trunk = trunk or Dense(features=5)
    options = {"d_lr": 0.3, "optimizer": "sgd", "beta1": 0.0, "eps": 1e-3} | options
    model = gan_of(
        Unrolled,
        Flat(3),
        Discriminator(trunk, LinearHead(trunk.features, 0)),
        loss or NonSaturating(),
        penalties or {},
        NoAugment(),
        classes=0,
        batch_size=B,
        latent_dim=3,
        **options,
    )
    return attach(model.double())


def turn_of_g(model):
    (reals,) = model.reals(*batch(model))
    return UnrolledTurn(model, "generator", 0, 0, reals[0], frozenset())


def objective(model):
    """G's loss as `generator_step` has it."""
    model._learning = {name for name, _ in model.discriminator.named_parameters()}
    return model.generator_objective(turn_of_g(model))


def gradients_of_g(model):
    return torch.autograd.grad(objective(model), list(model.generator.parameters()))


def value_after_real_steps(model, steps):
    """G's loss by the slow road: a copy of D, and of its optimiser's state, steps for real; then minus its loss."""
    turn = turn_of_g(model)
    discriminator = copy.deepcopy(model.discriminator)
    own, rules = model.optimisers, model.rules
    lr = own.d_lr if rules.unroll_lr is None else rules.unroll_lr
    (optimizer,) = dataclasses.replace(own, d_lr=lr).make({"discriminator": discriminator})
    optimizer.load_state_dict(copy.deepcopy(model.player("discriminator")[1].optimizer.state_dict()))
    for group in optimizer.param_groups:
        group["lr"] = lr
    labels, fake = torch.zeros(B, dtype=torch.int64), turn.fake.detach()

    def loss():
        return model.loss.discriminator(discriminator(turn.real, labels)[0], discriminator(fake, labels)[0])

    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return -loss().item()


def some_real_steps(model, steps=2):
    """Real iterations, after which the optimisers have a state."""
    for _ in range(steps):
        model.training_step(batch(model), 0)
    return model


def test_without_steps_it_is_the_saddle_gradient():
    model = unrolled(unroll_steps=0)
    turn = turn_of_g(model)
    plain = -model.loss.discriminator(turn.real_logits, turn.fake_logits)
    expected = torch.autograd.grad(plain, list(model.generator.parameters()))
    for a, b in zip(gradients_of_g(model), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_simulated_steps_are_those_of_the_optimiser(name, beta1):
    model = some_real_steps(unrolled(optimizer=name, beta1=beta1, d_lr=0.05, unroll_steps=3))
    assert objective(model).item() == pytest.approx(value_after_real_steps(model, 3), rel=1e-9)
    assert objective(model).item() != pytest.approx(value_after_real_steps(model, 2), rel=1e-4)


def test_from_no_state_too():
    model = unrolled(optimizer="adam", d_lr=0.05, unroll_steps=2)
    assert objective(model).item() == pytest.approx(value_after_real_steps(model, 2), rel=1e-9)


def test_a_simulated_step_is_cut_as_a_real_one():
    gradients = {"a": torch.tensor([3.0, 0.0], requires_grad=True), "b": torch.tensor([4.0], requires_grad=True)}
    parameters = {name: torch.zeros_like(gradient) for name, gradient in gradients.items()}
    after = Descent(STEP_RULES["sgd"], 1.0, {}, {"beta1": 0.0}, gradient_clip_val=0.5).step(parameters, gradients)
    assert after["a"].tolist() == pytest.approx([-0.3, 0.0]) and after["b"].tolist() == pytest.approx([-0.4])
    (slope,) = torch.autograd.grad(after["b"].sum(), gradients["a"])
    assert slope.tolist() == pytest.approx([0.5 * 4 * 3 / 5**3, 0.0])


def test_plain_gradient_steps_ignore_the_state():
    options = {"optimizer": "adam", "d_lr": 0.05, "unroll_steps": 2, "unroll_optimizer": "sgd", "unroll_lr": 0.7}
    model = some_real_steps(unrolled(**options))
    plain = copy.deepcopy(model)
    plain.optimisers.name, plain.optimisers.beta1 = "sgd", 0.0
    attach(plain)
    assert objective(model).item() == pytest.approx(value_after_real_steps(plain, 2), rel=1e-9)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam"])
def test_gradient_against_finite_differences(name):
    """The differences are of the slow reference, in which D really steps: G's gradient is of first and second order."""
    model = some_real_steps(unrolled(optimizer=name, beta1=0.5, d_lr=0.05, unroll_lr=0.3, unroll_steps=3))
    weight = model.generator.linear.weight
    gradient = gradients_of_g(model)[0]
    for place in [(0, 0), (7, 2), (13, 1)]:
        values = []
        for change in (1e-5, -1e-5):
            with torch.no_grad():
                weight[place] += change
            values.append(value_after_real_steps(model, 3))
            with torch.no_grad():
                weight[place] -= change
        assert gradient[place].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_the_second_order_part_is_there():
    """Without the path through D's steps, as if D were given, G's gradient is another."""
    model = unrolled(unroll_steps=3)
    whole = gradients_of_g(model)
    turn = turn_of_g(model)
    model._learning = {name for name, _ in model.discriminator.named_parameters()}
    ahead = model.unroll(turn)
    ahead.parameters = {name: p.detach() for name, p in ahead.parameters.items()}
    turn.discriminator = ahead
    first = torch.autograd.grad(
        -model.loss.discriminator(turn.real_logits, turn.fake_logits), list(model.generator.parameters())
    )
    assert all((a - b).abs().max() > 0.05 * a.abs().max() for a, b in zip(whole, first, strict=True))


@pytest.mark.parametrize("steps", [1, 4])
def test_closed_form_of_the_bilinear_game(steps):
    """Critic w x under Wasserstein with the penalty weight / 2 w^2: R1, whose gradient is w.

    D's loss is w (f - r) + c/2 w^2, f being the mean of G's pixels, whose derivative by G's bias is 1. A step of rate e
    is w <- (1 - e c) w - e (f - r). G's objective is -w_K (f - r), with the derivative -(w_K + (f - r) dw_K/df), where
    dw_K/df = -e sum_{j < K} (1 - e c)^j.
    """
    torch.manual_seed(0)

    class Weight(nn.Module):
        features, independent = 1, True

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.4))

        def forward(self, images):
            return self.weight * images.flatten(1)

    rate, c = 0.25, 0.6
    trunk = Weight()
    model = unrolled({"r1": R1(c)}, trunk=trunk, loss=Wasserstein(), unroll_steps=steps, d_lr=rate)
    model.generator = Flat(3, side=1).double()
    with torch.no_grad():
        model.discriminator.head.linear.weight.fill_(1.0)
        model.discriminator.head.linear.bias.fill_(0.0)
    model.discriminator.head.requires_grad_(False)
    (reals,) = model.reals(*batch(model, side=1))
    turn = UnrolledTurn(model, "generator", 0, 0, reals[0], frozenset())
    model._learning = {"trunk.weight"}
    bias = model.generator.linear.bias
    (gradient,) = torch.autograd.grad(model.generator_objective(turn), bias)
    gap = (turn.fake.mean() - turn.real.mean()).item()
    w = 0.4
    for _ in range(steps):
        w = (1 - rate * c) * w - rate * gap
    slope = -rate * sum((1 - rate * c) ** j for j in range(steps))
    assert gradient.item() == pytest.approx(-(w + gap * slope), rel=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_d_is_left_as_it_was(optimizer):
    model = unrolled({"lecam": LeCam(start=0)}, trunk=NormedTrunk(), optimizer=optimizer, d_lr=0.01, unroll_steps=2)
    some_real_steps(model)
    for p in model.discriminator.parameters():
        p.grad = None

    def state():
        d_optimizer = model.player("discriminator")[1].optimizer
        named = dict(model.discriminator.state_dict()) | dict(model.penalties.state_dict())
        inner = {f"{i}/{k}": v for i, s in d_optimizer.state_dict()["state"].items() for k, v in s.items()}
        return {name: value.clone() for name, value in (named | inner).items() if value is not None}

    before = state()
    generator = [p.detach().clone() for p in model.generator.parameters()]
    model.generator_step(2, next(iter(model.reals(*batch(model)))))
    after = state()
    assert len(before) > 8 and all(torch.equal(after[name], value) for name, value in before.items())
    assert all(p.grad is None and p.requires_grad for p in model.discriminator.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(generator, model.generator.parameters(), strict=True))


def test_statistics_move_along_with_the_simulated_steps():
    """Power iterations and running means are those of real steps, on copies."""
    model = unrolled(trunk=NormedTrunk(), unroll_steps=2, d_lr=0.01)
    model._learning = {name for name, _ in model.discriminator.named_parameters()}
    ahead = model.unroll(turn_of_g(model))
    real = copy.deepcopy(model)
    attach(real)
    turn = turn_of_g(model)
    real.prior = SimpleNamespace(draw=lambda draws: turn.latents, labels="uniform", classes=0)
    for k in range(2):
        real.discriminator_step(k, next(iter(real.reals(*batch(real)))))
    for name, value in real.discriminator.named_buffers():
        torch.testing.assert_close(ahead.buffers[name], value, rtol=1e-9, atol=1e-12)
        assert not torch.equal(value, dict(model.discriminator.named_buffers())[name])
    for name, value in real.discriminator.named_parameters():
        torch.testing.assert_close(ahead.parameters[name], value, rtol=1e-9, atol=1e-12)


def test_penalties_and_lazy_ones_are_part_of_a_simulated_step():
    plain, every = unrolled(unroll_steps=1), unrolled({"r1": R1(5.0)}, unroll_steps=1)
    lazy = unrolled({"r1": R1(5.0, every=2)}, unroll_steps=1)  # due at even steps; D's next step is number 1
    assert objective(lazy).item() == objective(plain).item() != objective(every).item()
    lazy.rules = every.rules = dataclasses.replace(lazy.rules, unroll_steps=2)
    assert objective(lazy).item() not in (objective(plain).item(), objective(every).item())


def test_the_generators_own_loss_at_the_end():
    model = unrolled(unroll_steps=2, unroll_objective="loss", loss=Minimax())
    saddle = unrolled(unroll_steps=2, loss=Minimax())
    # minimax: minus D's loss, without the term of the real images, which depends on G through D's parameters
    assert objective(model).item() != pytest.approx(objective(saddle).item(), rel=1e-3)
    turn = turn_of_g(model)
    assert isinstance(turn.discriminator, Simulated)
    assert objective(model).item() == pytest.approx(model.loss.generator(turn.fake_logits).item(), rel=1e-12)
    assert objective(unrolled(unroll_objective="loss", loss=RelativisticAverage())).requires_grad


def test_a_frozen_layer_stays_frozen_in_the_simulation():
    model = unrolled(unroll_steps=2)
    model.discriminator.trunk.linear.weight.requires_grad_(False)
    seen = []
    inner = model.unroll
    model.unroll = lambda turn: seen.append(inner(turn)) or seen[0]
    model.generator_step(0, next(iter(model.reals(*batch(model)))))
    now = dict(model.discriminator.named_parameters())
    moved = {name for name, p in seen[0].parameters.items() if not torch.equal(p, now[name])}
    assert moved == {"trunk.linear.bias", "head.linear.weight", "head.linear.bias"}


def test_a_parameter_without_a_gradient_is_left_out():
    x, y = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    gradients = averaged_gradients(x.pow(3).sum(), {"x": x, "y": y, "z": torch.ones(1)})
    assert set(gradients) == {"x"} and gradients["x"].requires_grad
    torch.testing.assert_close(gradients["x"], torch.full((2,), 3.0))


def test_root_has_no_infinite_slope():
    x = torch.tensor([0.0, 4.0, 1e-300], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(root(x).sum(), x)
    assert root(x).tolist() == [0.0, 2.0, 1e-150] and slope[:2].tolist() == [0.0, 0.25]


def test_rules_have_the_names_of_the_optimisers():
    assert set(STEP_RULES) == set(optimisers.OPTIMISERS)


@pytest.mark.parametrize(
    ("option", "value"), [("unroll_steps", -1), ("unroll_optimizer", "lbfgs"), ("unroll_objective", "none")]
)
def test_wrong_options_are_refused(option, value):
    with pytest.raises(InputError, match=f"model.{option}={value}"):
        unrolled(**{option: value})
