"""Adversarial objectives: golden values, gradients, and what their optima are."""

import math

import pytest
import torch

from saddle.losses import Hinge, LeastSquares, NonSaturating, Wasserstein

SHIFTED = LeastSquares(-1, 1, 0)
# (loss, r, f, D, G), worked out by hand
GOLDEN = [
    (NonSaturating(), 0, 0, 2 * math.log(2), math.log(2)),
    (LeastSquares(), 0, 0, 0.5, 0.5),
    (SHIFTED, 0, 0, 1.0, 0.0),
    (Wasserstein(), 0, 0, 0, 0),
    (Hinge(), 0, 0, 2, 0),
    (NonSaturating(), 2, -1, math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)), math.log1p(math.e)),
    (LeastSquares(), 2, -1, 1.0, 2.0),
    (SHIFTED, 2, -1, 0.5, 0.5),
    (Wasserstein(), 2, -1, -3, 1),
    (Hinge(), 2, -1, 0, 1),
]
ALL = [NonSaturating(), LeastSquares(), SHIFTED, Wasserstein(), Hinge()]


@pytest.mark.parametrize(("loss", "r", "f", "d", "g"), GOLDEN, ids=str)
def test_golden_values(loss, r, f, d, g):
    real, fake = torch.tensor([float(r)]), torch.tensor([float(f)])
    assert loss.discriminator(real, fake).item() == pytest.approx(d, abs=1e-6)
    assert loss.generator(fake).item() == pytest.approx(g, abs=1e-6)


def test_published_digits():
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
    assert NonSaturating().discriminator(real, fake).item() == pytest.approx(0.440190, abs=1e-6)
    assert NonSaturating().generator(fake).item() == pytest.approx(1.313262, abs=1e-6)


@pytest.mark.parametrize("loss", ALL, ids=str)
def test_gradients_are_central_differences(loss):
    torch.manual_seed(1)
    real, fake = (2 * torch.randn(2, 7, dtype=torch.float64)).requires_grad_().unbind()
    for value in (lambda r, f: loss.discriminator(r, f), lambda r, f: loss.generator(f)):
        gradients = torch.autograd.grad(value(real, fake), (real, fake), allow_unused=True)
        for which, gradient in enumerate(gradients):
            for i in range(7):
                shift = torch.zeros(2, 7, dtype=torch.float64)
                shift[which, i] = 1e-6
                up = value(real.detach() + shift[0], fake.detach() + shift[1])
                down = value(real.detach() - shift[0], fake.detach() - shift[1])
                exact = 0.0 if gradient is None else gradient[i].item()
                assert exact == pytest.approx((up - down).item() / 2e-6, abs=1e-8)


@pytest.mark.parametrize("loss", ALL, ids=str)
@pytest.mark.parametrize("size", [1e3, 1e8])
def test_extreme_logits_stay_finite(loss, size):
    logits = torch.tensor([size, -size], requires_grad=True)
    for value in (loss.discriminator(logits, -logits), loss.generator(logits)):
        assert value.isfinite()
        (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
        assert gradient.isfinite().all()


def test_nonsaturating_generator_learns_from_hopeless_samples():
    fake = torch.tensor([-50.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(NonSaturating().generator(fake), fake)
    assert gradient.item() == pytest.approx(-1.0)


P = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
Q = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)


def expected(loss, logits):
    """D's loss in expectation over the discrete laws P and Q: batches with ten samples in those proportions."""
    counts = lambda law: (law * 10).round().long()  # noqa: E731
    return loss.discriminator(logits.repeat_interleave(counts(P)), logits.repeat_interleave(counts(Q)))


def optimum(loss):
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for _ in range(400):  # plain gradient descent: the problem is convex and small
        (gradient,) = torch.autograd.grad(expected(loss, logits), logits)
        logits.data -= 2 * gradient
    return logits.detach(), expected(loss, logits).item()


def test_optimal_nonsaturating_discriminator_is_the_log_ratio():
    logits, value = optimum(NonSaturating())
    assert torch.allclose(logits, (P / Q).log(), atol=1e-6)
    middle = (P + Q) / 2
    divergence = ((P * (P / middle).log()).sum() + (Q * (Q / middle).log()).sum()) / 2
    assert value == pytest.approx(2 * math.log(2) - 2 * divergence.item(), abs=1e-10)


def test_optimal_least_squares_discriminator_mixes_the_targets():
    for loss in (LeastSquares(), SHIFTED):
        logits, _ = optimum(loss)
        assert torch.allclose(logits, (loss.b * P + loss.a * Q) / (P + Q), atol=1e-6)


def test_least_squares_generator_minimises_pearsons_divergence():
    d = (SHIFTED.b * P + SHIFTED.a * Q) / (P + Q)
    value = ((P * (d - SHIFTED.c) ** 2).sum() + (Q * (d - SHIFTED.c) ** 2).sum()) / 2
    pearson = ((2 * Q - (P + Q)) ** 2 / (P + Q)).sum()
    assert value.item() == pytest.approx(pearson.item() / 2, abs=1e-12)


def test_hinge_optimum_is_total_variation():
    logits = (P - Q).sign()
    value = expected(Hinge(), logits).item()
    assert value == pytest.approx(2 * (1 - (P - Q).abs().sum().item() / 2), abs=1e-12)
    torch.manual_seed(0)
    others = [expected(Hinge(), logits + 0.5 * torch.randn(4, dtype=torch.float64)).item() for _ in range(50)]
    assert min(others) >= value


def test_wasserstein_critic_loss_is_minus_the_distance_of_shifted_points():
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert Wasserstein().discriminator(x + 3, x).item() == pytest.approx(-3)  # the 1-Lipschitz critic C(x) = x


def test_boundaries():
    real, fake = torch.tensor([3.0, 5.0]), torch.tensor([-1.0, 1.0])
    assert NonSaturating().boundary(real, fake) == Hinge().boundary(real, fake) == 0
    assert LeastSquares().boundary(real, fake) == 0.5
    assert SHIFTED.boundary(real, fake) == 0
    assert Wasserstein().boundary(real, fake) == 2
