"""Random numbers depend on seed, key and position, not on who asks in which pieces."""

import itertools

import pytest
import torch

from saddle.randomness import (
    Concatenated,
    Draws,
    Rows,
    SampleDraws,
    generator,
    layer_noise,
    layer_noise_from,
    layer_uniform,
    rows_integers,
    rows_normal,
    rows_uniform,
)


def test_generator_is_a_function_of_seed_and_key():
    def first(*key):
        return torch.rand((), generator=generator(*key)).item()

    assert first(1, "a", 2) == first(1, "a", 2)
    keys = [(1, "a", 2), (2, "a", 2), (1, "b", 2), (1, "a", 3), (1, "a"), (1, "a2"), (12, "a")]
    assert len({first(*key) for key in keys}) == len(keys)


def test_generator_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(0, "x"))
    Draws(0, 0, "s", Rows(0, 2, 2)).normal(3)
    rows_normal(0, "s", 0, 2, 3)
    assert torch.equal(before, torch.get_rng_state())


def sequence(rows, **options):
    draws = Draws(3, 7, "discriminator/0", rows, **options)
    return [draws.normal(2, 3), draws.uniform(), draws.integers(10), draws.integers(5, 2), draws.normal(2, 3)]


def test_parts_are_cut_from_the_whole_batch():
    whole = sequence(Rows(0, 12, 12))
    for start, stop in ((0, 4), (4, 6), (6, 12)):
        for part, all_rows in zip(sequence(Rows(start, stop, 12)), whole, strict=True):
            assert torch.equal(part, all_rows[start:stop])


def test_draws_repeat_and_their_calls_and_streams_differ():
    first, again = sequence(Rows(0, 12, 12)), sequence(Rows(0, 12, 12))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[4])
    streams = {Draws(seed, i, s, Rows(0, 1, 1)).normal().item() for seed in (0, 1) for i in (0, 1) for s in ("a", "b")}
    assert len(streams) == 8


def test_shapes_types_and_ranges():
    normal, uniform, integers, grid, _ = sequence(Rows(2, 5, 12))
    assert normal.shape == (3, 2, 3) and normal.dtype == torch.float32
    assert uniform.shape == (3,) and uniform.min() >= 0 and uniform.max() < 1
    assert integers.shape == (3,) and integers.dtype == torch.int64 and integers.min() >= 0 and integers.max() < 10
    assert grid.shape == (3, 2)


def test_float64_sees_the_numbers_of_float32():
    narrow, wide = sequence(Rows(0, 4, 4)), sequence(Rows(0, 4, 4), dtype=torch.float64)
    assert wide[0].dtype == torch.float64 and wide[2].dtype == torch.int64
    assert all(torch.equal(a.double(), b.double()) for a, b in zip(narrow, wide, strict=True))


def test_draws_follow_their_laws():
    draws = Draws(0, 0, "law", Rows(0, 20000, 20000))
    z, u, k = draws.normal(), draws.uniform(), draws.integers(4)
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03
    assert abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.003
    assert (torch.bincount(k, minlength=4) / 20000 - 0.25).abs().max() < 0.015


@pytest.mark.parametrize(
    "draw",
    [
        lambda a, b: rows_normal(5, "latents", a, b, 3),
        lambda a, b: rows_uniform(5, "latents", a, b, 3),
        lambda a, b: rows_integers(5, "labels", a, b, 10),
    ],
)
def test_rows_do_not_depend_on_the_pieces(draw):
    whole = draw(0, 800)
    cuts = [0, 1, 255, 256, 257, 511, 600, 800]
    pieces = [draw(a, b) for a, b in itertools.pairwise(cuts)]
    assert torch.equal(whole, torch.cat(pieces))
    assert torch.equal(draw(300, 301)[0], whole[300])
    assert draw(7, 7).shape == (0, *whole.shape[1:])


def test_rows_differ_between_samples_seeds_and_streams():
    assert len(rows_normal(0, "a", 0, 600).unique()) == 600
    assert not torch.equal(rows_normal(0, "a", 0, 5), rows_normal(1, "a", 0, 5))
    assert not torch.equal(rows_normal(0, "a", 0, 5), rows_normal(0, "b", 0, 5))


def test_rows_count():
    assert len(Rows(2, 5, 12)) == 3


def test_layers_draw_from_the_stream_around_them():
    x = torch.zeros(4, 2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="layer_noise_from"):
        layer_noise(x, 3)
    draws = [Draws(0, 0, name, Rows(0, 2, 2)) for name in ("real", "fake")]
    with layer_noise_from(Concatenated(*draws)):
        normal, uniform = layer_noise(x, 3), layer_uniform(x, 5)
    again = [Draws(0, 0, name, Rows(0, 2, 2)) for name in ("real", "fake")]
    assert torch.equal(normal, torch.cat([d.normal(3) for d in again]).double())
    assert torch.equal(uniform, torch.cat([d.uniform(5) for d in again]).double())
    with pytest.raises(RuntimeError):
        layer_noise(x, 3)


def test_sample_draws_do_not_depend_on_the_chunks():
    def numbers(start, stop):
        draws = SampleDraws(5, "noise", start, stop)
        return draws.normal(2), draws.uniform(3), draws.normal(2)

    whole = numbers(0, 600)
    for part in zip(*(numbers(a, b) for a, b in ((0, 1), (1, 257), (257, 600))), strict=True):
        assert torch.equal(torch.cat(part), whole[0]) or any(torch.equal(torch.cat(part), w) for w in whole)
    assert not torch.equal(whole[0], whole[2])


def test_a_run_in_float64_sees_the_numbers_of_one_in_float32():
    def drawn():
        draws, samples = Draws(0, 0, "a", Rows(0, 4, 4), dtype=torch.float64), SampleDraws(0, "a", 0, 4)
        return [draws.normal(3), draws.uniform(2), samples.normal(3).double(), samples.uniform(2).double()]

    before = drawn()
    torch.set_default_dtype(torch.float64)  # as Lightning does inside a training step in this precision
    try:
        after = drawn()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
