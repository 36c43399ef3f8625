"""BEGAN's game and its controller, on tiny networks without a trainer."""

import copy
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import Dense, Flat, attach, batch, gan_of

from saddle.augment import NoAugment
from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads import LinearHead
from saddle.heads.reconstruction import Decoder, Reconstruction
from saddle.losses import Hinge, Wasserstein
from saddle.models.began import BEGAN


def began(loss=None, head=None, **options) -> BEGAN:
    """Linear networks in float64 on 4x4 images."""
    torch.manual_seed(0)
    trunk = Dense(16)
    decoder = partial(Decoder, width=1, resolution=4, init="xavier")
    head = head or Reconstruction(trunk.features, 0, decoder=decoder, channels=1, error="l1", init="xavier")
    options = {"classes": 0, "batch_size": 8, "latent_dim": 5, "ema": 0.0} | options
    model = gan_of(BEGAN, Flat(5), Discriminator(trunk, head), loss or Wasserstein(), {}, NoAugment(), **options)
    return attach(model.double())


def error(model: BEGAN, images: torch.Tensor) -> torch.Tensor:
    """L of images, as their mean absolute reconstruction error."""
    verdict = model.discriminator(images, torch.zeros(len(images)).long())
    return (images - model.discriminator.head.decoder(verdict.features)).abs().flatten(1).mean(1).mean()


def record(model: BEGAN) -> list[tuple[float, float, float, float]]:
    """What the controller sees from now on: (k before, L(x), L(G(z)), k after), one entry per iteration."""
    seen, balance = [], model.balance

    def listening(real, fake):
        before = model.k.item()
        balance(real, fake)
        seen.append((before, real.item(), fake.item(), model.k.item()))

    model.balance = listening
    return seen


def test_the_objectives_are_the_papers():
    model, seen = began(), []
    model.k.fill_(0.3)
    for player in ("discriminator", "generator"):
        objective = getattr(model, f"{player}_objective")

        def listening(turn, objective=objective):
            value = objective(turn)
            seen.append((turn.player, value.item(), error(model, turn.real).item(), error(model, turn.fake).item()))
            return value

        setattr(model, f"{player}_objective", listening)
    controller = record(model)
    model.training_step(batch(model), 0)
    (_, d_value, d_real, d_fake), (_, g_value, _, g_fake) = seen
    assert d_value == pytest.approx(d_real - 0.3 * d_fake, rel=1e-12)
    assert g_value == pytest.approx(g_fake, rel=1e-12)
    assert controller == [(pytest.approx(0.3), pytest.approx(d_real), pytest.approx(g_fake), model.k.item())]
    assert g_fake != d_fake  # fresh latents, and a D that has stepped


def test_k_follows_the_formula_and_is_logged():
    model = began(gamma=0.7, lambda_k=0.2)
    model.k.fill_(0.5)
    seen = record(model)
    ks, measures = [], []
    for i in range(4):
        model.training_step(batch(model, seed=i), i)
        scalars = model.tracked()
        ks.append(scalars["train/k"])
        measures.append(scalars["train/convergence"])
    k = 0.5
    for (before, real, fake, after), logged, measure in zip(seen, ks, measures, strict=True):
        assert before == pytest.approx(k)
        k = min(max(k + 0.2 * (0.7 * real - fake), 0.0), 1.0)
        assert after == pytest.approx(k) == logged
        assert measure == pytest.approx(real + abs(0.7 * real - fake))
    assert len(set(ks)) == 4


@settings(max_examples=30)
@given(st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0.01, 1), st.floats(1e-4, 100))
def test_k_is_bounded(k, real, fake, gamma, lambda_k):
    model = began(gamma=gamma, lambda_k=lambda_k)
    model.k.fill_(k)
    model.balance(torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64))
    assert 0 <= model.k.item() <= 1
    assert model.k.item() == pytest.approx(min(max(k + lambda_k * (gamma * real - fake), 0), 1), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_step_leaves_k_alone(value):
    model = began()
    model.k.fill_(0.25)
    model.balance(torch.tensor(value).double(), torch.tensor(1.0).double())
    assert model.k.item() == 0.25


def test_k_is_in_the_checkpoint_and_training_goes_on_from_it():
    straight = began(lambda_k=0.1)
    straight.k.fill_(0.5)
    for i in range(2):
        straight.training_step(batch(straight, seed=i), i)
    state = {name: value.clone() for name, value in straight.state_dict().items()}
    optimizers = [copy.deepcopy(optimizer.optimizer.state_dict()) for optimizer in straight.optimizers()]
    assert 0 < state["k"].item() < 0.5
    resumed = began(lambda_k=0.1)
    resumed.load_state_dict(state)
    for optimizer, values in zip(resumed.optimizers(), optimizers, strict=True):
        optimizer.optimizer.load_state_dict(values)
    resumed.iteration = 2
    for model in (straight, resumed):
        model.training_step(batch(model, seed=2), 2)
    assert resumed.k != state["k"]
    assert all(torch.equal(value, straight.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_micro_batches_do_not_change_the_controller():
    seen = []
    for accumulate in (1, 2, 4):
        model = began(accumulate=accumulate, lambda_k=0.1)
        model.k.fill_(0.5)
        entries = record(model)
        for i in range(3):
            model.training_step(batch(model, seed=i), i)
        seen.append(entries)
    for entries in seen[1:]:
        for entry, expected in zip(entries, seen[0], strict=True):
            assert entry == pytest.approx(expected, rel=1e-9)


def test_the_controller_reads_the_last_of_several_discriminator_steps():
    model, errors = began(d_steps=3), []
    measure = model.measure
    model.measure = lambda kind, logits: errors.append((kind, -logits.mean().item())) or measure(kind, logits)
    seen = record(model)
    model.training_step(batch(model), 0)
    assert [kind for kind, _ in errors] == ["real", "real", "real", "fake"]
    assert seen[0][1:3] == (pytest.approx(errors[2][1]), pytest.approx(errors[3][1]))


def test_senseless_partners_are_refused():
    with pytest.raises(InputError, match="model/head=began"):
        began(head=LinearHead(6, 0))
    with pytest.raises(InputError, match="loss=wasserstein"):
        began(loss=Hinge())
