"""CycleGAN's losses against slow references, its history of images, and exact resumption."""

import copy

import pytest
import torch
from tiny import attach, gan_of, train

from saddle.augment import NoAugment
from saddle.data.unpaired import UnpairedNoise
from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads.cyclegan import Patches
from saddle.losses import Hinge, LeastSquares, RelativisticAverage
from saddle.models.base import GAN
from saddle.models.cyclegan import CycleGAN, Pool
from saddle.networks.cyclegan import Generator, Trunk, stack, unstack
from saddle.penalties import Drift
from saddle.randomness import generator

SIZE = 8


def cyclegan(loss=None, penalties=None, **options) -> CycleGAN:
    """Narrow networks in float64 on grey images of 8x8 pixels."""
    torch.manual_seed(0)
    trunk = Trunk(1, 2, 1, SIZE)
    options = {"classes": 0, "batch_size": 4, "latent_dim": 1, "ema": 0.0, "g_lr": 1e-3, "d_lr": 1e-3} | options
    model = gan_of(
        CycleGAN,
        Generator(1, 2, 1, resolution=SIZE),
        Discriminator(trunk, Patches(trunk.features)),
        loss or LeastSquares(),
        penalties or {},
        NoAugment(),
        **{"channels": 1, "resolution": SIZE, "pool": 6} | options,
    )
    return attach(model.double())


def stacks(model: CycleGAN, seed=0, size=SIZE):
    shape = (model.share.batch_size, 1, 2 * size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed, "stacks"))
    return images, torch.zeros(len(images), dtype=torch.int64)


def run(model: CycleGAN, first: int, last: int) -> CycleGAN:
    for i in range(first, last):
        model.training_step(stacks(model, i), i)
    return model


def listen(model: CycleGAN, player: str, reference) -> list:
    """Pairs (the objective, its reference) from now on; the reference is a function of x, y and what D was shown."""
    seen, objective = [], getattr(model, f"{player}_objective")

    def listening(turn):
        value = objective(turn)
        with torch.no_grad():
            seen.append((value.item(), reference(*unstack(turn.real), *unstack(turn.fake))))
        return value

    setattr(model, f"{player}_objective", listening)
    return seen


def absolute(a, b) -> float:
    return sum(abs(p - q) for p, q in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)) / a.numel()


def squared(logits, target) -> float:
    return sum((logit - target) ** 2 for logit in logits.flatten().tolist()) / logits.numel()


def test_the_generators_descend_the_papers_loss():
    model = cyclegan()

    def reference(x, y, *_):
        to_b, to_a, d = model.generator.a_to_b, model.generator.b_to_a, model.discriminator.trunk
        adversarial = squared(d.b(to_b(x)), 1) + squared(d.a(to_a(y)), 1)
        cycle = absolute(to_a(to_b(x)), x) + absolute(to_b(to_a(y)), y)
        identity = absolute(to_b(y), y) + absolute(to_a(x), x)
        return adversarial + 10 * cycle + 5 * identity

    seen = listen(model, "generator", reference)
    run(model, 0, 2)
    for value, expected in seen:
        assert value == pytest.approx(expected, rel=1e-10)
    assert len(seen) == 2


def test_the_discriminators_descend_half_of_the_squares():
    model = cyclegan(pool=0)

    def reference(x, y, made_a, made_b):
        d = model.discriminator.trunk
        pairs = ((d.a, x, made_a), (d.b, y, made_b))
        return sum((squared(each(real), 1) + squared(each(fake), 0)) / 2 for each, real, fake in pairs)

    seen = listen(model, "discriminator", reference)
    run(model, 0, 2)
    assert [value for value, _ in seen] == pytest.approx([expected for _, expected in seen], rel=1e-10)


def test_the_generators_step_first_and_the_discriminators_see_what_they_made_before():
    model, seen = cyclegan(pool=0), []
    objective = model.discriminator_objective
    model.discriminator_objective = lambda turn: seen.append(turn.fake) or objective(turn)
    before = copy.deepcopy(model.generator)
    images, labels = stacks(model)
    model.training_step((images, labels), 0)
    x, y = unstack(images.double() / 127.5 - 1)
    assert torch.allclose(seen[0], stack(before.b_to_a(y), before.a_to_b(x)), atol=1e-12)
    assert not torch.allclose(seen[0], model.generator(images.double() / 127.5 - 1), atol=1e-6)


def test_weights_of_the_terms():
    model = cyclegan(cycle=3.0, identity=0.0, adversarial=1.0)
    run(model, 0, 1)
    scalars = model.tracked()
    assert "train/identity" not in scalars
    assert scalars["train/g_loss"] == pytest.approx(scalars["train/adversarial"] + 3 * scalars["train/cycle"])


@pytest.mark.parametrize("loss", [Hinge(), RelativisticAverage()])
def test_each_domain_is_a_game_of_its_own_under_any_loss(loss):
    model = cyclegan(loss, pool=0)

    def reference(x, y, made_a, made_b):
        d = model.discriminator.trunk
        pairs = ((d.a, x, made_a), (d.b, y, made_b))
        return sum(loss.discriminator(each(real).flatten(), each(fake).flatten()).item() for each, real, fake in pairs)

    seen = listen(model, "discriminator", reference)
    run(model, 0, 1)
    assert seen[0][0] == pytest.approx(seen[0][1], rel=1e-10)


# ---- the history ----------------------------------------------------------------------------------------------------


def exchange(pool: Pool, values: list[int], first: int, seed: int) -> tuple[list[int], list[float], list[int]]:
    """What a pool of single pixels gives for new ones, and the decisions."""
    draws = torch.Generator().manual_seed(seed)
    chances = torch.rand(len(values), generator=draws)
    slots = torch.randint(max(pool.size, 1), (len(values),), generator=draws)
    images = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1)
    shown = pool.exchange(images, first, chances, slots)
    return shown.flatten().int().tolist(), chances.tolist(), slots.tolist()


@pytest.mark.parametrize("size", [0, 1, 5])
def test_the_history_does_what_the_authors_code_does(size):
    pool, kept, number = Pool(size, 0.5, (1, 1, 1)), [], 0
    for step in range(20):
        new = list(range(number, number + 3))
        shown, chances, slots = exchange(pool, new, number, step)
        for value, seen, chance, slot in zip(new, shown, chances, slots, strict=True):
            if size == 0:
                expected = value
            elif len(kept) < size:
                kept.append(value)
                expected = value
            elif chance < 0.5:
                expected, kept[slot] = kept[slot], value
            else:
                expected = value
            assert seen == expected
        number += 3
    assert pool.images.flatten().int().tolist() == kept


@pytest.mark.parametrize("replace", [0.0, 0.25, 1.0])
def test_as_many_images_are_old_as_the_probability_says(replace):
    pool, n = Pool(50, replace, (1, 1, 1)), 4000
    shown, *_ = exchange(pool, list(range(n)), 0, 0)
    old = sum(seen != value for value, seen in enumerate(shown))
    assert abs(old / (n - 50) - replace) < 0.03
    assert shown[:50] == list(range(50))
    times = [shown.count(value) for value in range(n)]
    held = [value for value in pool.images.flatten().int().tolist() if value >= 50]
    assert max(times[:50]) <= 2 and max(times[50:]) <= 1  # the first were shown when they came, and when they left
    assert all(times[value] == 0 for value in held)


def test_the_history_is_full_after_its_size_and_holds_the_images_of_g():
    model = run(cyclegan(pool=6), 0, 1)
    pools = [model.pools[name].images for name in "ab"]
    assert all(pool[:4].abs().sum((1, 2, 3)).min() > 0 and not pool[4:].any() for pool in pools)
    run(model, 1, 2)
    assert all(pool.abs().sum((1, 2, 3)).min() > 0 for pool in pools)
    assert not torch.equal(*pools)


def test_d_sees_old_images_about_half_the_time():
    model, old = cyclegan(pool=2, batch_size=8), []
    remember = model.remember

    def listening(fakes, micro):
        shown = remember(fakes, micro)
        for new, seen in zip(unstack(fakes), unstack(shown), strict=True):
            old.append((new != seen).flatten(1).any(1))
        return shown

    model.remember = listening
    run(model, 0, 8)
    share = torch.cat(old)[16:].double().mean()
    assert 0.3 < share < 0.7
    assert not torch.equal(old[-1], old[-2])  # the domains decide for themselves


def same(first: CycleGAN, second: CycleGAN) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_training_is_a_function_of_the_seed():
    assert same(run(cyclegan(seed=1), 0, 4), run(cyclegan(seed=1), 0, 4))
    first, other = run(cyclegan(seed=1), 0, 4), run(cyclegan(seed=2), 0, 4)
    assert not torch.equal(first.pools["a"].images, other.pools["a"].images)


def test_the_history_is_in_the_checkpoint_and_training_goes_on_from_it():
    straight = run(cyclegan(pool=3), 0, 2)
    state = {name: value.clone() for name, value in straight.state_dict().items()}
    optimizers = [copy.deepcopy(each.optimizer.state_dict()) for each in straight.optimizers()]
    assert {"pools.a.images", "pools.b.images"} <= set(state)
    resumed = cyclegan(pool=3)
    resumed.load_state_dict(state)
    for optimizer, values in zip(resumed.optimizers(), optimizers, strict=True):
        optimizer.optimizer.load_state_dict(values)
    resumed.iteration = 2
    run(straight, 2, 5)
    assert same(run(resumed, 2, 5), straight)
    assert not torch.equal(straight.pools["a"].images, state["pools.a.images"])


def test_micro_batches_give_the_same_history():
    whole, parts = run(cyclegan(), 0, 3), run(cyclegan(accumulate=2), 0, 3)
    for name in "ab":
        assert torch.allclose(whole.pools[name].images, parts.pools[name].images, atol=1e-9)


# ---- images in and out ----------------------------------------------------------------------------------------------


def test_crops_are_squares_of_each_domain_at_places_of_their_own():
    model = cyclegan(batch_size=16)
    side = SIZE + 3
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    codes = (rows * side + columns).double()
    images = stack(codes, codes + 1000).expand(16, 1, -1, -1)
    cut = model.crop(images, 0)
    assert cut.shape == (16, 1, 2 * SIZE, SIZE)
    corners = []
    for image in cut[:, 0]:
        for part, offset in zip(image.chunk(2), (0, 1000), strict=True):
            corner = int(part[0, 0]) - offset
            y, x = divmod(corner, side)
            assert torch.equal(part, codes[y : y + SIZE, x : x + SIZE] + offset)
            corners.append((y, x))
    assert {y for y, _ in corners} == {x for _, x in corners} == {0, 1, 2, 3}
    assert corners[::2] != corners[1::2]
    assert torch.equal(model.crop(images, 0), cut)
    model.iteration = 1
    assert not torch.equal(model.crop(images, 0), cut)


def test_training_on_larger_images_crops_them():
    model = cyclegan()
    model.training_step(stacks(model, size=SIZE + 2), 0)
    assert model.iteration == 1


NOISE = dict(resolution=SIZE, channels=1, classes=0, batch_size=4, flip=False, size=5, seed=0)


def test_samples_are_translations_of_the_data_in_order():
    model = cyclegan(inputs={"_target_": "saddle.data.unpaired.UnpairedNoise", **NOISE})
    data = UnpairedNoise(**NOISE)
    data.setup()
    x = data.to_translate[0].__getitems__([3, 4, 0])[0].double() / 127.5 - 1
    images, labels = model.sample(3, 6)
    assert torch.allclose(images, model.generator.a_to_b(x)) and labels.tolist() == [0, 0, 0]
    y = data.to_translate[1].__getitems__([1])[0].double() / 127.5 - 1
    assert torch.allclose(model.sample(1, 2, direction="b_to_a")[0], model.generator.b_to_a(y))
    assert model.training and model.generator.training


def test_the_moving_average_translates_unless_told_otherwise():
    model = run(cyclegan(ema=0.9), 0, 2)
    x = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.float64)
    now, average = model.translate(x, "a_to_b", ema=False), model.translate(x, "a_to_b")
    assert torch.equal(average, model.ema.module.a_to_b(x)) and not torch.equal(now, average)


def test_what_makes_no_sense_is_refused():
    model = cyclegan(inputs={"_target_": "saddle.data.unpaired.UnpairedNoise", **NOISE})
    with pytest.raises(InputError, match="truncation"):
        model.sample(0, 1, truncation=0.5)
    with pytest.raises(InputError, match="class"):
        model.sample(0, 1, labels=0)
    with pytest.raises(InputError, match="data=unpaired_digits"):
        cyclegan().sample(0, 1)
    with pytest.raises(InputError, match="penalty=none"):
        cyclegan(penalties={"drift": Drift(weight=1.0)})
    with pytest.raises(InputError, match="model.d_steps"):
        cyclegan(d_steps=2)
    with pytest.raises(InputError, match="networks of its own"):
        gan_of(
            CycleGAN,
            torch.nn.Identity(),
            cyclegan().discriminator,
            LeastSquares(),
            {},
            NoAugment(),
            channels=1,
            resolution=8,
            classes=0,
            batch_size=4,
            latent_dim=1,
        )


def test_data_of_one_domain_are_refused_before_training():
    with pytest.raises(InputError, match="two domains"):
        train(1, "model=cyclegan", "data.resolution=16", "data.batch_size=2", "model.width=2", "model.blocks=1")


def test_the_shipped_model_trains_by_lightnings_trainer(monkeypatch):
    monkeypatch.setattr("tiny.TRAIN_OVERRIDES", ["logger=none", "trainer=cpu"])
    size = [
        "data=unpaired_noise",
        "data.size=6",
        "data.resolution=16",
        "data.load=18",
        "data.batch_size=2",
        "data.flip=true",
    ]
    model, scalars = train(3, "model=cyclegan", *size, "model.width=2", "model.blocks=1", "precision=32")
    assert isinstance(model, GAN) and model.iteration == 3
    assert {"train/g_loss", "train/d_loss", "train/cycle", "train/identity", "train/d_accuracy_fake"} <= set(scalars)
    assert model.sample(0, 7)[0].shape == (7, 3, 16, 16)
