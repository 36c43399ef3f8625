"""InfoGAN's head: what it guesses, and its two terms against slow loops and closed forms."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from saddle.errors import InputError
from saddle.heads.information import Codes, Information
from saddle.turn import Verdict

B, F = 6, 7


def head(**options):
    torch.manual_seed(0)
    return Information(F, 0, **({"categorical": (3, 2), "continuous": 2} | options)).double()


def turn(model_codes, features, latents, player="discriminator"):
    tracked = {}
    game = SimpleNamespace(
        prior=SimpleNamespace(codes=model_codes), track=lambda name, value: tracked.__setitem__(name, value.item())
    )
    verdict = Verdict(torch.zeros(len(features)), features)
    return SimpleNamespace(game=game, player=player, fake_verdict=verdict, latents=latents, tracked=tracked)


@pytest.fixture
def latents():
    """Four numbers of noise, codes (0, 1, 2, 0, 1, 2) of 3 and (0, 1, 0, 1, 0, 1) of 2, two continuous ones."""
    torch.manual_seed(1)
    three, two = torch.eye(3)[[0, 1, 2, 0, 1, 2]], torch.eye(2)[[0, 1, 0, 1, 0, 1]]
    return torch.cat([torch.randn(B, 4), three, two, torch.rand(B, 2) * 2 - 1], 1).double()


def test_loss_by_a_slow_loop(latents):
    torch.manual_seed(2)
    q, features = head(weight=0.7, continuous_weight=0.3), torch.randn(B, F, dtype=torch.float64)
    guess = q.guess(features)
    categorical = continuous = 0.0
    for row in range(B):
        for first, last in ((0, 3), (3, 5)):
            logits = guess[row, first:last].tolist()
            asked = latents[row, 4 + first : 4 + last].tolist().index(1.0)
            categorical -= math.log(math.exp(logits[asked]) / sum(map(math.exp, logits))) / B
        for place in (5, 6):
            difference = latents[row, 4 + place].item() - guess[row, place].item()
            density = math.exp(-(difference**2) / 2) / math.sqrt(2 * math.pi)
            continuous -= math.log(density) / B
    for player in ("discriminator", "generator"):
        t = turn(q.codes, features, latents, player)
        assert q.loss(t).item() == pytest.approx(0.7 * categorical + 0.3 * continuous, rel=1e-12)
        # both players minimise the same term; the bound, which has no weights, is tracked in one turn of the two
        if player == "generator":
            bound = math.log(3) + math.log(2) + 2 * math.log(2) - categorical - continuous
            assert t.tracked == {"mutual_information": pytest.approx(bound, rel=1e-12)}
        else:
            assert not t.tracked


def test_the_bound_of_a_perfect_guess(latents):
    """All bits of the categorical codes; of a continuous one log 2 - log(2 pi) / 2, as its spread is fixed at 1."""
    q = head()
    guess = latents[:, 4:].clone()
    guess[:, :5] *= 200
    categorical, continuous = q.surprises(guess, latents)
    assert categorical.item() == pytest.approx(0, abs=1e-12)
    assert continuous.item() == pytest.approx(math.log(2 * math.pi), rel=1e-12)


def test_the_bound_of_no_guess(latents):
    """Equal logits: the entropy of the codes."""
    categorical, _ = head().surprises(torch.zeros(B, 7, dtype=torch.float64), latents)
    assert categorical.item() == pytest.approx(math.log(3) + math.log(2), rel=1e-12)


def test_gradient_against_finite_differences(latents):
    torch.manual_seed(2)
    q = head()
    features = torch.randn(B, F, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: q.loss(turn(q.codes, x, latents)), features)


def test_only_categorical_and_only_continuous_codes(latents):
    one = head(continuous=0)
    assert one.surprises(torch.zeros(B, 5).double(), latents[:, :9])[1].item() == 0
    other = head(categorical=())
    assert other.surprises(torch.zeros(B, 2).double(), latents)[0].item() == 0
    assert other.guess(torch.zeros(B, F).double()).shape == (B, 2)


def test_logit_is_that_of_a_linear_head():
    q = head()
    features = torch.randn(B, F).double()
    expected = features @ q.linear.weight[0] + q.linear.bias
    torch.testing.assert_close(q(features, torch.zeros(B).long(), features), expected)
    assert not q.needs_labels


@pytest.mark.parametrize("norm", ["none", "layer", "instance", "batch", "spectral"])
def test_norms(norm):
    q = head(norm=norm)
    linear = [layer for layer in q.guesser if isinstance(layer, nn.Linear)]
    assert sum(type(layer).__name__ == "BatchNorm" for layer in q.guesser) == (norm == "batch")
    assert all(("parametrizations" in dict(layer.named_children())) == (norm == "spectral") for layer in linear)
    guess = q.guess(torch.randn(B, F).double())
    assert guess.shape == (B, 7) and guess.isfinite().all()


def test_guesses_are_in_float32_at_least():
    assert head().bfloat16().guess(torch.zeros(2, F, dtype=torch.bfloat16)).dtype == torch.float32


def test_codes_split():
    categorical, continuous = Codes((3, 2), 1).split(torch.arange(12).view(2, 6))
    assert [x.tolist() for x in categorical] == [[[0, 1, 2], [6, 7, 8]], [[3, 4], [9, 10]]]
    assert continuous.tolist() == [[5], [11]]


def test_refusals(latents):
    with pytest.raises(InputError, match="model=infogan"):
        Information(F, 0, categorical=(), continuous=0)
    with pytest.raises(InputError, match="2 values or more"):
        Information(F, 0, categorical=(1,))
    with pytest.raises(InputError, match="at least 0"):
        Information(F, 0, continuous=-1)
    q = head()
    for codes in (None, Codes((3,), 2)):
        with pytest.raises(InputError, match="model/head=information"):
            q.loss(turn(codes, torch.zeros(B, F).double(), latents))
