"""What a turn computes, how often, and with which graph."""

import copy
from dataclasses import dataclass, field

import pytest
import torch
from tiny import attach, batch, dense_gan

from saddle.augment import Augment, NoAugment
from saddle.discriminator import Discriminator
from saddle.distributed import Share
from saddle.losses import Hinge
from saddle.penalties import R1, R2, Dragan, FeatureMatching, GradientPenalty, LeCam, PathLength
from saddle.precision import at_least_float32
from saddle.prior import Prior
from saddle.turn import Turn

B = 8


def turn(model, player="discriminator", step=0, micro=0, needs=()):
    (reals,) = next(iter(model.reals(*batch(model))))
    return Turn(model, player, step, micro, reals, frozenset(needs))


@pytest.mark.parametrize("independent", [True, False])
def test_one_pass_exactly_where_samples_are_independent(independent):
    model = dense_gan(independent=independent)
    t = turn(model)
    logits = t.real_logits, t.fake_logits
    assert model.discriminator.trunk.calls == (1 if independent else 2)
    apart = [model.discriminator(x, torch.zeros(B)).logits for x in (t.real, t.fake)]
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(logits, apart, strict=True))


def test_each_thing_is_computed_once():
    model = dense_gan()
    calls = []
    model.generator.register_forward_hook(lambda *_: calls.append("G"))
    t = turn(model)
    for _ in range(2):
        for name in ("real_logits", "fake_features", "fake_logits", "real_features", "fake", "real_verdict"):
            assert getattr(t, name) is getattr(t, name)
    assert model.discriminator.trunk.calls == 1 and calls == ["G"]


def test_a_generator_turn_sees_reals_only_when_asked():
    model = dense_gan()
    t = turn(model, "generator")
    assert t.fake_logits.requires_grad and model.discriminator.trunk.calls == 1
    assert t.real_features.shape == (B, 6) and model.discriminator.trunk.calls == 2
    assert t.real_logits.shape == (B,) and model.discriminator.trunk.calls == 2


@pytest.mark.parametrize(
    ("penalties", "forwards"),
    [({}, 2), ({"r1": R1(), "lecam": LeCam(start=0)}, 2), ({"feature_matching": FeatureMatching()}, 3)],
)
def test_forward_passes_of_one_iteration(penalties, forwards):
    model = attach(dense_gan(penalties))
    model.training_step(batch(model), 0)
    assert model.discriminator.trunk.calls == forwards


def test_a_discriminator_turn_has_no_graph_through_the_generator():
    model = dense_gan()
    t = turn(model)
    assert not t.fake.requires_grad and t.fake_logits.requires_grad
    (t.fake_logits.sum() + t.real_logits.sum()).backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None for p in model.discriminator.trunk.parameters())


@pytest.mark.parametrize("kind", ["real", "fake"])
@pytest.mark.parametrize("independent", [True, False])
def test_images_take_gradients_where_a_penalty_needs_them(kind, independent):
    plain = turn(dense_gan(independent=independent))
    assert not plain.real.requires_grad and not plain.fake.requires_grad
    model = dense_gan(independent=independent, augment=lambda images, draws: 2 * images)
    t = turn(model, needs=[f"{kind}_gradients"])
    logits, images = getattr(t, f"{kind}_verdict").logits, getattr(t, kind)
    (gradients,) = torch.autograd.grad(logits.sum(), images)
    # by hand: w of the head, tanh' of the hidden layer, and the factor 2 of the augmentation
    trunk, head = model.discriminator.trunk.linear, model.discriminator.head.linear
    hidden = torch.tanh(trunk(2 * images.flatten(1)))
    expected = 2 * ((1 - hidden**2) * head.weight) @ trunk.weight
    assert torch.allclose(gradients.flatten(1), expected)


def test_draws_do_not_depend_on_the_order_of_asking():
    model = dense_gan(classes=4)
    first, second = turn(model), turn(model)
    a = first.latents, first.fake_labels, first.draws("noise").normal(2)
    b = second.draws("noise").normal(2), second.fake_labels, second.latents
    assert all(torch.equal(x, y) for x, y in zip(a, reversed(b), strict=True))


def test_draws_differ_by_player_step_purpose_and_iteration():
    model = dense_gan()
    turns = [turn(model), turn(model, step=1), turn(model, "generator")]
    numbers = [t.latents[0, 0].item() for t in turns] + [turns[0].draws("other").normal(5)[0, 0].item()]
    model.iteration = 1
    numbers.append(turn(model).latents[0, 0].item())
    assert len(set(numbers)) == 5


def test_real_and_fake_are_augmented_apart_and_alike_in_order():
    seen = {}

    def augment(images, draws):
        seen[len(seen)] = draws.normal(1, 1, 1)
        return images + seen[len(seen) - 1]

    for order in (("real_logits", "fake_logits"), ("fake_logits", "real_logits")):
        model = dense_gan(independent=False, augment=augment)
        t = turn(model)
        for name in order:
            getattr(t, name)
    real, fake, fake_again, real_again = seen.values()
    assert torch.equal(real, real_again) and torch.equal(fake, fake_again) and not torch.equal(real, fake)


def test_logits_are_float32_at_least():
    model = dense_gan()
    discriminator = model.discriminator
    for narrow, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        discriminator.to(narrow)
        verdict = discriminator(torch.zeros(B, 1, 4, 4, dtype=narrow), torch.zeros(B, dtype=torch.int64))
        assert verdict.logits.dtype == expected and verdict.features.dtype == narrow
    discriminator.double()
    assert at_least_float32(torch.zeros(2, dtype=torch.float16)).dtype == torch.float32
    assert turn(model).real_logits.dtype == torch.float64


def test_a_generator_step_gives_the_discriminator_no_gradient():
    model = attach(dense_gan(loss=Hinge()))
    frozen_ones = [model.discriminator.trunk.linear.bias]
    frozen_ones[0].requires_grad_(False)  # e.g. a user's frozen layer
    inside = []
    objective = model.generator_objective

    def look(t):
        inside.extend(p.requires_grad for p in model.discriminator.parameters())
        return objective(t)

    model.generator_objective = look
    for reals in model.reals(*batch(model)):
        model.generator_step(0, reals)
    assert inside and not any(inside)
    assert all(p.grad is None for p in model.discriminator.parameters())
    assert all(p.grad is not None for p in model.generator.parameters())
    for p in model.discriminator.parameters():
        assert p.requires_grad is (p is not frozen_ones[0])


def test_the_discriminator_is_unfrozen_after_an_error():
    model = attach(dense_gan())
    model.generator_objective = lambda t: 1 / 0
    with pytest.raises(ZeroDivisionError):
        model.generator_step(0, next(iter(model.reals(*batch(model)))))
    assert all(p.requires_grad for p in model.discriminator.parameters())


class Once(torch.autograd.Function):
    """The identity, differentiable once: what torch.compile makes of a network."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient.clone()


def compiled(network, calls):
    """Make a network as torch.compile would: its call can be differentiated once, its forward any number of times."""

    def call(*inputs, **options):
        calls.append(network)
        x, *rest = inputs
        return network.forward(Once.apply(x), *rest, **options)

    network._compiled_call_impl = call


@pytest.mark.parametrize(
    "penalty", [R1(), R2(), GradientPenalty(), Dragan(), PathLength(), LeCam(start=0)], ids=lambda p: type(p).__name__
)
def test_compiled_networks_are_called_but_where_a_penalty_differentiates_twice(penalty):
    states = []
    for compile in (False, True):
        model, calls = attach(dense_gan({"penalty": copy.deepcopy(penalty)})), []
        if compile:
            compiled(model.generator, calls), compiled(model.discriminator, calls)
        model.training_step(batch(model), 0)
        states.append([p.detach() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert {type(network) for network in calls} == {type(model.generator), type(model.discriminator)}


@dataclass
class SmallGame:
    """All that a turn asks of a game."""

    generator: torch.nn.Module
    discriminator: Discriminator
    augment: Augment = field(default_factory=NoAugment)
    prior: Prior = Prior(5)
    seed: int = 0
    iteration: int = 0
    share: Share = Share(B)

    def track(self, name, value):
        raise AssertionError("nothing is logged here")


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_turn_needs_no_model_but_a_game(player):
    model = dense_gan()
    ours, theirs = (
        Turn(game, player, 0, 0, next(iter(model.reals(*batch(model))))[0], R1.needs)
        for game in (SmallGame(model.generator, model.discriminator), model)
    )
    assert torch.equal(ours.fake, theirs.fake) and torch.equal(ours.fake_logits, theirs.fake_logits)
    assert R1()(ours).item() == R1()(theirs).item() > 0
