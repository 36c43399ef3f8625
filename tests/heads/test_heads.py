"""Heads and the discriminator that joins them with a trunk."""

from functools import partial
from math import exp, log, sqrt
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads import LinearHead
from saddle.heads.auxiliary import Auxiliary
from saddle.heads.contrastive import Contrastive
from saddle.heads.labels import Concat, Projection
from saddle.heads.reconstruction import Decoder, Reconstruction


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(5, 7), torch.tensor([0, 2, 1, 2, 0])


def test_linear_is_one_layer_that_ignores_labels(batch):
    features, labels = batch
    head = LinearHead(7, 3)
    expected = [sum(head.linear.weight[0, k] * row[k] for k in range(7)) + head.linear.bias[0] for row in features]
    torch.testing.assert_close(head(features, labels, features), torch.stack(expected))
    assert torch.equal(head(features, labels, features), head(features, labels.flip(0), features))
    assert sum(p.numel() for p in head.parameters()) == 8
    assert not head.needs_labels
    assert head.loss(None) is None


@pytest.mark.parametrize("norm", ["none", "spectral", "batch"])
def test_projection_formula(batch, norm):
    features, labels = batch
    head = Projection(7, 3, norm=norm)
    weight, bias, table = head.linear.weight[0], head.linear.bias[0], head.embedding.weight
    expected = [weight.dot(row) + bias + table[label].dot(row) for row, label in zip(features, labels, strict=True)]
    torch.testing.assert_close(head(features, labels, features), torch.stack(expected))
    assert head.needs_labels


def test_spectral_norm_covers_both_parts_of_the_projection():
    torch.manual_seed(0)
    head = Projection(7, 3, norm="spectral", init="normal02")  # raw singular values are far from 1
    for weight in (head.linear.weight, head.embedding.weight):
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-3)
    plain = Projection(7, 3, norm="layer", init="normal02")
    assert torch.linalg.matrix_norm(plain.embedding.weight, 2).item() < 0.5


def test_head_that_needs_labels_refuses_data_without():
    with pytest.raises(InputError, match="model/head=projection needs data with labels"):
        Projection(7, 0)
    LinearHead(7, 0)


def test_discriminator_gives_logits_and_the_features_behind_them(batch):
    _, labels = batch
    images = torch.randn(5, 1, 2, 2)
    trunk, head = nn.Flatten(), Projection(4, 3)
    logits, features = verdict = Discriminator(trunk, head)(images, labels)
    assert torch.equal(features, images.flatten(1))
    assert torch.equal(logits, head(features, labels, features))
    assert verdict.logits is logits and logits.shape == (5,)


# ---- what all heads that read labels share

CONDITIONAL = {
    "projection": Projection,
    "concat": Concat,
    "auxiliary": partial(Auxiliary, variant="tac"),
    "contrastive": partial(Contrastive, dim=9),
}


@pytest.mark.parametrize("make", CONDITIONAL.values(), ids=CONDITIONAL)
def test_heads_that_read_labels(make):
    head = make(7, 3)
    assert head.needs_labels and not head.reconstructs
    name = type(head).__name__.lower()
    with pytest.raises(InputError, match=f"model/head={name} needs data with labels"):
        make(7, 0)


@pytest.mark.parametrize("make", CONDITIONAL.values(), ids=CONDITIONAL)
def test_spectral_norm_covers_all_weights(make):
    torch.manual_seed(0)
    head = make(7, 3, norm="spectral", init="normal02")
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear | nn.Embedding)]
    assert len(layers) == {"Projection": 2}.get(type(head).__name__, 3)
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=0.1)


def features_of(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def turn_of(player, **parts):
    """A turn of the player that offers no more than `parts`: features of real and fake images and their labels."""
    turn = SimpleNamespace(player=player)
    for kind in ("real", "fake"):
        if kind in parts:
            setattr(turn, f"{kind}_features", parts[kind])
            setattr(turn, f"{kind}_verdict", SimpleNamespace(features=parts[kind]))
            setattr(turn, f"{kind}_labels", parts[f"{kind}_labels"])
    return turn


REAL = dict(real=features_of(5, 7), real_labels=torch.tensor([0, 2, 1, 2, 0]))
FAKE = dict(fake=features_of(5, 7, seed=1), fake_labels=torch.tensor([1, 1, 2, 0, 0]))


# ---- concatenation


def test_concat_formula(batch):
    features, labels = batch
    head = Concat(7, 3, embedding=4, hidden=6)
    expected = []
    for row, label in zip(features, labels, strict=True):
        both = [*row, *head.embedding.weight[label]]
        logit = head.linear.bias[0]
        for k in range(6):
            a = head.hidden.bias[k] + sum(head.hidden.weight[k, i] * both[i] for i in range(11))
            logit = logit + head.linear.weight[0, k] * (a if a > 0 else 0.2 * a)
        expected.append(logit)
    torch.testing.assert_close(head(features, labels, features), torch.stack(expected))


def test_what_a_label_changes_in_concat_depends_on_the_image():
    torch.manual_seed(0)
    head, features = Concat(7, 3), torch.randn(50, 7)
    change = head(features, torch.zeros(50).long(), features) - head(features, torch.ones(50).long(), features)
    assert change.std() > 0.1 * change.abs().mean() > 0
    assert head.loss(None) is None


# ---- auxiliary classifiers


def cross_entropy(layer, features, targets):
    """The mean over images of -log softmax, by loops over numbers."""
    total = 0.0
    for row, target in zip(features.tolist(), targets.tolist(), strict=True):
        logits = [
            b + sum(w * x for w, x in zip(weights, row, strict=True))
            for weights, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]
        total -= logits[target] - log(sum(exp(a) for a in logits))
    return total / len(targets)


def auxiliary(**options):
    torch.manual_seed(0)
    head = Auxiliary(7, 3, **options).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def test_terms_of_ac():
    head = auxiliary(d_weight=2.0, g_weight=0.1, fake_weight=0.25)
    c, real, fake = head.classifier.logits, tuple(REAL.values()), tuple(FAKE.values())
    expected = 2 * (cross_entropy(c, *real) + 0.25 * cross_entropy(c, *fake))
    assert head.loss(turn_of("discriminator", **REAL, **FAKE)).item() == pytest.approx(expected, rel=1e-12)
    assert head.loss(turn_of("generator", **FAKE)).item() == pytest.approx(0.1 * cross_entropy(c, *fake), rel=1e-12)


def test_terms_of_tac():
    head = auxiliary(variant="tac", d_weight=2.0, g_weight=3.0, fake_weight=0.25)
    c, t = head.classifier.logits, head.classifier.twin
    real, fake = tuple(REAL.values()), tuple(FAKE.values())
    expected = 2 * (cross_entropy(c, *real) + 0.25 * cross_entropy(c, *fake) + cross_entropy(t, *fake))
    assert head.loss(turn_of("discriminator", **REAL, **FAKE)).item() == pytest.approx(expected, rel=1e-12)
    expected = 3 * (cross_entropy(c, *fake) - cross_entropy(t, *fake))
    assert head.loss(turn_of("generator", **FAKE)).item() == pytest.approx(expected, rel=1e-12)
    t.load_state_dict(c.state_dict())  # G has nothing to gain where the twins agree
    assert head.loss(turn_of("generator", **FAKE)).item() == 0


def test_terms_of_adc():
    head = auxiliary(variant="adc", d_weight=2.0, g_weight=3.0, fake_weight=0.25)
    c, real, (fake, labels) = head.classifier.logits, tuple(REAL.values()), tuple(FAKE.values())
    assert c.out_features == 6
    expected = 2 * (cross_entropy(c, *real) + 0.25 * cross_entropy(c, fake, labels + 3))
    assert head.loss(turn_of("discriminator", **REAL, **FAKE)).item() == pytest.approx(expected, rel=1e-12)
    logits = fake @ c.weight.T + c.bias  # the normalisers of the two cross-entropies cancel
    odds = sum(logits[i, y] - logits[i, 3 + y] for i, y in enumerate(labels)) / 5
    assert head.loss(turn_of("generator", **FAKE)).item() == pytest.approx(-3 * odds.item(), rel=1e-12)


def test_senseless_classifiers_are_refused():
    with pytest.raises(InputError, match=r"model\.head\.variant=bc: must be one of ac, tac, adc"):
        Auxiliary(7, 3, variant="bc")
    with pytest.raises(InputError, match=r"fake_weight=1"):
        Auxiliary(7, 3, variant="adc", fake_weight=0.0)


@pytest.mark.parametrize("variant", ["ac", "tac", "adc"])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_gradients_of_the_classifiers_terms(variant, player):
    head = auxiliary(variant=variant, fake_weight=0.5)

    def term(real, fake):
        turn = turn_of(player, real=real, real_labels=REAL["real_labels"], fake=fake, fake_labels=FAKE["fake_labels"])
        return head.loss(turn) + 0 * real.sum()

    assert gradcheck(term, (REAL["real"].clone().requires_grad_(), FAKE["fake"].clone().requires_grad_()))


def test_the_classifiers_learn_from_the_right_images():
    def moved(head, real_scale, fake_scale):
        """Whether C and T have a gradient where only the real or only the generated images are not zero."""
        parts = dict(real=REAL["real"] * real_scale, fake=FAKE["fake"] * fake_scale)
        head.zero_grad()
        labels = dict(real_labels=REAL["real_labels"], fake_labels=FAKE["fake_labels"])
        head.loss(turn_of("discriminator", **parts, **labels)).backward()
        return [bool(layer.weight.grad.abs().sum() > 0) for layer in (head.classifier.logits, head.classifier.twin)]

    assert moved(auxiliary(variant="tac"), 1, 0) == [True, False]
    assert moved(auxiliary(variant="tac"), 0, 1) == [True, True]
    assert moved(auxiliary(variant="tac", fake_weight=0.0), 0, 1) == [False, True]


# ---- contrastive terms


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def slow_two_c(embeddings, proxies, labels, t):
    """Equation of ContraGAN, image by image."""
    total = 0.0
    for i, (own, y) in enumerate(zip(embeddings, labels, strict=True)):
        above = below = exp(cosine(own, proxies[y]) / t)
        for j, (other, z) in enumerate(zip(embeddings, labels, strict=True)):
            if j != i:
                below += exp(cosine(own, other) / t)
                above += exp(cosine(own, other) / t) if z == y else 0.0
        total -= log(above / below)
    return total / len(labels)


def slow_d2d_ce(embeddings, proxies, labels, tau, m_p, m_n):
    """Equation of ReACGAN, image by image."""
    total = 0.0
    for own, y in zip(embeddings, labels, strict=True):
        above = exp(min(0.0, cosine(own, proxies[y]) - m_p) / tau)
        below = above
        for other, z in zip(embeddings, labels, strict=True):
            below += exp(max(0.0, cosine(own, other) - m_n) / tau) if z != y else 0.0
        total -= log(above / below)
    return total / len(labels)


def contrastive(features=7, classes=3, dim=4, **options):
    torch.manual_seed(0)
    head = Contrastive(features, classes, dim=dim, **options).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def parts_of(head, features):
    return head.embed(features).tolist(), head.proxies.weight.tolist()


@settings(max_examples=40)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=7), st.sampled_from([0.1, 0.5, 1.0, 3.0]))
def test_two_c_is_the_papers_double_loop(labels, temperature):
    head, features = contrastive(temperature=temperature), features_of(len(labels), 7)
    expected = slow_two_c(*parts_of(head, features), labels, temperature)
    assert head.term(features, torch.tensor(labels)).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=7),
    st.sampled_from([0.25, 0.5, 2.0]),
    st.sampled_from([(0.98, None), (0.9, None), (0.5, 0.2), (-0.5, -0.7)]),
)
def test_d2d_ce_is_the_papers_double_loop(labels, temperature, margins):
    positive, negative = margins
    head = contrastive(variant="d2d_ce", temperature=temperature, positive_margin=positive, negative_margin=negative)
    features, allowed = features_of(len(labels), 7), 1 - positive if negative is None else negative
    expected = slow_d2d_ce(*parts_of(head, features), labels, temperature, positive, allowed)
    assert head.term(features, torch.tensor(labels)).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_closed_forms_of_the_contrastive_terms():
    head, labels = contrastive(temperature=0.5), torch.arange(3)
    pairs, own = torch.eye(3).double(), torch.full((3,), 0.8).double()
    assert head.two_c(pairs, own, labels).item() == pytest.approx(log(1 + 2 * exp(-0.8 / 0.5)))
    assert head.two_c(pairs, own, torch.zeros(3).long()).item() == pytest.approx(0, abs=1e-12)
    reac = contrastive(variant="d2d_ce", temperature=0.5, positive_margin=0.7)
    # content with the proxy, and others within the margin of 0.3: each counts as exp(0)
    assert reac.d2d_ce(pairs, own, labels).item() == pytest.approx(log(3))
    assert reac.d2d_ce(pairs, own, torch.zeros(3).long()).item() == pytest.approx(0, abs=1e-12)
    assert reac.d2d_ce(pairs + 0.4, own - 0.3, labels).item() == pytest.approx(log(1 + 2 * exp((0.1 + 0.2) / 0.5)))


@pytest.mark.parametrize("variant", ["2c", "d2d_ce"])
def test_contrastive_terms_at_small_temperatures_are_finite(variant):
    head = contrastive(variant=variant, temperature=1e-3).float()
    features = features_of(6, 7).float().requires_grad_()
    term = head.term(features, torch.arange(6) % 3)
    term.backward()
    assert term.isfinite() and features.grad.isfinite().all()


@pytest.mark.parametrize("variant", ["2c", "d2d_ce"])
def test_order_of_images_names_of_classes_and_lengths_do_not_matter(variant):
    head, features, labels = contrastive(variant=variant), features_of(6, 7), torch.tensor([0, 2, 1, 2, 0, 1])
    value = head.term(features, labels)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.isclose(head.term(features[order], labels[order]), value)
    names = torch.tensor([2, 0, 1])  # class c is now called names[c]
    with torch.no_grad():
        head.proxies.weight[names] = head.proxies.weight.clone()
    assert torch.isclose(head.term(features, names[labels]), value)
    assert not torch.isclose(head.term(features, labels), value)
    with torch.no_grad():
        head.proxies.weight.mul_(3.0)
        head.embed.weight.mul_(0.1)
        head.embed.bias.mul_(0.1)
    assert torch.isclose(head.term(features, names[labels]), value)


@pytest.mark.parametrize("variant", ["2c", "d2d_ce"])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_each_player_has_the_term_of_its_own_images(variant, player):
    head = contrastive(variant=variant, d_weight=2.0, g_weight=0.5)
    kind, weight = ("real", 2.0) if player == "discriminator" else ("fake", 0.5)
    images = REAL if player == "discriminator" else FAKE
    features, labels = images[kind].clone().requires_grad_(), images[f"{kind}_labels"]
    value = head.loss(turn_of(player, **{kind: features, f"{kind}_labels": labels}))  # the others are not there
    assert torch.isclose(value, weight * head.term(features, labels))
    assert gradcheck(lambda x: head.term(x, labels), features)
    assert all(p.grad is None for p in head.parameters())
    value.backward()
    assert head.linear.weight.grad is None and head.proxies.weight.grad.abs().sum() > 0


def test_unknown_contrast_is_refused():
    with pytest.raises(InputError, match=r"model\.head\.variant=nce: must be one of 2c, d2d_ce"):
        Contrastive(7, 3, variant="nce")


# ---- reconstruction


def autoencoder(error="mse", resolution=4, channels=2, packing=1, features=6, **options):
    torch.manual_seed(0)
    decoder = partial(Decoder, width=4, resolution=resolution, **options)
    return Reconstruction(features, 0, decoder=decoder, channels=channels, packing=packing, error=error).double()


@pytest.mark.parametrize("error", ["mse", "l1", "euclidean"])
def test_logit_is_minus_the_error_of_each_image(error):
    head, features, images = autoencoder(error), features_of(3, 6), features_of(3, 2, 4, 4, seed=1)
    decoded = head.decoder(features).tolist()
    for logit, x, y in zip(head(features, None, images).tolist(), images.tolist(), decoded, strict=True):
        pairs = [(x[c][i][j], y[c][i][j]) for c in range(2) for i in range(4) for j in range(4)]
        expected = {
            "mse": sum((a - b) ** 2 for a, b in pairs) / 32,
            "l1": sum(abs(a - b) for a, b in pairs) / 32,
            "euclidean": sqrt(sum((a - b) ** 2 for a, b in pairs)),
        }[error]
        assert logit == pytest.approx(-expected, rel=1e-12) and logit < 0
    assert head.reconstructs and not head.needs_labels and head.loss(None) is None
    assert not any(name.startswith("linear") for name, _ in head.named_parameters())


@pytest.mark.parametrize("error", ["mse", "l1", "euclidean"])
def test_gradient_flows_through_reconstruction_and_target(error):
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(32, 6).double())
    trunk.features, trunk.independent = 6, True
    head = autoencoder(error)
    discriminator, images = Discriminator(trunk, head), features_of(2, 2, 4, 4).requires_grad_()
    assert gradcheck(lambda x: discriminator(x, None).logits, images)
    logits = discriminator(images, None).logits
    features = trunk(images).detach().requires_grad_()
    (through,) = torch.autograd.grad(head(features, None, images.detach()).sum(), features)
    assert through.abs().sum() > 0
    (target,) = torch.autograd.grad(head(features.detach(), None, images).sum(), images)
    (both,) = torch.autograd.grad(logits.sum(), images)
    weight = trunk[1].weight
    torch.testing.assert_close(both, target + (through @ weight).view_as(both))


def test_perfect_reconstruction_has_no_nan_gradient():
    head, features = autoencoder("euclidean"), features_of(2, 6)
    images = head.decoder(features).detach().requires_grad_()
    head(features, None, images).sum().backward()
    assert images.grad.abs().sum() == 0
    assert all(p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize("resolution", [1, 2, 4, 8, 12, 16, 28, 32, 64])
@pytest.mark.parametrize("code", [0, 5])
def test_decoder_makes_images_of_every_resolution(resolution, code):
    image = Decoder(6, 2, resolution, 3, "none", "xavier", code)(torch.randn(2, 6))
    assert image.shape == (2, 3, resolution, resolution)


def test_packs_are_reconstructed_whole():
    head = autoencoder(resolution=8, channels=2, packing=3, norm="none")
    assert head(features_of(2, 6), None, features_of(2, 6, 8, 8)).shape == (2,)


def test_unknown_error_is_refused():
    with pytest.raises(InputError, match=r"model\.head\.error=l2: must be one of mse, l1, euclidean"):
        autoencoder("l2")
