"""ADA: every transformation against a slow reference, how often each acts, the controller."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from scipy.spatial.transform import Rotation

from saddle.augment.ada import ADA, SYM2, filter_bank
from saddle.augment.geometry import SYM6, warp
from saddle.errors import InputError
from saddle.networks.resample import taps
from saddle.randomness import Draws, Rows

ALL = ["xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac"]
ALL += ["brightness", "contrast", "lumaflip", "hue", "saturation", "imgfilter", "noise", "cutout"]


def stream(rows=6, start=0, total=None, iteration=0):
    return Draws(0, iteration, "augment", Rows(start, start + rows, total or rows), dtype=torch.float64)


def images(rows=6, channels=3, height=8, width=8, seed=0):
    return torch.randn(rows, channels, height, width, generator=torch.Generator().manual_seed(seed)).double()


def only(*names, p=1.0, **options):
    """The pipeline with these transformations alone."""
    return ADA(**{name: float(name in names) for name in ALL}, p=p, **options).double()


def near(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, torch.as_tensor(b), rtol=tolerance, atol=tolerance)


# ---- geometry: the numbers of the stream, turned into a map of places by hand


def test_flip():
    flips = stream().integers(2)
    assert 0 < flips.sum() < 6
    mirrored = [x.flip(2) if flip else x for x, flip in zip(images(), flips, strict=True)]
    assert torch.equal(only("xflip")(images(), stream()), torch.stack(mirrored))


def test_quarter_turns():
    quarters = stream().integers(4)
    assert len(set(quarters.tolist())) > 2
    turned = [x.rot90(int(q), (1, 2)) for x, q in zip(images(), quarters, strict=True)]
    assert torch.equal(only("rotate90")(images(), stream()), torch.stack(turned))


def test_shift_by_whole_pixels():
    x = images(height=16, width=24)
    shift = ((2 * stream().uniform(2) - 1) / 8 * torch.tensor([24, 16])).round().int()
    y = only("xint")(x, stream())
    assert shift[:, 0].abs().max() in (2, 3) and shift[:, 1].abs().max() in (1, 2)
    for b, (right, down) in enumerate(shift.tolist()):
        large = np.pad(x[b].numpy(), ((0, 0), (4, 4), (4, 4)), mode="reflect")
        near(y[b], large[:, 4 - down : 20 - down, 4 - right : 28 - right])


def by_map(x, maps):
    """Images whose content is moved by forward maps of places: the result at q shows the image at M^-1 q."""
    inverse = torch.stack([torch.as_tensor(np.linalg.inv(m)) for m in maps])
    return warp(x, inverse, taps(SYM6).double())


def test_scaling_and_fractional_shift():
    x, factors = images(), torch.exp2(0.2 * stream().normal())
    near(only("scale")(x, stream()), by_map(x, [np.diag([f, f, 1]) for f in factors]))
    shift = stream().normal(2)
    maps = [np.array([[1, 0, a], [0, 1, b], [0, 0, 1]]) for a, b in shift.tolist()]
    near(only("xfrac")(x, stream()), by_map(x, maps))  # an eighth of 8 pixels is 1


def turn(angle):
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


def test_turns_before_and_after_stretching():
    x, draws = images(), stream()
    first, _ = draws.uniform(), draws.uniform()
    stretch, _ = torch.exp2(0.2 * draws.normal()), draws.uniform()
    second = draws.uniform()
    maps = []
    for a, s, b in zip(first.tolist(), stretch.tolist(), second.tolist(), strict=True):
        # the inverse of the result is turned by (2 u - 1) pi, so the content is turned back
        maps.append(turn(-(2 * b - 1) * math.pi) @ np.diag([s, 1 / s, 1]) @ turn(-(2 * a - 1) * math.pi))
    near(only("rotate", "aniso")(x, stream()), by_map(x, maps))


# ---- colour


def pixels(x, act):
    """`act(row, colour)` on every pixel."""
    y = torch.empty_like(x)
    for b in range(x.shape[0]):
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                y[b, :, i, j] = torch.as_tensor(act(b, x[b, :, i, j].numpy()))
    return y


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_contrast_and_luma_flip(channels):
    x, numbers, flips = images(channels=channels), stream().normal(), stream().integers(2, 1, 1).flatten()
    near(only("brightness")(x, stream()), pixels(x, lambda b, c: c + 0.2 * numbers[b].item()))
    near(only("contrast")(x, stream()), pixels(x, lambda b, c: c * 2 ** (0.5 * numbers[b].item())))
    near(only("lumaflip")(x, stream()), pixels(x, lambda b, c: c - 2 * flips[b].item() * c.mean()))


def test_hue_turns_about_the_grey_axis():
    x, angles = images(), (2 * stream().uniform() - 1) * math.pi
    axis = np.ones(3) / math.sqrt(3)
    near(only("hue")(x, stream()), pixels(x, lambda b, c: Rotation.from_rotvec(angles[b].item() * axis).apply(c)))


def test_saturation_scales_the_distance_from_grey():
    x, factors = images(), torch.exp2(stream().normal(1, 1)).flatten()
    near(only("saturation")(x, stream()), pixels(x, lambda b, c: c.mean() + factors[b].item() * (c - c.mean())))


def test_grey_images_have_no_hue_and_no_saturation():
    x = images(channels=1)
    assert torch.equal(only("hue", "saturation")(x, stream()), x)


def test_colours_act_in_the_published_order():
    x, draws = images(), stream()
    colours = ["brightness", "contrast", "lumaflip", "hue", "saturation"]
    y = only(*colours)(x, draws)
    z, draws = x, stream()
    draws_of = {name: draws for name in colours}
    for name in colours:  # one at a time, from the same stream
        z = only(name)(z, draws_of[name])
    near(y, z)


def test_other_channels_are_refused_only_where_colours_matter():
    with pytest.raises(InputError, match="augment.brightness.*0"):
        only("brightness")(images(channels=2), stream())
    assert only("xflip", "cutout", "noise", "imgfilter")(images(channels=2), stream()).shape == (6, 2, 8, 8)


# ---- filter, noise, cutout


def test_filter_bank_by_frequency():
    """The low band is L(w) L(2w) L(4w) with L = |H|^2 / 2; each other band takes what the one below left."""
    bank, w = filter_bank(), np.linspace(0, math.pi, 50)

    def low(w):
        return abs(sum(h * np.exp(-1j * k * w) for k, h in enumerate(SYM2))) ** 2 / 2

    expected = [
        low(w) * low(2 * w) * low(4 * w),
        low(w) * low(2 * w) * (1 - low(4 * w)),
        low(w) * (1 - low(2 * w)),
        1 - low(w),
    ]
    middle = bank.shape[1] // 2
    for band, response in zip(bank.numpy(), expected, strict=True):
        near(torch.as_tensor(sum(h * np.cos((k - middle) * w) for k, h in enumerate(band))), response, 1e-9)
    delta = torch.zeros(bank.shape[1]).double()
    delta[middle] = 1
    near(bank.sum(0), delta, 1e-9)


@pytest.mark.parametrize("height", [8, 32])
def test_image_filter(height):
    x, draws = images(3, 2, height, 8), stream(3)
    y = only("imgfilter")(x, stream(3))
    power, gains = np.array([10, 1, 1, 1]) / 13, np.ones((3, 4))
    for band in range(4):
        t = np.ones((3, 4))
        t[:, band] = np.exp2(draws.normal().numpy())
        draws.uniform()
        gains *= t / np.sqrt((power * t**2).sum(1, keepdims=True))
    responses = gains @ filter_bank().float().double().numpy()
    for b in range(3):
        for c in range(2):
            pad = responses.shape[1] // 2
            large = np.pad(x[b, c].numpy(), pad, mode="reflect")
            near(y[b, c], convolve2d(large, np.outer(*2 * [responses[b]]), "valid"), 1e-9)


def test_noise():
    x, draws = images(), stream()
    deviation, _ = 0.1 * draws.normal(1, 1, 1).abs(), draws.uniform(1, 1, 1)
    near(only("noise")(x, stream()), x + deviation * draws.normal(3, 8, 8))


def test_cutout():
    x, draws = images(), stream()
    y, _ = only("cutout")(x, stream()), draws.uniform(1, 1, 1)
    centres = draws.uniform(2, 1, 1, 1).flatten(1)
    for b, (u, v) in enumerate(centres.tolist()):
        for i in range(8):
            for j in range(8):
                hole = abs((j + 0.5) / 8 - u) < 0.25 and abs((i + 0.5) / 8 - v) < 0.25
                assert torch.equal(y[b, :, i, j], 0 * x[b, :, i, j] if hole else x[b, :, i, j])


# ---- the pipeline


def test_nothing_happens_at_p_zero():
    x = images()
    assert torch.equal(only(*ALL, p=0.0)(x, stream()), x)
    assert torch.equal(ADA()(x.float(), Draws(0, 0, "x", Rows(0, 6, 6))), x.float())


CHANCES = {"xflip": 0.5, "lumaflip": 0.5, "rotate90": 0.75}


@pytest.mark.parametrize(("name", "chance"), [(name, CHANCES.get(name, 1)) for name in ALL])
def test_each_acts_with_probability_p(name, chance):
    rows, p = 600, 0.4
    x = images(rows, height=4, width=4) + 2
    changed = (only(name, p=p)(x, stream(rows)) != x).flatten(1).any(1).double().mean().item()
    if name == "xint":  # at 4 pixels an eighth is less than one: too small a shift to see
        assert changed == 0
        return
    expected = p * chance if name != "imgfilter" else 1 - (1 - p) ** 4
    assert changed == pytest.approx(expected, abs=4 * math.sqrt(expected / rows))


def test_multipliers_weigh_the_probability():
    x = images(600, height=4, width=4)
    augment = ADA(**{name: 0.0 for name in ALL} | {"brightness": 0.5}, p=0.4).double()
    changed = (augment(x, stream(600)) != x).flatten(1).any(1).double().mean().item()
    assert changed == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("p", [0.3, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_rows_do_not_depend_on_each_other_or_on_the_process(p, channels):
    augment, x = only(*ALL, p=p), images(channels=channels)
    for iteration in range(3):
        whole = augment(x, stream(6, iteration=iteration))
        halves = [augment(x[i : i + 3], stream(3, i, 6, iteration)) for i in (0, 3)]
        near(torch.cat(halves), whole)


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_twice_differentiable(p):
    augment, x = only(*ALL, p=p), images(2, 3, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: augment(v, stream(2)), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda v: augment(v, stream(2)).pow(2).sum(), x, fast_mode=True)


def test_mixed_precision_does_not_blur_the_maps():
    x, augment = images().float(), ADA(p=1.0)

    def run():
        return augment(x, Draws(0, 0, "x", Rows(0, 6, 6)))

    exact = run()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run(), exact)


def test_another_multiplier_is_refused():
    with pytest.raises(TypeError, match="no transformation blur"):
        ADA(blur=1.0)


# ---- the controller


def test_p_follows_the_sign_of_the_real_logits():
    augment = ADA(target=0.6, kimg=1.0, every=4)
    confident, even = torch.tensor([3.0, 1.0, 2.0, 0.5]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    for step in range(8):
        augment.observe(confident)
        augment.after_step(16)
        assert augment.p.item() == pytest.approx((step + 1) // 4 * 4 * 16 / 1000)
    for _ in range(4):
        augment.observe(even)
        augment.after_step(16)
    assert augment.p.item() == pytest.approx(64 / 1000)
    for _ in range(12):
        augment.observe(even)
        augment.after_step(16)
    assert augment.p.item() == 0  # never below


def test_the_mean_is_over_all_logits_since_the_last_change():
    """Two micro-batches a step; signs of 0.5 and 1 in turn have a mean of 0.75, above 0.7 and below 0.8."""
    for target, up in ((0.7, True), (0.8, False)):
        augment = ADA(p=0.5, target=target, kimg=1.0, every=2)
        for _ in range(2):
            augment.observe(torch.tensor([1.0, 1.0, 1.0, -1.0]))
            augment.observe(torch.tensor([2.0] * 4))
            augment.after_step(8)
        assert augment.p.item() == pytest.approx(0.5 + (1 if up else -1) * 16 / 1000)
        assert not any((augment.signs, augment.logits, augment.images, augment.steps))


def test_full_strength_takes_the_stated_number_of_images():
    augment, steps = ADA(kimg=0.5, every=4), 0
    while augment.p < 1 - 1e-6:
        augment.observe(torch.ones(8))
        augment.after_step(10)
        steps += 1
    assert steps * 10 == pytest.approx(500, abs=40)


def test_bad_logits_and_a_fixed_p():
    augment = ADA(every=1, p=0.2)
    augment.observe(torch.tensor([math.nan, math.inf]))
    augment.after_step(2)
    assert augment.p.isfinite()
    fixed = ADA(every=1, p=0.3, adaptive=False)
    fixed.observe(torch.ones(4))
    fixed.after_step(1000)
    assert fixed.p.item() == pytest.approx(0.3)


def test_the_controller_continues_from_a_checkpoint():
    one, two = ADA(kimg=1.0), ADA(kimg=1.0)
    for step in range(6):
        one.observe(torch.ones(4))
        one.after_step(8)
        if step == 2:
            two.load_state_dict(one.state_dict())
        elif step > 2:
            two.observe(torch.ones(4))
            two.after_step(8)
    assert one.p == two.p > 0 and torch.equal(one.images, two.images)
    assert set(one.state_dict()) == {"p", "signs", "logits", "images", "steps"}


def test_its_probability_is_logged():
    augment = ADA()
    augment.p.fill_(0.25)
    assert {name: value.item() for name, value in augment.observe(torch.zeros(4)).items()} == {"p": 0.25}
