"""Adversarial objectives: golden values, gradients, and what their optima are."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from saddle import losses
from saddle.config.instantiate import instantiate
from saddle.errors import InputError
from saddle.losses import (
    Energy,
    Hinge,
    LeastSquares,
    Loss,
    Minimax,
    NonSaturating,
    Relativistic,
    RelativisticAverage,
    RelativisticAverageHinge,
    RelativisticAverageLeastSquares,
    Wasserstein,
)

YAMLS = sorted((Path(__file__).parent.parent / "conf" / "loss").glob("*.yaml"))


def named(value) -> str:
    """A loss as its class and options, anything else as it is written."""
    return f"{type(value).__name__}{[*vars(value).values()]}" if isinstance(value, Loss) else str(value)


SHIFTED = LeastSquares(-1, 1, 0)
AVERAGES = [RelativisticAverage(), RelativisticAverageHinge(), RelativisticAverageLeastSquares()]
RELATIVE = [Relativistic(), *AVERAGES]
# every shipped loss, and settings of theirs that take another branch
SHIPPED = [instantiate(OmegaConf.load(path), Loss) for path in YAMLS]
ALL = [*SHIPPED, SHIFTED, NonSaturating(0.1), Minimax(0.2), Energy(1.5)]

# (loss, r, f, D, G), worked out by hand
GOLDEN = [
    (NonSaturating(), 0, 0, 2 * math.log(2), math.log(2)),
    (Minimax(), 0, 0, 2 * math.log(2), -math.log(2)),
    (LeastSquares(), 0, 0, 0.5, 0.5),
    (SHIFTED, 0, 0, 1.0, 0.0),
    (Wasserstein(), 0, 0, 0, 0),
    (Hinge(), 0, 0, 2, 0),
    (Relativistic(), 0, 0, math.log(2), math.log(2)),
    (RelativisticAverage(), 0, 0, math.log(2), math.log(2)),
    (RelativisticAverageHinge(), 0, 0, 1, 1),
    (RelativisticAverageLeastSquares(), 0, 0, 1, 1),
    (Energy(20), 0, 0, 20, 0),
    (NonSaturating(), 2, -1, math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)), math.log1p(math.e)),
    (Minimax(), 2, -1, math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)), -math.log1p(math.exp(-1))),
    (NonSaturating(0.1), 2, -1, 0.2 + math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)), math.log1p(math.e)),
    (LeastSquares(), 2, -1, 1.0, 2.0),
    (SHIFTED, 2, -1, 0.5, 0.5),
    (Wasserstein(), 2, -1, -3, 1),
    (Hinge(), 2, -1, 0, 1),
    (Relativistic(), 2, -1, math.log1p(math.exp(-3)), math.log1p(math.exp(3))),
    (RelativisticAverage(), 2, -1, math.log1p(math.exp(-3)), math.log1p(math.exp(3))),
    (RelativisticAverageHinge(), 2, -1, 0, 4),
    (RelativisticAverageLeastSquares(), 2, -1, 4, 16),
    (Energy(20), 2, -1, 17, 1),
    (Energy(20), -3, -25, 3, 25),
]
# the same, in the digits of the literature: (loss, at 0 and 0, at 2 and -1), each (D, G)
DIGITS = [
    (NonSaturating(), (1.386294, 0.693147), (0.440190, 1.313262)),
    (Minimax(), (1.386294, -0.693147), (0.440190, -0.313262)),
    (Relativistic(), (0.693147, 0.693147), (0.048587, 3.048587)),
    (RelativisticAverage(), (0.693147, 0.693147), (0.048587, 3.048587)),
]


def wide(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("loss", "r", "f", "d", "g"), GOLDEN, ids=named)
def test_golden_values(loss, r, f, d, g):
    real, fake = torch.tensor([float(r)]), torch.tensor([float(f)])
    assert loss.discriminator(real, fake).item() == pytest.approx(d, abs=1e-6)
    assert loss.generator(fake, real).item() == pytest.approx(g, abs=1e-6)


@pytest.mark.parametrize(("loss", "at_zero", "apart"), DIGITS, ids=named)
def test_published_digits(loss, at_zero, apart):
    for real, fake, values in ((wide(0), wide(0), at_zero), (wide(2), wide(-1), apart)):
        assert (loss.discriminator(real, fake).item(), loss.generator(fake, real).item()) == pytest.approx(
            values, abs=6e-7
        )


def test_every_loss_has_a_yaml_and_the_yaml_says_what_it_reads():
    shipped = {OmegaConf.load(path)._target_.rsplit(".", 1)[1]: OmegaConf.load(path) for path in YAMLS}
    concrete = {
        name
        for name, kind in vars(losses).items()
        if isinstance(kind, type) and issubclass(kind, losses.Loss) and not kind.__abstractmethods__
    }
    assert set(shipped) == concrete
    for name, node in shipped.items():
        assert getattr(losses, name).reads_real == node.get("facts", {}).get("reads_real", False)


def by_hand(loss, r, f):
    """The relativistic averages as loops over the two batches."""
    phi = {
        RelativisticAverage: lambda x: math.log1p(math.exp(-x)),
        RelativisticAverageHinge: lambda x: max(0, 1 - x),
        RelativisticAverageLeastSquares: lambda x: (x - 1) ** 2,
    }[type(loss)]
    mean_r, mean_f = sum(r) / len(r), sum(f) / len(f)
    d = sum(phi(x - mean_f) for x in r) / len(r) + sum(phi(-(x - mean_r)) for x in f) / len(f)
    g = sum(phi(-(x - mean_f)) for x in r) / len(r) + sum(phi(x - mean_r) for x in f) / len(f)
    return d / 2, g / 2


@pytest.mark.parametrize("loss", AVERAGES, ids=named)
def test_relativistic_averages_are_their_formulas_on_batches(loss):
    rng = np.random.default_rng(0)
    r, f = rng.normal(0.5, 1, 7).tolist(), rng.normal(-0.5, 1, 7).tolist()
    d, g = by_hand(loss, r, f)
    assert loss.discriminator(wide(*r), wide(*f)).item() == pytest.approx(d, rel=1e-14)
    assert loss.generator(wide(*f), wide(*r)).item() == pytest.approx(g, rel=1e-14)


def test_rsgan_pairs_by_position():
    r, f = wide(1, 2, 3), wide(3, -1, 0)
    expected = sum(math.log1p(math.exp(-d)) for d in (-2, 3, 3)) / 3
    assert Relativistic().discriminator(r, f).item() == pytest.approx(expected, rel=1e-14)
    with pytest.raises(InputError, match="3 real and 2 generated"):
        Relativistic().discriminator(r, f[:2])


@pytest.mark.parametrize("loss", RELATIVE, ids=named)
def test_relative_losses_insist_on_the_real_logits(loss):
    assert loss.reads_real
    with pytest.raises(TypeError, match="real images too"):
        loss.generator(wide(1, 2))


@pytest.mark.parametrize("loss", ALL, ids=named)
def test_gradients_are_central_differences(loss):
    torch.manual_seed(1)
    real, fake = (2 * torch.randn(2, 7, dtype=torch.float64)).requires_grad_().unbind()
    for value in (lambda r, f: loss.discriminator(r, f), lambda r, f: loss.generator(f, r)):
        gradients = torch.autograd.grad(value(real, fake), (real, fake), allow_unused=True)
        for which, gradient in enumerate(gradients):
            for i in range(7):
                shift = torch.zeros(2, 7, dtype=torch.float64)
                shift[which, i] = 1e-6
                up = value(real.detach() + shift[0], fake.detach() + shift[1])
                down = value(real.detach() - shift[0], fake.detach() - shift[1])
                exact = 0.0 if gradient is None else gradient[i].item()
                assert exact == pytest.approx((up - down).item() / 2e-6, abs=1e-8)


@pytest.mark.parametrize("loss", ALL, ids=named)
@pytest.mark.parametrize("size", [1e3, 1e4, 1e8])
def test_extreme_logits_stay_finite(loss, size):
    logits = torch.tensor([size, -size], requires_grad=True)
    for value in (loss.discriminator(logits, -logits), loss.generator(logits, -logits)):
        assert value.isfinite()
        (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", ALL, ids=named)
def test_float32_keeps_its_digits_at_large_logits(loss):
    torch.manual_seed(2)
    real, fake = 1e4 * torch.randn(2, 6, dtype=torch.float64)
    for value in (lambda r, f: loss.discriminator(r, f), lambda r, f: loss.generator(f, r)):
        narrow = value(real.float(), fake.float())
        assert narrow.dtype == torch.float32
        assert narrow.item() == pytest.approx(value(real.float().double(), fake.float().double()).item(), rel=1e-5)


def generator_gradient(loss, f, r=0.0):
    fake = torch.tensor([float(f)], dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss.generator(fake, wide(r)), fake)[0].item()


def test_whose_generator_learns_from_hopeless_samples():
    assert generator_gradient(Minimax(), -50) == pytest.approx(-math.exp(-50), rel=1e-9)
    for loss in (NonSaturating(), Wasserstein(), Hinge(), Energy(), Relativistic(), RelativisticAverage()):
        assert generator_gradient(loss, -50) == pytest.approx(-1.0)
    # and from samples that D takes for real: the zero-sum game pushes on, the non-saturating one is content
    assert generator_gradient(Minimax(), 50) == pytest.approx(-1.0)
    assert generator_gradient(NonSaturating(), 50) == pytest.approx(-math.exp(-50), rel=1e-9)


numbers = st.floats(-30, 30)
batches = st.integers(1, 6).flatmap(lambda n: st.tuples(*(st.lists(numbers, min_size=n, max_size=n) for _ in range(2))))


@given(batches, st.floats(-100, 100), st.sampled_from(RELATIVE))
def test_relative_losses_do_not_see_a_common_shift(pair, shift, loss):
    real, fake = (wide(*part) for part in pair)
    for value in (loss.discriminator, lambda r, f: loss.generator(f, r)):
        assert value(real + shift, fake + shift).item() == pytest.approx(value(real, fake).item(), rel=1e-9, abs=1e-9)
    assert loss.boundary(real + shift, fake + shift).item() == pytest.approx(
        loss.boundary(real, fake).item() + shift, abs=1e-9
    )


@given(batches, st.sampled_from(RELATIVE))
def test_relative_players_exchange_their_roles(pair, loss):
    real, fake = (wide(*part) for part in pair)
    assert loss.generator(fake, real).item() == pytest.approx(loss.discriminator(fake, real).item(), rel=1e-12)
    mirrored = loss.discriminator(-fake, -real)  # a mirrored critic sees the two kinds exchanged
    assert mirrored.item() == pytest.approx(loss.discriminator(real, fake).item(), rel=1e-12, abs=1e-12)


@given(batches, st.sampled_from([Minimax(), Minimax(0.3), Wasserstein()]))
def test_zero_sum_games(pair, loss):
    real, fake = wide(*pair[0]), wide(*pair[1]).requires_grad_()
    (d,) = torch.autograd.grad(loss.discriminator(real, fake), fake)
    (g,) = torch.autograd.grad(loss.generator(fake), fake)
    assert torch.allclose(d, -g, rtol=1e-12, atol=0)


@given(batches, st.floats(0.01, 0.49))
def test_smoothing_moves_the_real_target_only(pair, smoothing):
    real, fake = (wide(*part) for part in pair)
    sharp, smooth = (NonSaturating(s).discriminator(real, fake).item() for s in (0.0, smoothing))
    # sp(r) - sp(-r) = r, so smoothing costs smoothing * E r
    assert smooth - sharp == pytest.approx(smoothing * real.mean().item(), abs=1e-8)
    assert NonSaturating(smoothing).generator(fake) == NonSaturating().generator(fake)


@pytest.mark.parametrize("make", [lambda: Minimax(0.5), lambda: NonSaturating(-0.1), lambda: Energy(0.0)])
def test_values_out_of_range_are_refused(make):
    with pytest.raises(InputError, match="must be"):
        make()
    with pytest.raises(InputError, match="different targets"):
        LeastSquares(1.0, 1.0)


# ---- optima on a finite space ---------------------------------------------------------------------------------------

P = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
Q = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
TV = (P - Q).abs().sum().item() / 2
TRIANGULAR = ((P - Q) ** 2 / (P + Q)).sum().item()


def divergence(p, q):
    """Jensen-Shannon, in nats."""
    middle = (p + q) / 2
    return ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()).item() / 2


def samples(logits):
    """Logits of all 100 pairs of ten real and ten generated samples, which are drawn in the proportions of P and Q."""
    counts = lambda law: (law * 10).round().long()  # noqa: E731
    real, fake = logits.repeat_interleave(counts(P)), logits.repeat_interleave(counts(Q))
    return real.repeat_interleave(10), fake.repeat(10)


def expected(loss, logits):
    """D's loss in expectation over the discrete laws P and Q, for the table of its logits."""
    return loss.discriminator(*samples(logits))


def optimum(loss):
    """The table of logits that minimises D's loss, its mean taken off where the loss does not see it, and the value."""
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for _ in range(800):  # plain gradient descent: the problem is convex and small
        (gradient,) = torch.autograd.grad(expected(loss, logits), logits)
        logits.data -= 2 * gradient
    logits = logits.detach()
    return logits - logits.mean() if loss.reads_real else logits, expected(loss, logits).item()


@pytest.mark.parametrize("loss", [NonSaturating(), Minimax()], ids=named)
def test_optimal_logistic_discriminator_is_the_log_ratio(loss):
    logits, value = optimum(loss)
    assert torch.allclose(logits, (P / Q).log(), atol=1e-6)
    assert value == pytest.approx(2 * math.log(2) - 2 * divergence(P, Q), abs=1e-10)
    assert loss.estimates(*samples(logits))["jensen_shannon"].item() == pytest.approx(divergence(P, Q), abs=1e-10)


@pytest.mark.parametrize("loss", [NonSaturating(0.1), Minimax(0.25)], ids=named)
def test_optimal_smoothed_discriminator(loss):
    logits, _ = optimum(loss)
    assert torch.allclose(logits.sigmoid(), (1 - loss.smoothing) * P / (P + Q), atol=1e-6)


@pytest.mark.parametrize("loss", [LeastSquares(), SHIFTED, LeastSquares(0.2, 0.9, 0.7)], ids=named)
def test_optimal_least_squares_discriminator_mixes_the_targets(loss):
    logits, value = optimum(loss)
    assert torch.allclose(logits, (loss.b * P + loss.a * Q) / (P + Q), atol=1e-6)
    assert value == pytest.approx((loss.b - loss.a) ** 2 * (2 - TRIANGULAR) / 8, abs=1e-10)
    estimate = loss.estimates(*samples(logits))["triangular_discrimination"]
    assert estimate.item() == pytest.approx(TRIANGULAR, abs=1e-10)


def test_least_squares_generator_minimises_pearsons_divergence():
    d = (SHIFTED.b * P + SHIFTED.a * Q) / (P + Q)
    value = ((P * (d - SHIFTED.c) ** 2).sum() + (Q * (d - SHIFTED.c) ** 2).sum()) / 2
    pearson = ((2 * Q - (P + Q)) ** 2 / (P + Q)).sum()
    assert value.item() == pytest.approx(pearson.item() / 2, abs=1e-12)
    assert pearson.item() == pytest.approx(TRIANGULAR, abs=1e-12)


def test_optimal_relativistic_discriminator_is_the_log_ratio_up_to_a_constant():
    logits, value = optimum(Relativistic())
    assert torch.allclose(logits, (P / Q).log() - (P / Q).log().mean(), atol=1e-6)
    pairs = divergence(torch.outer(P, Q).flatten(), torch.outer(Q, P).flatten())
    assert value == pytest.approx(math.log(2) - pairs, abs=1e-10)
    estimate = Relativistic().estimates(*samples(logits))["jensen_shannon_of_pairs"]
    assert estimate.item() == pytest.approx(pairs, abs=1e-10)


def test_optimal_relativistic_average_discriminator_rises_with_the_ratio():
    logits, value = optimum(RelativisticAverage())
    real_mean, fake_mean = (P * logits).sum(), (Q * logits).sum()
    doubt_real, doubt_fake = (fake_mean - logits).sigmoid(), (logits - real_mean).sigmoid()
    # where the derivative with respect to the table vanishes
    ratio = ((P * doubt_real).sum() + doubt_fake) / (doubt_real + (Q * doubt_fake).sum())
    assert torch.allclose(ratio, P / Q, atol=1e-6)
    assert (logits.diff() > 0).all() and value < math.log(2)


def test_optimal_relativistic_least_squares_discriminator():
    loss = RelativisticAverageLeastSquares()
    logits, value = optimum(loss)
    shape = 4 / (2 + 3 * TRIANGULAR) * (P - Q) / (P + Q)
    assert torch.allclose(logits, shape - shape.mean(), atol=1e-6)
    assert value == pytest.approx((2 - TRIANGULAR) / (2 + 3 * TRIANGULAR), abs=1e-10)
    estimate = loss.estimates(*samples(logits))["triangular_discrimination"]
    assert estimate.item() == pytest.approx(TRIANGULAR, abs=1e-9)


def linear_program(p, q):
    """The least loss of a relativistic average hinge discriminator: (table, slacks of p, slacks of q) by scipy."""
    n, one = len(p), np.eye(len(p))
    cost = np.concatenate([np.zeros(n), p / 2, q / 2])
    # slack >= 1 - (C - q.C) and slack >= 1 + (C - p.C)
    above = np.block([[np.outer(np.ones(n), q) - one, -one, 0 * one], [one - np.outer(np.ones(n), p), 0 * one, -one]])
    bounds = [(-1e3, 1e3)] * n + [(0, None)] * (2 * n)
    return scipy.optimize.linprog(cost, A_ub=above, b_ub=-np.ones(2 * n), bounds=bounds)


def test_optimal_relativistic_hinge_discriminator_is_that_of_a_linear_program():
    program = linear_program(P.numpy(), Q.numpy())
    value = expected(RelativisticAverageHinge(), torch.tensor(program.x[:4])).item()
    assert value == pytest.approx(program.fun, abs=1e-9) and value < 1
    torch.manual_seed(0)
    table = torch.tensor(program.x[:4])
    for scale in (0.01, 0.1, 1.0):
        for _ in range(20):
            moved = table + scale * torch.randn(4, dtype=torch.float64)
            assert expected(RelativisticAverageHinge(), moved).item() >= value - 1e-9
    assert linear_program(P.numpy(), P.numpy()).fun == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("loss", AVERAGES[:2], ids=named)
def test_relativistic_averages_fall_to_zero_where_the_supports_differ(loss):
    # p = (1/2, 1/4, 1/4, 0), q = (0, 1/4, 1/4, 1/2): much overlap, yet one far logit on each side takes the loss away
    real, fake = wide(1e3, 1e3, 0, 0), wide(0, 0, -1e3, -1e3)
    assert loss.discriminator(real, fake).item() < 1e-9


def test_equal_distributions_leave_nothing_to_win():
    torch.manual_seed(3)
    for loss, value in zip(RELATIVE, (math.log(2), math.log(2), 1, 1), strict=True):
        for _ in range(20):
            logits = 3 * torch.randn(5, dtype=torch.float64)
            everything = logits.repeat_interleave(5), logits.repeat(5)
            assert loss.discriminator(*everything).item() >= value - 1e-12
        assert loss.discriminator(wide(2, 2), wide(2, 2)).item() == pytest.approx(value)


def test_hinge_optimum_is_total_variation():
    logits = (P - Q).sign()
    value = expected(Hinge(), logits).item()
    assert value == pytest.approx(2 * (1 - TV), abs=1e-12)
    assert Hinge().estimates(*samples(logits))["total_variation"].item() == pytest.approx(TV, abs=1e-12)
    torch.manual_seed(0)
    others = [expected(Hinge(), logits + 0.5 * torch.randn(4, dtype=torch.float64)).item() for _ in range(50)]
    assert min(others) >= value


def test_energy_optimum_is_the_margin_times_the_overlap():
    loss = Energy(3.0)
    energies = torch.where(P >= Q, 0.0, 3.0).double()
    value = expected(loss, -energies).item()
    assert value == pytest.approx(3 * (1 - TV), abs=1e-12)
    assert loss.estimates(*samples(-energies))["total_variation"].item() == pytest.approx(TV, abs=1e-12)
    torch.manual_seed(0)
    for _ in range(50):  # any other energies, none below 0
        other = (energies + torch.randn(4, dtype=torch.float64)).clamp_min(0)
        assert expected(loss, -other).item() >= value


def test_wasserstein_critic_loss_is_minus_the_distance_of_shifted_points():
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert Wasserstein().discriminator(x + 3, x).item() == pytest.approx(-3)  # the 1-Lipschitz critic C(x) = x
    assert Wasserstein().estimates(x + 3, x)["wasserstein"].item() == pytest.approx(3)


@pytest.mark.parametrize("loss", [loss for loss in ALL if loss.estimates(wide(0), wide(0))], ids=named)
def test_estimates_of_a_poor_discriminator_are_too_low(loss):
    best = {
        "jensen_shannon": divergence(P, Q),
        "jensen_shannon_of_pairs": divergence(torch.outer(P, Q).flatten(), torch.outer(Q, P).flatten()),
        "triangular_discrimination": TRIANGULAR,
        "total_variation": TV,
        "wasserstein": math.inf,  # of a critic that nothing holds
    }
    torch.manual_seed(4)
    for _ in range(50):
        ((name, value),) = loss.estimates(*samples(-torch.randn(4, dtype=torch.float64).abs())).items()
        assert value.dim() == 0 and value.item() <= best[name]


def test_boundaries():
    real, fake = torch.tensor([3.0, 5.0]), torch.tensor([-1.0, 1.0])
    for loss in (NonSaturating(), Minimax(), Hinge()):
        assert loss.boundary(real, fake) == 0
    assert LeastSquares().boundary(real, fake) == 0.5
    assert SHIFTED.boundary(real, fake) == 0
    for loss in (Wasserstein(), Energy(), *RELATIVE):
        assert loss.boundary(real, fake) == 2
