"""ProGAN: when it grows, what it trains on, and that all of it is a function of the iteration."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import attach, gan_of, train

from saddle.augment import NoAugment
from saddle.callbacks.growth import GrowthGrid
from saddle.data.loader import Iterations
from saddle.discriminator import Discriminator
from saddle.distributed import Share
from saddle.errors import InputError
from saddle.heads.equalised import EqualisedHead
from saddle.losses import Wasserstein
from saddle.models.progan import Growth, ProGAN, of_stage
from saddle.networks import dcgan
from saddle.networks.progan import Generator, Trunk, enlarge, shrink
from saddle.penalties import Drift, GradientPenalty
from saddle.turn import Turn

SIDE = 16
PLAN = {"fade_kimg": 0.016, "stable_kimg": 0.008, "batch_sizes": [8, 4]}  # parts of 1, 4, 2, 4, ... iterations


def progan(side=SIDE, **options) -> ProGAN:
    """A tiny ProGAN in float64 with optimisers."""
    torch.manual_seed(0)
    trunk = Trunk(2, side, 1, max_width=4)
    discriminator = Discriminator(trunk, EqualisedHead(trunk.features, 0))
    options = {"classes": 0, "batch_size": 4, "latent_dim": 3, "beta1": 0.0, **PLAN, **options}
    generator = Generator(3, 2, side, 1, max_width=4)
    penalties = {"gradient_penalty": GradientPenalty(), "drift": Drift()}
    return attach(gan_of(ProGAN, generator, discriminator, Wasserstein(), penalties, NoAugment(), **options).double())


def reals_of(model, side=SIDE):
    n = model.rules.d_steps * model.growth.batch_size_at(model.iteration)
    stream = torch.Generator().manual_seed(model.iteration)
    images = torch.randint(256, (n, 1, side, side), dtype=torch.uint8, generator=stream)
    return images, torch.zeros(n, dtype=torch.int64)


def run(model, iterations, side=SIDE):
    for _ in range(iterations):
        model.training_step(reals_of(model, side), 0)
    return model


# ---- when it grows -------------------------------------------------------------------------------------------------


def test_a_plan_part_by_part():
    growth = Growth(range(3), 0.016, 0.008, [8, 4])
    assert [tuple(part) for part in growth.phases] == [
        (0, 0, 0, 0, 8),
        (1, 8, 1, 4, 4),
        (5, 24, 1, 0, 4),
        (7, 32, 2, 4, 4),
        (11, 48, 2, 0, 4),
    ]
    assert [growth.alpha_at(i) for i in range(13)] == [1, 0, 0.25, 0.5, 0.75, 1, 1, 0, 0.25, 0.5, 0.75, 1, 1]
    assert [i for i in range(1000) if growth.starts(i)] == [0, 1, 5, 7, 11]


def test_the_published_plan_of_nine_stages():
    """600 thousand images a part: at 1024 pixels after 9.0 million, alone after 9.6 million; batches as published."""
    growth = Growth(range(9), 600, 600, [128, 128, 128, 64, 32, 16, 8, 4])
    last = growth.phases[-1]
    assert (len(growth.phases), last.stage, last.batch_size, of_stage([1.0] * 8 + [1.5], last.stage)) == (17, 8, 4, 1.5)
    assert 9_600_000 <= last.images < 9_600_000 + 17 * 128
    assert growth.images_at(1_354_610) == pytest.approx(12e6, abs=16)


plans = st.tuples(
    st.integers(1, 4), st.floats(0, 0.05), st.floats(0, 0.05), st.lists(st.integers(1, 9), min_size=1, max_size=5)
)


@settings(max_examples=60, deadline=None)
@given(plans, st.integers(1, 3))
def test_a_plan_is_what_counting_gives(plan, d_steps):
    stages, fade, stable, sizes = plan
    growth = Growth(range(stages), fade, stable, sizes, d_steps)
    shown, stage, within, fading = 0, 0, 0, False  # a slow walk: images shown and images of this part
    for iteration in range(60):
        while within >= round(1000 * (fade if fading else stable)) and (fading or stage < stages - 1):
            stage, fading, within = (stage, False, 0) if fading else (stage + 1, True, 0)
        part = growth.phase_at(iteration)
        size = of_stage(sizes, stage)
        assert (part.stage, part.batch_size, part.fade > 0) == (stage, size, fading)
        assert growth.images_at(iteration) == shown
        if fading:
            assert growth.alpha_at(iteration) == pytest.approx(within / (part.fade * d_steps * size))
        shown, within = shown + d_steps * size, within + d_steps * size


@settings(max_examples=30, deadline=None)
@given(plans, st.integers(1, 3), st.integers(0, 8))
def test_the_stream_of_real_images_has_no_gap_where_the_batch_size_changes(plan, d_steps, start):
    stages, fade, stable, sizes = plan
    growth = Growth(range(stages), fade, stable, [2 * size for size in sizes], d_steps)

    def taken(rank, processes, first, count=12):
        share = Share(2 * sizes[0], processes, rank)
        return list(itertools.islice(Iterations(23, 7, share, d_steps, first, growth), count))

    whole = taken(0, 1, 0, start + 12)
    steady = sum(itertools.islice(Iterations(23, 7, Share(1)), growth.images_at(start + 12)), [])
    assert sum(whole, []) == steady
    assert taken(0, 1, start) == whole[start:]
    for iteration, (one, two, both) in enumerate(zip(taken(0, 2, 0), taken(1, 2, 0), whole, strict=False)):
        half = growth.phase_at(iteration).batch_size // 2
        rows = zip(*(torch.tensor(part).view(d_steps, half) for part in (one, two)), strict=True)
        assert torch.cat([torch.cat(pair) for pair in rows]).tolist() == both


# ---- what it trains on ---------------------------------------------------------------------------------------------


def test_stage_fade_and_batch_size_follow_the_iteration():
    model = progan()
    assert model.generator.grown == (0, 1.0) and model.ema.module.grown == (0, 1.0)
    seen = []

    def detail(images):
        """The smallest side that the images could be enlarged from."""
        return next(
            side for side in (4, 8, 16) if torch.allclose(enlarge(shrink(images, side), 16), images, atol=1e-12)
        )

    class Watched(Turn):
        def generate(self, latents, labels, purpose):
            fake = super().generate(latents, labels, purpose)
            assert self.real.shape == fake.shape == (len(latents), 1, 16, 16)
            seen.append((model.iteration, len(latents), detail(self.real), detail(fake)))
            return fake

    model.turn_type = Watched
    run(model, 8)
    sides = [4] + 6 * [8] + [16]
    fading = {1, 7}  # a stage that begins to fade in shows no detail of its own yet
    for iteration, size, real, fake in seen:
        assert size == (8 if iteration == 0 else 4)
        assert real == fake == sides[iteration] // (2 if iteration in fading else 1), iteration
    assert model.kimg == (8 + 7 * 4) / 1000
    assert model.generator.grown == model.discriminator.trunk.grown == model.ema.module.grown == (2, 0.0)
    scalars = model.tracked()
    assert scalars["train/resolution"] == sum(sides) / 8
    assert scalars["train/alpha"] == (1 + 0 + 0.25 + 0.5 + 0.75 + 1 + 1 + 0) / 8
    assert model.sample(0, 3)[0].shape == (3, 1, 16, 16)


def test_real_images_are_averaged_down_and_faded():
    model = progan()
    model.iteration = 2  # 8x8 pixels, alpha 1/4
    model._grow()
    images, labels = reals_of(model)
    ((faded, *_),) = next(iter(model.reals(images, labels)))
    pixels = images.double() / 127.5 - 1
    fine = torch.stack([torch.stack([pixels[..., i::2, j::2] for i in (0, 1)]) for j in (0, 1)]).mean((0, 1))
    coarse = torch.stack([torch.stack([fine[..., i::2, j::2] for i in (0, 1)]) for j in (0, 1)]).mean((0, 1))
    expected = 0.75 * coarse.repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.25 * fine
    expected = expected.repeat_interleave(2, 2).repeat_interleave(2, 3)  # to the full size
    assert torch.allclose(faded, expected, rtol=0, atol=1e-14)


def test_the_slope_of_the_penalty_is_that_of_the_enlarged_images():
    """At 4x4 of 16x16 pixels it is a quarter of that at the size of the stage: 16 pixels share what one has there."""
    model = progan()
    turns = []
    objective = model.discriminator_objective
    model.discriminator_objective = lambda turn: turns.append(turn) or objective(turn)
    state = {name: p.detach().clone() for name, p in model.state_dict().items()}
    run(model, 1)
    term = model.tracked()["train/penalty/gradient_penalty"]
    twin = progan()
    twin.load_state_dict(state)
    (turn,) = turns
    model.iteration = 0  # so that the turn's draws are those of its time
    place = turn.draws("gradient_penalty/place").uniform(1, 1, 1)
    points = shrink(turn.fake + place * (turn.real - turn.fake), 4).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(twin.discriminator(points, turn.real_labels).logits.sum(), points)
    assert term == pytest.approx(10 * (gradients.flatten(1).norm(dim=1) / 4 - 1).square().mean().item(), rel=1e-9)


def test_only_the_stages_that_are_there_learn():
    model = progan()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run(model, 1)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    for name in before:
        later = any(f"{part}.{s}." in name for part in ("blocks", "to_image", "from_image") for s in (1, 2))
        assert (name in moved) != later, name


def test_moments_are_forgotten_where_a_part_begins_and_rates_follow_the_stage():
    model = progan(lr_factors=[1.0, 2.0, 3.0], g_lr=1e-3, d_lr=4e-3)
    steps = []
    for _ in range(8):
        run(model, 1)
        optimizers = [model.player(player)[1].optimizer for player in ("discriminator", "generator")]
        rates = tuple(o.param_groups[0]["lr"] for o in optimizers)
        steps.append((max(int(s["step"]) for o in optimizers for s in o.state.values()), rates))
    assert [count for count, _ in steps] == [1, 1, 2, 3, 4, 1, 2, 1]
    factors = [1] + 6 * [2] + [3]
    assert all(r == pytest.approx((4e-3 * f, 1e-3 * f)) for (_, r), f in zip(steps, factors, strict=True))


def test_a_run_resumed_in_the_middle_of_a_fade_goes_on_as_if_it_had_not_stopped():
    whole = run(progan(), 8)
    first = run(progan(), 3)
    assert 0 < first.alpha < 1
    checkpoint = {"state_dict": first.state_dict()}
    first.on_save_checkpoint(checkpoint)
    optimizers = [first.player(player)[1].optimizer.state_dict() for player in ("discriminator", "generator")]
    second = progan()
    second.on_load_checkpoint(checkpoint)
    second.load_state_dict(checkpoint["state_dict"])
    for player, state in zip(("discriminator", "generator"), optimizers, strict=True):
        second.player(player)[1].optimizer.load_state_dict(state)
    assert second.kimg == first.kimg
    run(second, 5)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert whole.tracked() == second.tracked()


def test_without_growing_it_is_an_ordinary_gan_of_full_size():
    model = progan(growing=False, batch_size=4)
    assert model.growth.stages == (2,) and model.share.batch_size == 4
    run(model, 2)
    assert model.kimg == 8 / 1000 and model.generator.grown == (2, 1.0)
    scalars = model.tracked()
    assert "train/alpha" not in scalars and "train/d_loss" in scalars


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_sizes": [8, 0]}, "model.batch_sizes"),
        ({"batch_sizes": []}, "model.batch_sizes"),
        ({"lr_factors": [0.0]}, "model.lr_factors"),
        ({"start_resolution": 12}, "model.start_resolution=12: choose one of 4, 8, 16"),
        ({"start_resolution": 32}, "model.start_resolution=32"),
    ],
)
def test_senseless_options_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        progan(**options)


def test_networks_that_cannot_grow_are_refused():
    trunk = dcgan.Trunk(2, 8, 1, "none")
    discriminator = Discriminator(trunk, EqualisedHead(trunk.features, 0))
    with pytest.raises(InputError, match="choose progan or stylegan for model/generator"):
        gan_of(ProGAN, dcgan.Generator(3, 2, 8, 1), discriminator, Wasserstein(), {}, NoAugment(),
            classes=0, batch_size=4, latent_dim=3,
        )  # fmt: skip


def test_a_batch_size_that_a_later_stage_cannot_use_is_refused_at_the_start():
    with pytest.raises(InputError, match=r"model.batch_sizes: 6 images .* groups of 4"):
        progan(batch_sizes=[8, 6]).on_fit_start()
    with pytest.raises(InputError, match=r"model.batch_sizes: 4 images .*trainer.accumulate=3"):
        progan(batch_size=12, batch_sizes=[12, 4], accumulate=3).on_fit_start()


# ---- by Lightning's trainer, and its picture -----------------------------------------------------------------------


def test_the_trainer_loads_as_many_images_as_each_stage_takes_and_says_so(capsys):
    options = ["model=progan", "data.resolution=8", "data.channels=1", "model.width=4", "model.latent_dim=6"]
    plan = ["model.fade_kimg=0.016", "model.stable_kimg=0.008", "model.batch_sizes=[8,4]", "precision=32"]
    model, scalars = train(4, *options, *plan)
    assert model.kimg == (8 + 3 * 4) / 1000 and model.share.batch_size == 4
    assert scalars["train/alpha"] == pytest.approx((1 + 0 + 0.25 + 0.5) / 4)
    said = "images of a batch, by pixels: 8 at 4, 4 at 8 (model.batch_sizes replaces data.batch_size)"
    assert said in capsys.readouterr().out.splitlines()


def test_the_picture_has_a_row_for_each_resolution(tmp_path):
    model = progan()
    callback = GrowthGrid(every=0, folder=str(tmp_path), columns=3)
    trainer = SimpleNamespace(is_global_zero=True, loggers=[])
    for _ in range(9):
        run(model, 1)
        callback.on_train_batch_end(trainer, model, None, None, 0)
    callback.on_train_end(trainer, model)
    folder = tmp_path / "samples" / "growth"
    rows = [folder / f"{side:04d}.png" for side in (4, 8, 16)]
    pictures = [Image.open(row).convert("RGB") for row in rows]
    whole = Image.open(folder / "all.png")
    assert whole.size == (pictures[0].width, sum(picture.height for picture in pictures))
    top = 0
    for picture in pictures:
        assert list(whole.crop((0, top, whole.width, top + picture.height)).getdata()) == list(picture.getdata())
        top += picture.height
    # a row of 4x4 pixels is made of squares of 4 by 4 equal pixels, one of 8x8 has detail in them
    square = [picture.crop((2, 2, 18, 18)) for picture in pictures]
    squares = [
        torch.tensor(list(s.convert("L").getdata())).view(16, 16).unfold(0, 4, 4).unfold(1, 4, 4) for s in square
    ]
    spread = [(s.amax((2, 3)) - s.amin((2, 3))).max().item() for s in squares]
    assert spread[0] == 0 and spread[1] > 0


def test_no_picture_of_a_model_that_does_not_grow(tmp_path):
    model = run(progan(growing=False), 1)
    callback = GrowthGrid(every=1, folder=str(tmp_path))
    callback.on_train_batch_end(SimpleNamespace(is_global_zero=True, loggers=[]), model, None, None, 0)
    assert not (tmp_path / "samples").exists()
