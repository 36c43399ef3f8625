"""Regularisers against closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import attach, batch, dense_gan
from torch import nn

from saddle.errors import InputError
from saddle.losses import Wasserstein
from saddle.networks.norm import spectral_norm
from saddle.penalties import R1, FeatureMatching, LeCam, Orthogonal, PathLength, Penalty, WeightClip, input_gradients
from saddle.randomness import Draws, Rows


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

    term = penalty(SimpleNamespace(model=model, draws=draws, fake_labels=torch.zeros(8, dtype=torch.long)))
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
    term = Orthogonal(weight=0.5)(SimpleNamespace(model=SimpleNamespace(generator=generator), real=images()))
    linear, convolution, transposed = (generator[i].weight.detach().numpy() for i in range(3))
    raw = generator[3].parametrizations.weight.original.detach().numpy()
    matrices = [linear, convolution.reshape(3, -1), transposed.transpose(1, 0, 2, 3).reshape(2, -1), raw.reshape(5, -1)]
    assert term.item() == pytest.approx(0.5 * orthogonal_by_hand(matrices), rel=1e-12)


def test_orthogonal_does_not_drown_in_bfloat16():
    torch.manual_seed(0)
    generator = nn.Linear(64, 64)
    nn.init.orthogonal_(generator.weight)
    turn = SimpleNamespace(model=SimpleNamespace(generator=generator), real=torch.zeros(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert Orthogonal(weight=1.0)(turn).item() < 1e-8


def test_orthogonal_filters_cost_nothing_whatever_their_norms():
    generator = nn.Linear(4, 4).double()
    nn.init.orthogonal_(generator.weight)
    generator.weight.data *= torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    turn = SimpleNamespace(model=SimpleNamespace(generator=generator), real=images())
    assert Orthogonal(weight=1.0)(turn).item() < 1e-25


class DiscriminatorBias(Penalty):
    """A term that is linear in a bias of D."""

    def forward(self, turn):
        return self.weight * turn.model.discriminator.trunk.linear.bias.sum()


class GeneratorBias(Penalty):
    """A term that is linear in the bias of G."""

    player = "generator"

    def forward(self, turn):
        return self.weight * turn.model.generator.linear.bias.sum()


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
        model = attach(dense_gan({"bias": kind(3.0, every)}, loss=Nothing(), d_steps=2))
        seen = gradients[every] = []

        def look(optimizer, parameters, iteration, seen=seen):
            seen.extend(
                p.grad[0].item() for n, p in parameters.items() if n.startswith(player) and n.endswith("r.bias")
            )
            return False  # no step: the bias stays, so every term is the same

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
