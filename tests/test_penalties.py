"""Regularisers against closed forms, slow loops and finite differences."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from tiny import attach, batch, dense_gan
from torch import nn

from saddle import penalties
from saddle.config.instantiate import instantiate
from saddle.discriminator import Discriminator
from saddle.distributed import Share
from saddle.errors import InputError
from saddle.heads import LinearHead
from saddle.losses import Wasserstein
from saddle.networks.norm import spectral_norm
from saddle.penalties import (
    R1,
    R2,
    Consistency,
    Dragan,
    Drift,
    FeatureMatching,
    GradientPenalty,
    LeCam,
    Orthogonal,
    PathLength,
    Penalty,
    PullingAway,
    WeightClip,
    input_gradients,
    shaken,
)
from saddle.randomness import Draws, Rows
from saddle.turn import MicroBatch, Turn

YAMLS = {path.stem: path for path in (Path(__file__).parent.parent / "conf" / "penalty").glob("*.yaml")}


def images(n=6, seed=0):
    return torch.randn(n, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def turn_of(critic, real):
    """A turn that offers what R1 reads."""
    real = real.requires_grad_()
    return SimpleNamespace(real=real, real_verdict=SimpleNamespace(logits=critic(real.flatten(1))))


def test_r1_of_a_linear_critic():
    w = torch.arange(18, dtype=torch.float64, requires_grad=True)
    term = R1(weight=3.0)(turn_of(lambda x: x @ w + 5, images()))
    assert term.item() == pytest.approx(3 / 2 * (torch.arange(18) ** 2).sum().item())
    (gradient,) = torch.autograd.grad(term, w)
    assert torch.allclose(gradient, 3 * w)


def test_r1_of_a_quadratic_critic():
    a = torch.randn(18, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    x = images()
    term = R1(weight=10.0)(turn_of(lambda x: ((x @ a) * x).sum(1), x))
    gradients = x.detach().flatten(1) @ (a + a.T)  # of x^T a x
    assert term.item() == pytest.approx(5 * gradients.square().sum(1).mean().item())
    (by_hand,) = torch.autograd.grad(5 * gradients.square().sum(1).mean(), a)
    assert torch.allclose(torch.autograd.grad(term, a)[0], by_hand)


def test_input_gradients_are_each_images_own():
    x = images().requires_grad_()
    scale = torch.arange(6, dtype=torch.float64)
    assert torch.equal(input_gradients(scale * x.flatten(1).sum(1), x)[:, 1, 2, 0], scale)


def lecam_by_hand(real, fake, weight, decay, start):
    """The terms of successive steps, in numpy."""
    terms, a_r, a_f = [], None, None
    for step, (r, f) in enumerate(zip(real, fake, strict=True)):
        a_r = r.mean() if a_r is None else decay * a_r + (1 - decay) * r.mean()
        a_f = f.mean() if a_f is None else decay * a_f + (1 - decay) * f.mean()
        over, under = np.maximum(0, r - a_f) ** 2, np.maximum(0, a_r - f) ** 2
        terms.append(weight * (over.mean() + under.mean()) if step >= start else 0.0)
    return terms, a_r, a_f


def test_lecam_is_its_formula_over_several_steps():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(1, 2, (8, 5)), rng.normal(-1, 2, (8, 5))
    penalty = LeCam(weight=0.7, decay=0.9, start=3).double()
    terms = []
    for step in range(8):
        turn = SimpleNamespace(
            step=step, micro=0, real_logits=torch.tensor(real[step]), fake_logits=torch.tensor(fake[step])
        )
        terms.append(penalty(turn).item())
    expected, a_r, a_f = lecam_by_hand(real, fake, 0.7, 0.9, 3)
    assert terms == pytest.approx(expected, rel=1e-12)
    assert terms[2] == 0 and terms[3] > 0
    assert penalty.real_average.item() == pytest.approx(a_r)
    assert penalty.fake_average.item() == pytest.approx(a_f)
    assert set(penalty.state_dict()) == {"real_average", "fake_average"}


def test_lecam_averages_are_values_and_survive_the_next_turn():
    penalty = LeCam(weight=1.0, decay=0.5, start=0).double()
    logits = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)

    def turn(step):
        return SimpleNamespace(step=step, micro=0, real_logits=logits, fake_logits=-logits)

    first = penalty(turn(0))
    penalty(turn(1))  # changes the averages before the first term is differentiated
    (gradient,) = torch.autograd.grad(first, logits)
    # averages 2 and -2: mean of (r + 2)^2, and of (2 - f)^2 with f = -r
    assert torch.allclose(gradient, 2 * (logits + 2))


def test_weight_clip_bounds_the_critic_after_its_step_and_leaves_the_generator():
    model = attach(dense_gan({"weight_clip": WeightClip(0.05)}))
    before = model.generator.linear.weight.abs().max()
    assert model.discriminator.trunk.linear.weight.abs().max() > 0.05 and before > 0.05
    model.training_step(batch(model), 0)
    assert all(p.abs().max() <= 0.05 for p in model.discriminator.parameters())
    assert model.generator.linear.weight.abs().max() > 0.05
    with pytest.raises(InputError, match="limit"):
        WeightClip(0)


def test_feature_matching_is_the_squared_distance_of_means():
    torch.manual_seed(0)
    real, fake = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    real.requires_grad_(), fake.requires_grad_()
    term = FeatureMatching(weight=2.0)(SimpleNamespace(real_features=real, fake_features=fake))
    by_hand = 2 * ((real.detach().numpy().mean(0) - fake.detach().numpy().mean(0)) ** 2).sum()
    assert term.dtype == torch.float64
    assert term.item() == pytest.approx(by_hand, rel=1e-14)
    gradients = torch.autograd.grad(term, (real, fake), allow_unused=True)
    assert gradients[0] is None and gradients[1].abs().sum() > 0


def test_path_length_of_a_linear_generator():
    model = dense_gan(latent_dim=5, side=4, batch_size=8)
    penalty = PathLength(weight=2.0, decay=0.25).double()
    penalty.average.fill_(0.3)

    def draws(purpose):
        return Draws(0, 0, purpose, Rows(0, 8, 8), dtype=torch.float64)

    def generate(latents, labels, purpose):
        return model.generator(latents, labels)

    labels = torch.zeros(8, dtype=torch.long)
    term = penalty(SimpleNamespace(game=model, draws=draws, generate=generate, fake_labels=labels))
    y = draws("path_length/noise").normal(1, 4, 4).flatten(1) / 4  # sqrt(H W) = 4
    lengths = (y @ model.generator.linear.weight).norm(dim=1)  # J^T y, J being the weight matrix
    average = 0.3 + 0.25 * (lengths.mean() - 0.3)
    assert penalty.average.item() == pytest.approx(average.item(), rel=1e-12)
    expected = 2 * (lengths - average.detach()).square().mean()
    assert term.item() == pytest.approx(expected.item(), rel=1e-12)
    weight = model.generator.linear.weight
    assert torch.allclose(*(torch.autograd.grad(value, weight)[0] for value in (term, expected)))


def orthogonal_by_hand(matrices):
    total = 0.0
    for matrix in matrices:
        gram = matrix @ matrix.T
        total += (gram * (1 - np.eye(len(gram))) ** 2 * gram).sum()
    return total


def test_orthogonal_is_the_off_diagonal_of_every_layer():
    torch.manual_seed(0)
    generator = nn.Sequential(
        nn.Linear(3, 4),
        nn.Conv2d(2, 3, 3),
        nn.ConvTranspose2d(3, 2, 3),
        spectral_norm(nn.Conv2d(2, 5, 1)),
        nn.Embedding(7, 3),
        nn.BatchNorm2d(3),
    ).double()
    term = Orthogonal(weight=0.5)(SimpleNamespace(game=SimpleNamespace(generator=generator), real=images()))
    linear, convolution, transposed = (generator[i].weight.detach().numpy() for i in range(3))
    raw = generator[3].parametrizations.weight.original.detach().numpy()
    matrices = [linear, convolution.reshape(3, -1), transposed.transpose(1, 0, 2, 3).reshape(2, -1), raw.reshape(5, -1)]
    assert term.item() == pytest.approx(0.5 * orthogonal_by_hand(matrices), rel=1e-12)


def test_orthogonal_does_not_drown_in_bfloat16():
    torch.manual_seed(0)
    generator = nn.Linear(64, 64)
    nn.init.orthogonal_(generator.weight)
    turn = SimpleNamespace(game=SimpleNamespace(generator=generator), real=torch.zeros(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert Orthogonal(weight=1.0)(turn).item() < 1e-8


def test_orthogonal_filters_cost_nothing_whatever_their_norms():
    generator = nn.Linear(4, 4).double()
    nn.init.orthogonal_(generator.weight)
    generator.weight.data *= torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    turn = SimpleNamespace(game=SimpleNamespace(generator=generator), real=images())
    assert Orthogonal(weight=1.0)(turn).item() < 1e-25


def test_orthogonal_on_a_known_matrix():
    generator = nn.Linear(3, 2, bias=False).double()
    generator.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]], dtype=torch.float64)
    turn = SimpleNamespace(game=SimpleNamespace(generator=generator), real=images())
    # W W^T = [[5, 2], [2, 10]]
    assert Orthogonal(weight=0.5)(turn).item() == pytest.approx(0.5 * (4 + 4))
    full = Orthogonal(weight=0.5, form="full")(turn)
    assert full.item() == pytest.approx(0.5 * (16 + 4 + 4 + 81))
    weight = generator.weight
    (gradient,) = torch.autograd.grad(full, weight)
    assert torch.allclose(gradient, 0.5 * 4 * (weight @ weight.T - torch.eye(2)) @ weight)
    (gradient,) = torch.autograd.grad(Orthogonal(weight=0.5)(turn), weight)
    assert torch.allclose(gradient, 0.5 * 4 * torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=torch.float64) @ weight)
    with pytest.raises(InputError, match="one of off_diagonal, full"):
        Orthogonal(form="half")


# ---- turns of critics whose gradients are known ---------------------------------------------------------------------


class Critic(nn.Module):
    """A trunk of one feature, a function of the flattened images."""

    features, independent = 1, True

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images.flatten(1))[:, None]


def turn_with(function, *, packing=1, player="discriminator", step=0, penalty=None, real=None, **options):
    """A turn in which the logit of a (pack of) flattened images is `function` of them; 8 images of 2 x 4 x 4."""
    model = dense_gan(channels=2, **options)
    head = LinearHead(1, 0).double()
    nn.init.ones_(head.linear.weight), nn.init.zeros_(head.linear.bias)
    model.discriminator = Discriminator(Critic(function), head, packing)
    if real is None:
        real = torch.randn(
            model.share.batch_size, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
        )
    labels = torch.zeros(len(real), dtype=torch.long)
    return Turn(model, player, step, 0, MicroBatch(real, labels), frozenset() if penalty is None else penalty.needs)


def vector(packing, scale=1.0):
    w = torch.randn(32 * packing, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return scale * w / w.norm()


def symmetric(packing):
    a = torch.randn(32 * packing, 32 * packing, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return (a + a.T) / 16


@pytest.mark.parametrize("packing", [1, 2])
@pytest.mark.parametrize("slope", [0.5, 1.0, 2.5])
@pytest.mark.parametrize(
    ("penalty", "value"),
    [
        (R1(3.0), lambda s: 3 / 2 * s**2),
        (R2(3.0), lambda s: 3 / 2 * s**2),
        (GradientPenalty(10.0), lambda s: 10 * (s - 1) ** 2),
        (GradientPenalty(10.0, target=2.0), lambda s: 10 * (s - 2) ** 2),
        (GradientPenalty(10.0, one_sided=True), lambda s: 10 * max(0, s - 1) ** 2),
        (Dragan(10.0), lambda s: 10 * (s - 1) ** 2),
        (Dragan(7.0, two_sided=True), lambda s: 7 * (s - 1) ** 2),
    ],
    ids=lambda p: type(p).__name__ if isinstance(p, Penalty) else "",
)
def test_gradient_penalties_of_a_linear_critic(penalty, value, slope, packing):
    w = vector(packing, slope).requires_grad_()
    term = penalty(turn_with(lambda x: x @ w + 5, packing=packing, penalty=penalty))
    assert term.item() == pytest.approx(value(slope), rel=1e-12, abs=1e-28)
    (gradient,) = torch.autograd.grad(term, w)
    by_slope = (value(slope + 1e-6) - value(slope - 1e-6)) / 2e-6
    assert torch.allclose(gradient, by_slope * w.detach() / slope, rtol=1e-6, atol=2e-5 if slope == 1 else 1e-8)


def packs(x, packing):
    """Images as flat packs, in numpy: b consecutive images after one another."""
    return x.detach().numpy().reshape(len(x) // packing, -1)


def places(turn, purpose, packing):
    """Each image's own random place, that of its pack's first image."""
    return turn.draws(purpose).uniform().numpy()[::packing].repeat(packing)[:, None, None, None]


@pytest.mark.parametrize("packing", [1, 2, 4])
@pytest.mark.parametrize("kind", ["r1", "r2", "gradient_penalty", "one_sided", "dragan", "two_sided"])
def test_gradient_penalties_of_a_quadratic_critic(kind, packing):
    a = symmetric(packing).requires_grad_()
    penalty = {
        "r1": R1(3.0),
        "r2": R2(3.0),
        "gradient_penalty": GradientPenalty(),
        "one_sided": GradientPenalty(one_sided=True, target=3.0),
        "dragan": Dragan(),
        "two_sided": Dragan(two_sided=True),
    }[kind]
    turn = turn_with(lambda x: ((x @ a) * x).sum(1) / 2, packing=packing, penalty=penalty)
    term = penalty(turn)

    real, fake = turn.real.detach().numpy(), turn.fake.detach().numpy()
    noise = turn.draws("dragan/noise").uniform(2, 4, 4).numpy()
    noise = 2 * noise - 1 if kind == "two_sided" else noise
    u = places(turn, "dragan/place" if isinstance(penalty, Dragan) else "gradient_penalty/place", packing)
    points = {"r1": real, "r2": fake}.get(kind)
    if points is None and isinstance(penalty, Dragan):
        points = real + u * (real + 0.5 * real.std() * noise - real)
    elif points is None:
        points = u * real + (1 - u) * fake
    # the gradient of x^T A x / 2 is A x, for all the pixels of a pack
    norms = np.linalg.norm(points.reshape(8 // packing, -1) @ a.detach().numpy(), axis=1)
    expected = {
        "r1": 1.5 * (norms**2).mean(),
        "r2": 1.5 * (norms**2).mean(),
        "one_sided": 10 * (np.maximum(0, norms - 3) ** 2).mean(),
    }.get(kind, 10 * ((norms - 1) ** 2).mean())
    assert term.item() == pytest.approx(expected, rel=1e-12) and expected > 0
    (gradient,) = torch.autograd.grad(term, a)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_interpolates_have_places_of_their_own_and_packs_share_them():
    def places_of(packing):
        turn = turn_with(lambda x: x.sum(1), packing=packing)
        points, real, fake = GradientPenalty().points(turn), turn.real, turn.fake
        u = (points - fake) / (real - fake)
        assert torch.allclose(u, u[:, :1, :1, :1].expand_as(u), atol=1e-9) and (u >= 0).all() and (u <= 1).all()
        return u[:, 0, 0, 0]

    assert len(places_of(1).unique()) == 8
    shared = places_of(4).round(decimals=9)
    assert len(shared.unique()) == 2 and len(shared[:4].unique()) == 1


def test_dragan_noise_brightens_unless_it_is_two_sided():
    real = torch.randn(512, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    for two_sided, low, mean in ((False, 0.0, 0.125), (True, -0.5, 0.0)):  # std / 2 * E u * E U
        turn = turn_with(lambda x: x.sum(1), real=real, batch_size=512)
        change = (Dragan(two_sided=two_sided).points(turn) - real) / real.std(correction=0)
        assert change.min() >= low and change.max() <= 0.5
        assert change.mean().item() == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize("penalty", [R1(), R2(), GradientPenalty(), Dragan()], ids=lambda p: type(p).__name__)
def test_a_flat_critic_has_a_finite_gradient(penalty):
    w = torch.zeros(32, dtype=torch.float64, requires_grad=True)
    term = penalty(turn_with(lambda x: x @ w, penalty=penalty))
    assert torch.autograd.grad(term, w)[0].isfinite().all()


def test_gradients_are_those_at_images_before_augmentation():
    w = vector(1, 2.0)
    for penalty in (R1(2.0), R2(2.0), GradientPenalty(1.0), Dragan(1.0)):
        # D sees images three times as strong: the slope with respect to the image itself is 6
        turn = turn_with(lambda x: x @ w, penalty=penalty, augment=lambda images, draws: 3 * images)
        assert penalty(turn).item() == pytest.approx(36 if isinstance(penalty, R1 | R2) else 25)


def test_drift_is_the_mean_square_of_the_real_logits():
    turn = turn_with(lambda x: x.sum(1) + 1)
    logits = turn.real.numpy().reshape(8, -1).sum(1) + 1
    assert Drift()(turn).item() == pytest.approx(0.001 * (logits**2).mean(), rel=1e-12)
    assert Drift(weight=2.0)(turn).item() == pytest.approx(2 * (logits**2).mean(), rel=1e-12)


def pulling_away_by_hand(features):
    """The sum over pairs as two loops."""
    n, total = len(features), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                cosine = features[i] @ features[j] / (np.linalg.norm(features[i]) * np.linalg.norm(features[j]))
                total += cosine**2
    return total / (n * (n - 1))


@given(st.integers(2, 7), st.integers(1, 5), st.integers(0, 100))
def test_pulling_away_is_its_double_loop(n, f, seed):
    features = np.random.default_rng(seed).normal(size=(n, f))
    term = PullingAway(0.3)(SimpleNamespace(fake_features=torch.tensor(features)))
    assert term.item() == pytest.approx(0.3 * pulling_away_by_hand(features), rel=1e-10, abs=1e-15)


def test_pulling_away_between_none_and_all():
    penalty = PullingAway()
    assert penalty(SimpleNamespace(fake_features=torch.eye(4))).item() == pytest.approx(0, abs=1e-7)
    assert penalty(SimpleNamespace(fake_features=torch.ones(4, 3))).item() == pytest.approx(0.1)
    zero = torch.zeros(4, 3, requires_grad=True)
    assert torch.autograd.grad(penalty(SimpleNamespace(fake_features=zero)), zero)[0].isfinite().all()
    with pytest.raises(InputError, match="batch_size of 2"):
        penalty(SimpleNamespace(fake_features=torch.ones(1, 3)))


# ---- consistency ----------------------------------------------------------------------------------------------------


def shaken_by_hand(x, draws):
    """Flip, reflecting pad and crop, an image after the other."""
    height, width = x.shape[2:]
    tall, broad = height // 8, width // 8
    flips = draws.uniform(1, 1, 1).flatten().tolist()
    downs = (draws.integers(2 * tall + 1, 1) - tall).flatten().tolist()
    rights = (draws.integers(2 * broad + 1, 1) - broad).flatten().tolist()
    changed = np.empty_like(x)
    for n, (flip, down, right) in enumerate(zip(flips, downs, rights, strict=True)):
        image = x[n, :, :, ::-1] if flip < 0.5 else x[n]
        padded = np.pad(image, ((0, 0), (tall, tall), (broad, broad)), mode="reflect")
        top, left = tall + down, broad + right
        changed[n] = padded[:, top : top + height, left : left + width]
    return changed, flips, downs, rights


def small_turn(b, seed=0):
    """A turn with nothing but its random numbers."""
    return SimpleNamespace(draws=lambda purpose: Draws(seed, 0, purpose, Rows(0, b, b), dtype=torch.float64))


def test_the_change_of_consistency_is_flip_and_shift_with_reflection():
    x = torch.randn(64, 3, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    x.requires_grad_()
    turn = small_turn(64)
    changed = shaken(turn, x, "real")
    expected, flips, downs, rights = shaken_by_hand(x.detach().numpy(), turn.draws("consistency/real"))
    assert changed.shape == x.shape and np.array_equal(changed.detach().numpy(), expected)
    # every case occurs: both orientations, all shifts up to an eighth
    assert 15 < sum(flip < 0.5 for flip in flips) < 49
    assert set(downs) == set(range(-2, 3)) and set(rights) == set(range(-3, 4))
    weights = torch.randn(changed.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    (gradient,) = torch.autograd.grad((changed * weights).sum(), x)
    # the adjoint of a linear map: <T x, w> = <x, T' w>
    assert (gradient * x).sum().item() == pytest.approx((changed * weights).sum().item(), rel=1e-10)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 50))
def test_the_change_leaves_flat_images_and_their_colours(height, width, seed):
    colours = torch.randn(5, 3, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    flat = colours.expand(5, 3, height, width)
    assert torch.equal(shaken(small_turn(5, seed), flat, "real"), flat)


def test_consistency_vanishes_for_an_invariant_critic():
    turn = turn_with(lambda x: x.mean(1) ** 2)  # 4 x 4 images are too small to be shifted: only flips
    assert Consistency(fake=10.0)(turn).item() == pytest.approx(0, abs=1e-28)
    flat = torch.arange(8.0, dtype=torch.float64).reshape(8, 1, 1, 1).expand(8, 2, 4, 4).contiguous()
    w = vector(1)
    assert Consistency()(turn_with(lambda x: (x @ w).tanh(), real=flat)).item() == pytest.approx(0, abs=1e-28)


@pytest.mark.parametrize(("real", "fake"), [(10.0, 0.0), (0.0, 10.0), (10.0, 4.0)])
def test_consistency_is_the_squared_change_of_the_logits(real, fake):
    w = vector(1)
    turn = turn_with(lambda x: x @ w)
    expected = 0.0
    for weight, kind in ((real, "real"), (fake, "fake")):
        x = getattr(turn, kind).detach().numpy()
        changed, *_ = shaken_by_hand(x, turn.draws(f"consistency/{kind}"))
        expected += weight * (((x - changed).reshape(8, -1) @ w.numpy()) ** 2).mean()
    assert expected > 0
    assert Consistency(real, fake)(turn).item() == pytest.approx(expected, rel=1e-12)


def test_latent_consistency_of_linear_players():
    w = vector(1)
    penalty = Consistency(real=0.0, latent_d=20.0, latent_g=0.5)
    for player in ("discriminator", "generator"):
        turn = turn_with(lambda x: x @ w, player=player)
        noise = turn.draws("consistency/latents").normal(5).numpy()
        moved = 0.05 * noise @ turn.game.generator.linear.weight.detach().numpy().T  # G(z') - G(z), flattened
        expected = 20 * ((moved @ w.numpy()) ** 2).mean() if player == "discriminator" else -0.5 * (moved**2).mean()
        assert penalty(turn).item() == pytest.approx(expected, rel=1e-9)


def test_consistency_acts_on_the_players_that_have_a_weight():
    def acts(**options):
        penalty = Consistency(**options)
        return penalty.acts_on("discriminator"), penalty.acts_on("generator")

    assert acts() == (True, False)
    assert acts(latent_g=0.5) == (True, True)
    assert acts(real=0.0, latent_g=0.5) == (False, True)
    assert acts(real=0.0) == (False, False)
    assert acts(real=0.0, latent_d=1.0) == (True, False)


def test_consistency_is_part_of_the_loss_of_each_player_that_has_a_weight():
    def trained(**options):
        model = attach(dense_gan({"consistency": Consistency(**{"real": 0.0, **options})}))
        model.training_step(batch(model), 0)
        return model.discriminator.trunk.linear.weight, model.generator.linear.weight

    (d, g), (d_alone, _), (d_same, g_alone) = trained(), trained(latent_d=20.0), trained(latent_g=50.0)
    assert not torch.equal(d, d_alone)
    assert torch.equal(d, d_same) and not torch.equal(g, g_alone)


# ---- gradients of every penalty -------------------------------------------------------------------------------------

#: Every penalty of conf/penalty as it is, and with other options.
CASES = {name: instantiate(OmegaConf.load(path)[name], Penalty) for name, path in YAMLS.items() if name != "none"} | {
    "gradient_penalty one-sided": GradientPenalty(one_sided=True, target=0.1),
    "consistency of all": Consistency(fake=3.0, latent_d=20.0, latent_g=0.5),
    "orthogonal full": Orthogonal(form="full"),
}


@pytest.mark.parametrize("name", sorted(YAMLS.keys() - {"none"}))
def test_a_yaml_of_a_penalty_says_whether_it_takes_each_samples_gradient(name):
    """So that it is refused beside batch norm in D, before work starts. DRAGAN is not: its paper has both."""
    facts = OmegaConf.load(YAMLS[name])[name].get("facts", {})
    assert isinstance(CASES[name], Penalty)
    if CASES[name].needs or name == "gradient_penalty":
        assert facts.get("per_sample_gradient"), f"conf/penalty/{name}.yaml: add facts: {{per_sample_gradient: true}}"
    assert "dragan" not in name or "per_sample_gradient" not in facts


@pytest.mark.parametrize("packing", [1, 2])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_of_the_parameters_are_central_differences(name, player, packing, monkeypatch):
    if not CASES[name].acts_on(player):
        return
    # averages stand still, so that the differences see them as the constants that they are to the gradient
    monkeypatch.setattr(penalties, "follow", lambda average, value, weight: None)
    model = dense_gan(channels=2, side=8)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(128 * packing, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh())
    trunk.features, trunk.independent = 4, True
    model.discriminator = Discriminator(trunk, LinearHead(4, 0), packing).double()
    (reals,) = next(iter(model.reals(*batch(model, channels=2, side=8))))
    parameters = list(getattr(model, player).parameters())

    def value():
        penalty = copy.deepcopy(CASES[name]).double()
        for buffer in penalty.buffers():
            buffer.fill_(0.1)
        return penalty(Turn(model, player, 10_000, 0, reals, penalty.needs))  # late: some begin to act after a while

    if value() is None:  # a constraint
        assert type(CASES[name]).after_step is not Penalty.after_step
        return
    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    assert any(g.abs().max() > 0 for g in gradients)
    torch.manual_seed(9)
    for _ in range(4):
        directions = [torch.randn_like(p) for p in parameters]
        ends = []
        for sign in (1, -1):
            for p, d in zip(parameters, directions, strict=True):
                p.data += sign * 1e-5 * d
            ends.append(value().item())
            for p, d in zip(parameters, directions, strict=True):
                p.data -= sign * 1e-5 * d
        exact = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True))
        size = sum((g.square().sum().item()) for g in gradients) ** 0.5
        assert exact == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-7 * size)


# ---- what a gradient penalty does to a critic -----------------------------------------------------------------------

SHIFT, LAMBDA = 3.0, 10.0


def trained_critic(trunk, features, steps, rate):
    """A critic of points in the plane, trained with the gradient penalty between N(0, I) and N(SHIFT e_1, I)."""
    model = dense_gan(latent_dim=2, channels=2, side=1, batch_size=256, loss=Wasserstein())
    nn.init.eye_(model.generator.linear.weight), nn.init.zeros_(model.generator.linear.bias)
    trunk.features, trunk.independent = features, True
    model.discriminator = Discriminator(trunk, LinearHead(features, 0)).double()
    penalty, labels = GradientPenalty(LAMBDA), torch.zeros(256, dtype=torch.long)
    optimizer = torch.optim.Adam(model.discriminator.parameters(), rate, betas=(0.5, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        real = torch.randn(256, 2, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        real[:, 0] += SHIFT
        turn = Turn(model, "discriminator", step, 0, MicroBatch(real, labels), penalty.needs)
        optimizer.zero_grad()
        (model.loss.discriminator(turn.real_logits, turn.fake_logits) + penalty(turn)).backward()
        optimizer.step()
        schedule.step()
    return model, penalty


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_two_sided_penalty_lets_the_critic_overshoot_as_predicted(kind):
    """Slope 1 + W / (2 lambda), raw estimate W (1 + W / (2 lambda)), objective W + W^2 / (4 lambda).

    Exact for linear critics. Among all critics it would be for points paired by the shift; real and generated images
    are paired at random, which lifts the best critic's estimate by one per cent here.
    """
    torch.manual_seed(0)
    if kind == "linear":
        model, penalty = trained_critic(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 250, 0.05)
    else:
        layers = [nn.Flatten(), nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU()]
        model, penalty = trained_critic(nn.Sequential(*layers), 32, 500, 0.01)
    # both kinds from the same points, so that their means differ by exactly W
    n = 20000
    model.share = Share(n)
    points = torch.randn(n, 2, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(10_000))
    shifted = points + torch.tensor([SHIFT, 0.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    labels = torch.zeros(n, dtype=torch.long)
    turn = Turn(model, "discriminator", 0, 0, MicroBatch(shifted, labels), penalty.needs)
    turn.fake = points[torch.randperm(n, generator=torch.Generator().manual_seed(1))]
    estimate = model.loss.estimates(turn.real_logits, turn.fake_logits)["wasserstein"].item()
    places = penalty.points(turn).requires_grad_()
    slope = input_gradients(turn.judge(places, labels, "slope").logits, places).flatten(1).norm(dim=1).mean().item()
    objective = estimate - penalty(turn).item()
    assert slope == pytest.approx(1 + SHIFT / (2 * LAMBDA), rel=0.02)
    assert estimate == pytest.approx(SHIFT * (1 + SHIFT / (2 * LAMBDA)), rel=0.02)
    assert objective == pytest.approx(SHIFT + SHIFT**2 / (4 * LAMBDA), rel=0.02)
    assert estimate / slope == pytest.approx(SHIFT, rel=0.05)


# ---- steps ----------------------------------------------------------------------------------------------------------


class DiscriminatorBias(Penalty):
    """A term that is linear in a bias of D."""

    def forward(self, turn):
        return self.weight * turn.game.discriminator.trunk.linear.bias.sum()


class GeneratorBias(Penalty):
    """A term that is linear in the bias of G."""

    player = "generator"

    def forward(self, turn):
        return self.weight * turn.game.generator.linear.bias.sum()


class Nothing(Wasserstein):
    """A game in which there is nothing to win."""

    def discriminator(self, real, fake):
        return 0 * super().discriminator(real, fake)

    def generator(self, fake, real=None):
        return 0 * super().generator(fake)


@pytest.mark.parametrize(
    ("kind", "player", "steps"), [(DiscriminatorBias, "discriminator", 8), (GeneratorBias, "generator", 4)]
)
def test_lazy_terms_have_the_mean_of_terms_on_every_step(kind, player, steps):
    gradients = {}
    for every in (1, 4):
        model = attach(dense_gan({"bias": kind(3.0, every)}, loss=Nothing(), d_steps=2, d_lr=0.0, g_lr=0.0))
        seen = gradients[every] = []

        def look(optimizer, parameters, iteration, terms, seen=seen):
            seen.extend(
                p.grad[0].item() for n, p in parameters.items() if n.startswith(player) and n.endswith("r.bias")
            )
            return True  # at a rate of 0 the bias stays, so every term is the same

        model.guard.admits = look
        for _ in range(4):
            model.training_step(batch(model), 0)
        bias = (model.discriminator.trunk if player == "discriminator" else model.generator).linear.bias
        # the log shows the term, not its lazy multiple
        assert model.tracked()["train/penalty/bias"] == pytest.approx(3 * bias.sum().item())
    seen = {every: values[:: len(values) // steps] for every, values in gradients.items()}
    assert seen[1] == [3.0] * steps
    assert seen[4] == [12.0, 0.0, 0.0, 0.0] * (steps // 4)


def test_every_must_be_positive():
    with pytest.raises(InputError, match="every=0"):
        R1(every=0)
