"""The Stacked GAN's losses against slow references, its three stages, and that it goes on where it stopped."""

import copy
import dataclasses
import math

import pytest
import torch
from tiny import attach, gan_of, train

from saddle.augment import NoAugment
from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads import LinearHead
from saddle.heads.stacked import Level
from saddle.losses import NonSaturating, RelativisticAverage
from saddle.models.stacked_gan import MOST, StackedGAN, damped
from saddle.networks.stacked import Generator, Trunk
from saddle.randomness import generator

CLASSES = 3


def stacked(loss=None, head=None, class_logits=False, **options) -> StackedGAN:
    """Narrow networks in float64 on grey images of 32x32 pixels; the features are seen as they are."""
    torch.manual_seed(0)
    trunk = Trunk(2, 1)
    head = head or Level(trunk.features, CLASSES, noise=2, class_logits=class_logits)
    network = Generator(6, 2, CLASSES, features=5, hidden=4, width=2, channels=1)
    options = {"classes": CLASSES, "batch_size": 4, "latent_dim": 6, "latent": "uniform", "ema": 0.5} | options
    sizes = {"channels": 1, "resolution": 32, "features": 5, "hidden": 4, "blur": 0.0, "encoder_width": 2}
    stages = {"encoder_iterations": 0, "independent_iterations": 0}
    discriminator = Discriminator(trunk, head)
    model = gan_of(
        StackedGAN, network, discriminator, loss or NonSaturating(), {}, NoAugment(), **sizes | stages | options
    )
    return attach(model.double())


def batch(model: StackedGAN, seed=0):
    n = model.share.batch_size * model.rules.d_steps
    images = torch.randint(0, 256, (n, 1, 32, 32), dtype=torch.uint8, generator=generator(seed, "images"))
    return images, torch.arange(n) % CLASSES


def run(model: StackedGAN, first: int, last: int) -> StackedGAN:
    for i in range(first, last):
        model.training_step(batch(model, i), i)
    return model


def moved(model: StackedGAN, before: dict) -> set[str]:
    """The networks whose parameters differ from a state."""
    parts = ("encoder", "generator.upper", "generator.lower", "discriminator.trunk", "discriminator.feature_level")
    state = model.state_dict()
    return {
        part
        for part in parts
        if any(name.startswith(part) and not torch.equal(x, before[name]) for name, x in state.items())
    }


def snapshot(model: StackedGAN) -> dict:
    return {name: x.clone() for name, x in model.state_dict().items()}


def softplus(logits) -> float:
    values = logits.flatten().tolist()
    return sum(math.log1p(math.exp(x)) for x in values) / len(values)


def squared(a, b) -> float:
    return sum((p - q) ** 2 for p, q in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)) / a.numel()


def listen(model: StackedGAN, player: str, reference) -> list:
    """Pairs (the objective, its reference) from now on; the reference is a function of the turn."""
    seen, objective = [], getattr(model, f"{player}_objective")

    def listening(turn):
        value = objective(turn)
        with torch.no_grad():
            seen.append((value.item(), reference(turn)))
        return value

    setattr(model, f"{player}_objective", listening)
    return seen


def parts(model: StackedGAN, turn, independent: bool):
    """What both levels make of a turn's latents, by other means than the model's: h, h^, what G0 got, x^."""
    g, encoder = model.generator, model.encoder
    real = encoder.features(turn.real)
    features = g.upper(turn.real_labels, turn.latents[:, :4])
    given = real if independent else features
    return real, features, given, g.lower(given, turn.latents[:, 4:])


@pytest.mark.parametrize("independent", [True, False])
def test_the_generators_descend_the_papers_three_terms(independent):
    model = stacked(independent_iterations=2 if independent else 0)
    seen = []

    def reference(turn):
        _, features, given, images = parts(model, turn, independent)
        logits, guesses, _ = model.discriminator.feature_level(features)
        log_p = model.encoder.classify(features).log_softmax(1)
        cross_entropy = -sum(row[y].item() for row, y in zip(log_p, turn.real_labels, strict=True)) / len(log_p)
        upper = softplus(-logits) + cross_entropy + 10 * squared(guesses, turn.latents[:, :4])
        verdict = model.discriminator(images, turn.real_labels)
        lower = softplus(-verdict.logits) + squared(model.encoder.features(images), given)
        return upper + lower + 10 * squared(model.discriminator.head.guess(verdict.features), turn.latents[:, 4:])

    seen = listen(model, "generator", reference)
    run(model, 0, 2)
    assert [value for value, _ in seen] == pytest.approx([expected for _, expected in seen], rel=1e-9)


@pytest.mark.parametrize("independent", [True, False])
def test_the_discriminators_descend_both_levels_and_guess_the_noise(independent):
    model = stacked(independent_iterations=2 if independent else 0, adversarial=3.0, d_adversarial=0.5)

    def reference(turn):
        real, features, _, images = parts(model, turn, independent)
        level, d = model.discriminator.feature_level, model.discriminator
        total = softplus(-level(real)[0]) + softplus(level(features)[0])
        total += softplus(-d(turn.real, turn.real_labels).logits) + softplus(d(images, turn.real_labels).logits)
        total = 0.5 * total + 10 * squared(level(features)[1], turn.latents[:, :4])
        return total + 10 * squared(d.head.guess(d(images, turn.real_labels).features), turn.latents[:, 4:])

    seen = listen(model, "discriminator", reference)
    run(model, 0, 2)
    assert [value for value, _ in seen] == pytest.approx([expected for _, expected in seen], rel=1e-9)


def test_the_weights_of_the_terms():
    model = run(stacked(adversarial=2.0, condition=3.0, entropy=0.5), 0, 1)
    scalars = model.tracked()
    weights = {"g_loss": 2.0, "condition": 3.0, "entropy": 0.5}
    total = sum(w * scalars[f"train/{name}/{level}"] for name, w in weights.items() for level in ("features", "images"))
    assert scalars["train/g_loss"] == pytest.approx(total)


def test_the_stages_train_what_they_should():
    model = stacked(encoder_iterations=2, independent_iterations=1)
    everything = {"generator.upper", "generator.lower", "discriminator.trunk", "discriminator.feature_level"}
    for i, (stage, trained) in enumerate(
        [("encoder", {"encoder"}), ("encoder", {"encoder"}), ("independent", everything), ("joint", everything)]
    ):
        before = snapshot(model)
        assert model.stage == stage
        run(model, i, i + 1)
        assert moved(model, before) == trained
        assert model.tracked()["train/stage"] == ("encoder", "independent", "joint").index(stage)


def test_the_encoder_learns_the_labels_and_nothing_of_the_game_changes_it():
    model = stacked(encoder_iterations=60, encoder_lr=1e-2)
    for i in range(60):
        model.training_step(batch(model, 0), i)
    scalars = model.tracked()
    assert scalars["train/encoder_loss"] < math.log(3)
    images, labels = batch(model, 0)
    assert model.encoder(images.double() / 127.5 - 1).argmax(1).tolist() == labels.tolist()
    assert all(p.requires_grad for p in run(model, 60, 61).encoder.parameters())


def gradients(model: StackedGAN, weights: dict) -> torch.Tensor:
    """G1's gradient in one step of G with the image level's terms or without."""
    found = []
    model.optimizers()[1].step = lambda: found.append(
        torch.cat([p.grad.flatten() for p in model.generator.upper.parameters()])
    )
    for name, value in weights.items():
        setattr(model, name, value)
    run(model, 0, 1)
    return found[0]


def test_a_hundredth_of_the_image_levels_gradient_reaches_the_upper_generator():
    none, hundredth, whole, independent = (
        gradients(stacked(**options), {})
        for options in ({"joint": 0.0}, {"joint": 0.01}, {"joint": 1.0}, {"independent_iterations": 1})
    )
    assert torch.allclose(hundredth - none, 0.01 * (whole - none), atol=1e-10) and (whole - none).abs().max() > 1e-5
    assert torch.allclose(independent, none, atol=1e-12)


def test_damping_changes_the_gradient_alone():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = damped(x, 0.25)
    y.square().sum().backward()
    assert torch.equal(y, x) and x.grad.tolist() == [0.5, -1.0]


def test_a_strong_discriminator_gives_the_generators_more_steps():
    model = stacked(adaptive=True)
    steps = {}
    for half, expected in ((0.7, 1), (0.6, 3), (0.4, 5), (0.29, 7), (0.1, 7)):
        model._d_losses = {"features": torch.tensor(2 * half), "images": torch.tensor(2.0)}
        steps[half] = (model.updates("features"), model.updates("images"))
        assert steps[half] == (expected, 1)
    model.rules = dataclasses.replace(model.rules, adaptive=False)
    assert model.updates("features") == 1


def test_adaptive_steps_are_those_of_their_level():
    model, active = stacked(adaptive=True, independent_iterations=2), []
    model.updates = lambda level: {"features": 1, "images": 3}[level]
    objective = model.generator_objective
    latents = []

    def listening(turn):
        active.append(sorted(model._active))
        latents.append(turn.latents)
        return objective(turn)

    model.generator_objective = listening
    run(model, 0, 1)
    assert active == [["features", "images"], ["images"], ["images"]]
    assert not torch.equal(latents[0], latents[1]) and MOST == 7
    model.updates = lambda level: {"features": 2, "images": 1}[level]
    run(model, 1, 2)
    assert active[3:] == [["features", "images"], ["features"]]


def test_the_images_discriminator_counts_the_joint_steps_of_both_levels():
    model, active = stacked(adaptive=True), []
    model.updates = lambda level: {"features": 5, "images": 2}[level]
    objective = model.generator_objective
    model.generator_objective = lambda turn: active.append(sorted(model._active)) or objective(turn)
    run(model, 0, 1)
    assert active == [["features", "images"]] * 2


def test_d_learns_the_classes_of_real_images_where_it_has_class_logits():
    model = stacked(class_logits=True)
    seen = []
    head = model.discriminator.head
    loss = head.loss

    def listening(turn):
        term = loss(turn)
        if turn.player == "discriminator":
            rows = head.linear(turn.real_verdict.features).log_softmax(1)
            expected = -sum(row[y].item() for row, y in zip(rows, turn.real_labels, strict=True)) / len(rows)
            seen.append((term.item(), expected))
        else:
            assert term is None
        return term

    head.loss = listening
    run(model, 0, 1)
    scalars = model.tracked()
    assert seen[0][0] == pytest.approx(seen[0][1]) and "train/d_head" in scalars
    assert model.discriminator.feature_level.logit.out_features == CLASSES
    assert 0 < scalars["train/d_classes/features"] < 10


def test_the_features_discriminator_learns_their_classes_too():
    model = stacked(class_logits=True, d_lr=1e-2, encoder_iterations=60, encoder_lr=1e-2)
    for i in range(100):
        model.training_step(batch(model, 0), i)
    assert model.tracked()["train/d_classes/features"] < math.log(CLASSES)
    images, labels = batch(model, 0)
    with torch.no_grad():
        real = model.encoder.features(images.double() / 127.5 - 1)
        logits, _, scores = model.discriminator.feature_level(real)
    assert (scores.argmax(1) == labels).sum() >= 3  # of 4
    assert torch.allclose(logits, scores.exp().sum(1).log())


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_run_goes_on_exactly_where_it_stopped_in_every_stage(at):
    options = dict(encoder_iterations=2, independent_iterations=1, blur=0.2, adaptive=True)
    straight = run(stacked(**options), 0, at)
    state = snapshot(straight)
    optimizers = [copy.deepcopy(each.optimizer.state_dict()) for each in straight.optimizers()]
    assert len(optimizers) == 3
    resumed = stacked(**options)
    resumed.load_state_dict(state)
    for optimizer, values in zip(resumed.optimizers(), optimizers, strict=True):
        optimizer.optimizer.load_state_dict(values)
    resumed.iteration = at
    run(straight, at, 5), run(resumed, at, 5)
    assert all(torch.equal(x, straight.state_dict()[name]) for name, x in resumed.state_dict().items())
    assert moved(straight, state)


def test_micro_batches_of_the_encoder_give_the_same_step():
    whole, halves = (run(stacked(encoder_iterations=9, accumulate=k), 0, 2) for k in (1, 2))
    for name, x in whole.encoder.named_parameters():
        assert torch.allclose(x, dict(halves.encoder.named_parameters())[name], atol=1e-9)


def test_samples_are_of_the_class_that_was_asked_for():
    model = stacked().eval()
    assert model.conditional
    images, labels = model.sample(0, 3, labels=2)
    assert images.shape == (3, 1, 32, 32) and labels.tolist() == [2, 2, 2]
    assert model.sample(0, 300)[1].unique().tolist() == [0, 1, 2]
    z = model.sample_latents(0, 0, 3).double()
    expected = model.ema.module(z, torch.tensor([2, 2, 2]))
    assert torch.allclose(images, expected)


def test_any_loss_is_played_on_both_levels():
    model = run(stacked(RelativisticAverage()), 0, 2)
    assert all(torch.tensor(value).isfinite() for value in model.tracked().values())


def test_misfits_are_refused():
    with pytest.raises(InputError, match="head of its own"):
        stacked(head=LinearHead(4, 0))
    head = Level(4, CLASSES, noise=2)
    head.needs_labels = False
    with pytest.raises(InputError, match="model.packing=2"):
        model = stacked()
        model.discriminator.packing = 2
        gan_of(
            StackedGAN,
            model.generator,
            model.discriminator,
            NonSaturating(),
            {},
            NoAugment(),
            channels=1,
            resolution=32,
            classes=CLASSES,
            batch_size=4,
            latent_dim=6,
        )


TINY = ["data.batch_size=4", "data.channels=1", "data.classes=3", "model.width=2", "model.latent_dim=6", "precision=32"]
SIZES = ["model.generator.image_noise=2", "model.generator.features=4", "model.generator.hidden=4"]


def test_the_shipped_model_trains_by_lightnings_trainer():
    stages = ["model.encoder_width=2", "model.encoder_iterations=1", "model.independent_iterations=1"]
    model, scalars = train(3, "model=stacked_gan", *TINY, *SIZES, *stages)
    assert model.iteration == 3 and scalars["train/stage"] == 1.0
    assert {"train/g_loss", "train/d_loss", "train/encoder_accuracy", "train/d_loss/images"} <= set(scalars)
