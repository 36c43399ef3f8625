"""The two steps of the game, on tiny networks without a trainer."""

import dataclasses
import itertools
from types import SimpleNamespace

import pytest
import torch
from tiny import attach, batch, dense_gan, gan_of

from saddle.augment import NoAugment
from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads import LinearHead
from saddle.heads.labels import Projection
from saddle.losses import Hinge, LeastSquares, NonSaturating, Wasserstein
from saddle.models.base import GAN
from saddle.networks.dcgan import Generator, Trunk
from saddle.networks.norm import BatchNorm
from saddle.penalties import R1, FeatureMatching, LeCam, Orthogonal, PathLength, WeightClip
from saddle.randomness import layer_noise
from saddle.turn import Turn

PENALTIES = {
    "none": None,
    "r1": R1,
    "lecam": lambda: LeCam(start=0),
    "weight_clip": lambda: WeightClip(0.1),
    "feature_matching": FeatureMatching,
    "path_length": PathLength,
    "orthogonal": Orthogonal,
}


def dcgan(penalties=None, *, classes=0, norm="none", loss=None, batch_size=6, **options) -> GAN:
    """A DCGAN of 8x8 images."""
    torch.manual_seed(0)
    trunk = Trunk(2, 8, 1, norm, init="orthogonal")
    head = (Projection if classes else LinearHead)(trunk.features, classes)
    generator = Generator(4, 2, 8, 1, init="orthogonal")
    return gan_of(
        GAN,
        generator,
        Discriminator(trunk, head),
        loss or NonSaturating(),
        penalties or {},
        NoAugment(),
        classes=classes,
        batch_size=batch_size,
        latent_dim=4,
        **options,
    )


def step(model, iterations=1, classes=1):
    for i in range(iterations):
        model.training_step(batch(model, side=8, seed=i, classes=classes), i)


def state(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def moved(before, network):
    return {name for name, value in state(network).items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize(
    "loss", [NonSaturating(), Hinge(), Wasserstein(), LeastSquares()], ids=lambda x: type(x).__name__
)
def test_each_step_moves_its_own_player_alone(loss, name):
    model = attach(dcgan({name: PENALTIES[name]()} if PENALTIES[name] else None, loss=loss))
    (reals,) = model.reals(*batch(model, side=8))
    d, g = state(model.discriminator), state(model.generator)
    model.discriminator_step(0, reals)
    assert moved(d, model.discriminator) >= {n for n in d if n.endswith("weight")}
    assert moved(g, model.generator) == set()
    d = state(model.discriminator)
    model.generator_step(0, reals)
    assert moved(d, model.discriminator) == set()
    assert moved(g, model.generator) == set(g)
    scalars = model.tracked()
    assert all(torch.tensor(value).isfinite() for value in scalars.values())
    assert (f"train/penalty/{name}" in scalars) is (name not in ("none", "weight_clip"))


def test_first_losses_are_those_of_the_same_networks_by_hand():
    model = attach(dense_gan())
    images, labels = batch(model)
    (reals,) = model.reals(images, labels)
    real = images.double() / 127.5 - 1
    assert torch.allclose(reals[0][0], real, rtol=1e-14) and reals[0][0].dtype == torch.float64
    seen = []
    objective = model.discriminator_objective
    model.discriminator_objective = lambda turn: seen.append(turn) or objective(turn)
    d = {name: value.detach().clone() for name, value in model.discriminator.state_dict().items()}
    model.discriminator_step(0, reals)
    (turn,) = seen

    def logits(x):
        hidden = torch.tanh(x.flatten(1) @ d["trunk.linear.weight"].T + d["trunk.linear.bias"])
        return hidden @ d["head.linear.weight"][0] + d["head.linear.bias"]

    fake = model.generator(turn.latents, turn.fake_labels)
    expected = -torch.sigmoid(logits(real)).log().mean() - (1 - torch.sigmoid(logits(fake))).log().mean()
    scalars = model.tracked()
    assert scalars["train/d_loss"] == pytest.approx(expected.item(), rel=1e-10)
    assert scalars["train/real_logits"] == pytest.approx(logits(real).mean().item())
    assert scalars["train/d_accuracy_real"] == (logits(real) > 0).double().mean().item()
    assert scalars["train/d_accuracy_fake"] == (logits(fake) < 0).double().mean().item()


def test_every_discriminator_step_sees_its_own_batch_and_the_generator_the_last():
    model = attach(dense_gan(d_steps=3, accumulate=2))
    images, labels = batch(model, classes=1000)
    seen = []

    def descend(player, number, reals):
        images, labels, _ = zip(*reals, strict=True)
        seen.append((player, number, torch.cat(images), torch.cat(labels), len(reals)))

    model.descend = descend
    model.iteration = 5
    model.training_step((images, labels), 0)
    assert [(player, number) for player, number, *_ in seen] == [
        ("discriminator", 15), ("discriminator", 16), ("discriminator", 17), ("generator", 5)
    ]  # fmt: skip
    for k, (_, _, x, y, micro_batches) in enumerate(seen[:3]):
        assert micro_batches == 2
        assert torch.equal(y, labels[k * 8 : (k + 1) * 8])
        assert torch.allclose(x, images[k * 8 : (k + 1) * 8].double() / 127.5 - 1)
    assert torch.equal(seen[3][2], seen[2][2])
    assert model.iteration == 6


@pytest.mark.parametrize(
    "penalties",
    [{}, {"r1": R1}, {"path_length": lambda: PathLength(decay=1e-9), "orthogonal": Orthogonal}],
    ids=lambda p: "+".join(p) or "none",
)
def test_accumulation_changes_nothing_without_coupling(penalties):
    states = []
    for accumulate in (1, 2, 4):
        made = {name: make() for name, make in penalties.items()}
        model = attach(dense_gan(made, accumulate=accumulate, classes=3, flip=True, d_steps=2, d_lr=1e-3))
        for i in range(3):
            model.training_step(batch(model, seed=i), i)
        states.append((state(model), model.tracked()))
    for parameters, scalars in states[1:]:
        assert all(torch.allclose(v, states[0][0][n], rtol=0, atol=1e-10) for n, v in parameters.items())
        assert scalars["train/d_loss"] == pytest.approx(states[0][1]["train/d_loss"], rel=1e-9)


def test_flips_mirror_about_half_and_never_shuffle():
    model = dense_gan(batch_size=400, flip=True)
    images, labels = batch(model)
    ((flipped, *_),) = next(iter(model.reals(images, labels)))
    plain = images.double() / 127.5 - 1
    mirrored = torch.isclose(flipped, plain.flip(-1)).flatten(1).all(1)
    kept = torch.isclose(flipped, plain).flatten(1).all(1)
    assert torch.equal(mirrored, ~kept) and 0.4 < mirrored.double().mean() < 0.6
    model.facts = dataclasses.replace(model.facts, flip=False)
    ((same, *_),) = next(iter(model.reals(images, labels)))
    assert torch.allclose(same, plain)


def test_tracked_scalars_are_means_since_the_last_reading():
    model = dense_gan()
    assert model.tracked() == {}
    for value in (1.0, 2.0, 6.0):
        model.track("a", torch.tensor(value, requires_grad=True))
    model.track("b", torch.tensor(-1.0))
    assert model.tracked() == {"train/a": 3.0, "train/b": -1.0}
    model.track("a", torch.tensor(5.0))
    assert model.tracked() == {"train/a": 5.0}


def test_tracking_does_not_change_the_value_it_is_given():
    model, value = dense_gan(), torch.tensor(1.0)
    model.track("a", value)
    model.track("a", value)
    assert value == 1.0


def test_head_terms_join_the_loss_of_both_players():
    model = attach(dense_gan())
    model.discriminator.head.loss = lambda turn: turn.real.new_full((), 2.0 if turn.player == "generator" else 3.0)
    model.training_step(batch(model), 0)
    scalars = model.tracked()
    assert scalars["train/d_head"] == 3.0 and scalars["train/g_head"] == 2.0


def test_ema_follows_inside_the_step():
    model = attach(dcgan(ema=0.99))
    old = {name: value.clone() for name, value in model.ema.module.state_dict().items()}
    step(model)
    for name, value in model.ema.module.state_dict().items():  # the first decay is (1 + 0) / (10 + 0)
        assert torch.allclose(value, 0.1 * old[name] + 0.9 * model.generator.state_dict()[name], atol=1e-6), name


def test_checkpoint_restores_counter_and_sums_and_the_run_goes_on_bit_by_bit(tmp_path):
    def make():
        return attach(dcgan({"lecam": LeCam(start=0), "r1": R1(every=2)}, d_steps=2))

    straight = make()
    step(straight, 2)
    saved = {"state_dict": {k: v.clone() for k, v in straight.state_dict().items()}}
    saved["optimizers"] = [o.optimizer.state_dict() for o in straight.optimizers()]
    straight.on_save_checkpoint(saved)
    torch.save(saved, tmp_path / "x.ckpt")
    saved = torch.load(tmp_path / "x.ckpt", weights_only=True)
    step(straight, 3)

    resumed = make()
    torch.manual_seed(99)  # nothing may depend on the global generator
    resumed.load_state_dict(saved["state_dict"])
    for optimizer, values in zip(resumed.optimizers(), saved["optimizers"], strict=True):
        optimizer.optimizer.load_state_dict(values)
    resumed.on_load_checkpoint(saved)
    assert resumed.iteration == 2
    step(resumed, 3)
    assert all(torch.equal(v, straight.state_dict()[n]) for n, v in resumed.state_dict().items())
    assert resumed.tracked() == straight.tracked()


def test_optimisers_are_the_discriminators_then_the_generators():
    model = dcgan(d_lr=3e-4, g_lr=1e-4, beta1=0)
    d, g = model.configure_optimizers()
    assert (d.defaults["lr"], g.defaults["lr"], d.defaults["betas"]) == (3e-4, 1e-4, (0.0, 0.999))
    assert {id(p) for p in d.param_groups[0]["params"]} == {id(p) for p in model.discriminator.parameters()}
    assert {id(p) for p in g.param_groups[0]["params"]} == {id(p) for p in model.generator.parameters()}


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_every_optimiser_steps(optimizer):
    model = attach(dcgan(optimizer=optimizer))
    g = state(model.generator)
    step(model)
    assert moved(g, model.generator) == set(g)


def test_a_share_that_does_not_divide_is_refused():
    with pytest.raises(InputError, match=r"data\.batch_size"):
        _ = dense_gan(batch_size=6, accumulate=4).share


# ---- sampling


@pytest.fixture(scope="module")
def trained():
    model = attach(dcgan(classes=3, ema=0.9))
    step(model, 2, classes=3)
    return model


def test_samples_do_not_depend_on_the_chunks(trained):
    images, labels = trained.sample(0, 300)
    assert images.shape == (300, 1, 8, 8) and images.dtype == torch.float32 and images.abs().max() <= 1
    assert labels.shape == (300,) and labels.dtype == torch.int64 and set(labels.tolist()) == {0, 1, 2}
    cuts = [0, 1, 100, 257, 300]
    pieces = [trained.sample(a, b) for a, b in itertools.pairwise(cuts)]
    assert torch.allclose(images, torch.cat([x for x, _ in pieces]), atol=1e-6)
    assert torch.equal(labels, torch.cat([y for _, y in pieces]))
    assert not torch.allclose(images[:5], trained.sample(0, 5, seed=1)[0])


def test_samples_of_the_average_and_of_the_raw_generator_differ(trained):
    averaged, raw = trained.sample(0, 4)[0], trained.sample(0, 4, ema=False)[0]
    assert (averaged - raw).abs().max() > 1e-5
    copy = attach(dcgan(classes=3, ema=0.0))
    step(copy, classes=3)
    assert torch.equal(copy.sample(0, 4)[0], copy.sample(0, 4, ema=False)[0])


def test_labels_are_those_asked_for():
    model = dcgan(classes=3)
    seen = []
    model.ema.module.register_forward_hook(lambda m, inputs, out: seen.append(inputs[1]))
    assert model.sample(5, 9, labels=2)[1].tolist() == [2, 2, 2, 2]
    wanted = torch.tensor([0, 2, 1, 1])
    assert torch.equal(model.sample(5, 9, labels=wanted)[1], wanted)
    assert [y.tolist() for y in seen] == [[2, 2, 2, 2], [0, 2, 1, 1]]
    assert model.conditional and not dcgan().conditional
    assert dcgan().sample(0, 3)[1].tolist() == [0, 0, 0]


def test_truncated_samples_come_from_truncated_latents():
    model = dcgan()
    seen = []
    model.ema.module.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    model.sample(0, 200, truncation=0.3)
    model.sample(0, 200)
    assert seen[0].abs().max() <= 0.3 + 1e-6 and seen[1].abs().max() > 2
    with pytest.raises(InputError, match="truncation"):
        model.sample(0, 2, truncation=-1.0)


def test_sampling_is_in_evaluation_mode_and_leaves_no_trace(trained):
    modes = []
    networks = [trained.generator, trained.ema.module]
    layers = [m for network in networks for m in network.modules() if isinstance(m, BatchNorm)]
    hooks = [layer.register_forward_hook(lambda m, i, o: modes.append(m.training)) for layer in layers]
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    was = [network.training for network in networks]
    global_state = torch.get_rng_state()
    for ema in (True, False):
        images, _ = trained.sample(0, 4, ema=ema)
        assert not images.requires_grad
    for hook in hooks:
        hook.remove()
    assert modes == [False] * len(layers)
    assert [network.training for network in networks] == was and trained.generator.training
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert torch.equal(global_state, torch.get_rng_state())


def test_samples_in_mixed_precision_are_float32():
    model = dcgan(precision="bf16-mixed")
    images, _ = model.sample(0, 4)
    plain, _ = dcgan().sample(0, 4)
    assert images.dtype == torch.float32
    assert not torch.equal(images, plain) and torch.allclose(images, plain, atol=0.05)


def test_samples_in_float64():
    images, _ = dense_gan().sample(0, 3)
    assert images.dtype == torch.float64


def test_the_stop_vote_of_one_process_is_its_own():
    model = attach(dense_gan())
    model.training_step(batch(model), 0)
    assert model.stop_votes == 0
    model.stop_vote = 1.0
    model.training_step(batch(model), 0)
    assert model.stop_votes == 1


def test_mixed_precision_trains_with_float32_logits():
    model = attach(dcgan({"r1": R1(), "feature_matching": FeatureMatching()}, precision="bf16-mixed"))
    kinds = set()
    bare = model.loss
    model.loss = SimpleNamespace(
        discriminator=lambda r, f: kinds.update({r.dtype, f.dtype}) or bare.discriminator(r, f),
        generator=lambda f, r=None: kinds.add(f.dtype) or bare.generator(f),
        boundary=bare.boundary,
        reads_real=False,
        estimates=bare.estimates,
    )
    with model.forward_context():
        step(model)
    assert kinds == {torch.float32}
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())


def test_top_k_keeps_the_most_real_and_its_share_shrinks():
    model = dense_gan(top_k=0.5, top_k_decay=0.9, loss=Wasserstein())
    logits = torch.tensor([3.0, -1.0, 0.5, 2.0, 7.0, 0.0, 1.0, -4.0])
    kept = []
    for model.iteration in (0, 3, 100):
        kept.append(model.most_real(logits).tolist())
    assert [len(k) for k in kept] == [8, 6, 4]  # 0.9^3 = 0.729 of 8 is 5.8
    assert kept[2] == [7.0, 3.0, 2.0, 1.0]
    assert dense_gan().most_real(logits) is logits


def test_top_k_gives_the_others_no_gradient():
    model = attach(dense_gan(top_k=0.25, top_k_decay=0.1, loss=Wasserstein()))
    model.iteration = 5
    (reals,) = model.reals(*batch(model))
    turn = Turn(model, "generator", 5, 0, reals[0], frozenset())
    turn.fake.retain_grad()
    model.generator_objective(turn).backward()
    touched = turn.fake.grad.flatten(1).abs().sum(1) > 0
    assert touched.sum() == 2 and set(turn.fake_logits.topk(2).indices.tolist()) == set(
        touched.nonzero()[:, 0].tolist()
    )


def test_what_d_estimates_is_tracked():
    model = attach(dense_gan(loss=Wasserstein()))
    model.training_step(batch(model), 0)
    scalars = model.tracked()
    assert scalars["train/estimate/wasserstein"] == pytest.approx(-scalars["train/d_loss"], rel=1e-12)


class Listening(NoAugment):
    """Keeps what the controller of an augmentation would be shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def observe(self, real_logits):
        self.seen.append(real_logits.clone())
        return {}


@pytest.mark.parametrize(
    ("loss", "boundary"),
    [
        (NonSaturating(), lambda real, fake: 0.0),
        (LeastSquares(a=-1.0, b=2.0), lambda real, fake: 0.5),
        (Wasserstein(), lambda real, fake: (real.mean() + fake.mean()) / 2),
    ],
    ids=lambda x: type(x).__name__,
)
def test_the_augmentation_is_shown_how_far_real_logits_are_beyond_the_boundary(loss, boundary):
    model = attach(dense_gan(loss=loss))
    model.augment = Listening()
    model.training_step(batch(model), 0)
    (seen,), logits = model.augment.seen, model.last_logits
    assert torch.allclose(seen, logits["real"] - boundary(logits["real"], logits["fake"]), rtol=1e-12)


@pytest.mark.parametrize("labels", ["uniform", "real"])
def test_the_labels_of_generated_images(labels):
    model = attach(dcgan(classes=3, fake_labels=labels, batch_size=60))
    turns = []
    for name in ("discriminator_objective", "generator_objective"):
        objective = getattr(model, name)
        setattr(model, name, lambda turn, objective=objective: turns.append(turn) or objective(turn))
    step(model, classes=3)
    for turn in turns:
        assert torch.equal(turn.fake_labels, turn.real_labels) is (labels == "real")
        assert set(turn.fake_labels.tolist()) == {0, 1, 2}


def test_points_reach_the_networks_unscaled():
    model = dense_gan()
    points = 3 * torch.randn(8, 1, 4, 4)
    ((seen, *_),) = next(iter(model.reals(points, torch.zeros(8, dtype=torch.long))))
    assert torch.equal(seen, points.double())


class Noisy(torch.nn.Module):
    """A generator whose layer adds noise."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.shape = inner, (1, 4, 4)

    def forward(self, latents, labels):
        return self.inner(latents, labels) + layer_noise(latents, *self.shape)


def test_noise_inside_layers_is_a_function_of_iteration_and_sample():
    model = dense_gan()
    model.generator, model.ema.module = Noisy(model.generator), Noisy(model.ema.module)
    whole, _ = model.sample(0, 300, seed=3)
    again = torch.cat([model.sample(a, b, seed=3)[0] for a, b in ((0, 7), (7, 260), (260, 300))])
    torch.testing.assert_close(whole, again, rtol=0, atol=1e-12)
    (reals,) = model.reals(*batch(model))
    first, second = (Turn(model, "discriminator", 0, 0, reals[0], frozenset()) for _ in range(2))
    assert torch.equal(first.fake, second.fake)
    assert not torch.equal(first.fake, first.generate(first.latents, first.fake_labels, "other"))
