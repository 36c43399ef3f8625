"""Style-based models: which styles are mixed, what truncation means, the path length in W, and the grids."""

from types import SimpleNamespace

import pytest
import torch
from tiny import attach, dense_gan, gan_of

from saddle.augment import NoAugment
from saddle.callbacks.styles import StyleMixing, Truncation
from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads.equalised import EqualisedHead
from saddle.losses import NonSaturating
from saddle.models.stylegan import StyleBased, StyleGAN
from saddle.networks import stylegan, stylegan2
from saddle.penalties import R1, PathLength
from saddle.randomness import Draws, Rows, SampleDraws, layer_noise_from
from saddle.turn import MicroBatch

SIDE, LATENT = 8, 3


def style_gan(cls=StyleBased, networks=stylegan2, penalties=None, **options):
    """A tiny model in float64 with optimisers; 8x8 pixels, 4 layers."""
    torch.manual_seed(0)
    trunk = networks.Trunk(2, SIDE, 1, max_width=4)
    discriminator = Discriminator(trunk, EqualisedHead(trunk.features, 0))
    generator = networks.Generator(LATENT, 2, SIDE, 1, max_width=4, w_dim=5, mapping_layers=2)
    options = {"classes": 0, "batch_size": 4, "latent_dim": LATENT, "beta1": 0.0, **options}
    model = gan_of(cls, generator, discriminator, penalties=penalties or {"r1": R1(0.1)}, **options)
    return attach(model.double())


def turn_of(model, player="discriminator", rows=None):
    """A turn without real images."""
    n = model.share.batch_size
    reals = MicroBatch(torch.zeros(n, 1, SIDE, SIDE).double(), torch.zeros(n).long())
    turn = model.turn_type(model, player, 0, 0, reals, frozenset())
    if rows is not None:
        turn.draws = lambda purpose: Draws(model.seed, 0, f"{player}/0/{purpose}", rows, dtype=torch.float64)
    return turn


def step(model):
    n = model.growth.batch_size_at(model.iteration) if isinstance(model, StyleGAN) else model.share.batch_size
    stream = torch.Generator().manual_seed(model.iteration)
    images = torch.randint(256, (n, 1, SIDE, SIDE), dtype=torch.uint8, generator=stream)
    model.training_step((images, torch.zeros(n, dtype=torch.int64)), 0)


# ---- mixing --------------------------------------------------------------------------------------------------------


def test_the_share_of_mixed_images_and_their_crossovers():
    model = style_gan(batch_size=4000, style_mixing=0.6)
    options = turn_of(model).options("fake")
    crossover = options["crossover"]
    counts = [(crossover == layer).double().mean().item() for layer in range(5)]
    # 1, 2, 3: the first layer of the second style, each a third of the mixed ones; 4: none
    assert counts == pytest.approx([0, 0.2, 0.2, 0.2, 0.4], abs=0.03)
    assert options["mixing"].shape == (4000, LATENT) and options["mixing"].std().item() == pytest.approx(1, abs=0.03)


def test_mixing_is_a_function_of_the_row_and_of_the_purpose():
    model = style_gan(batch_size=8)
    whole = turn_of(model).options("fake")
    part = turn_of(model, rows=Rows(4, 8, 8)).options("fake")
    assert all(torch.equal(part[key], whole[key][4:]) for key in whole)
    again, other = (turn_of(model).options(purpose) for purpose in ("fake", "consistency"))
    assert torch.equal(again["mixing"], whole["mixing"]) and not torch.equal(other["mixing"], whole["mixing"])
    assert turn_of(style_gan(style_mixing=0.0)).options("fake") == {}


def test_images_of_a_turn_have_the_first_style_before_the_crossover_and_the_second_from_it_on():
    model = style_gan(style_mixing=1.0)
    turn = turn_of(model, "generator")
    options = turn.options("fake")
    network = model.generator.eval()  # so that w_avg stays
    labels = turn.fake_labels
    first, second = (network.styles(z, labels)[:, 0] for z in (turn.latents, options["mixing"]))
    rows = [
        torch.stack([(second if layer >= cross else first)[i] for layer in range(4)])
        for i, cross in enumerate(options["crossover"].tolist())
    ]
    with layer_noise_from(turn.draws("generator/fake")):
        expected = network.synthesis(torch.stack(rows))
    with layer_noise_from(turn.draws("generator/fake")):
        unmixed = network(turn.latents, labels)
    assert torch.allclose(turn.fake, expected, rtol=0, atol=1e-14)
    assert (turn.fake - unmixed).abs().amax((1, 2, 3)).min() > 1e-3


def test_a_growing_stylegan_mixes_the_layers_of_its_stage():
    model = style_gan(
        StyleGAN, stylegan, start_resolution=4, fade_kimg=0.008, stable_kimg=0.004, batch_sizes=[4], style_mixing=1.0
    )
    assert (model.layers, turn_of(model).options("fake")["crossover"].unique().tolist()) == (2, [1])
    layers = []

    def watched(network, inputs, images):
        layers.append(model.layers)
        assert images.shape[-1] == 8  # whatever the stage

    model.generator.register_forward_hook(watched)
    for _ in range(4):
        step(model)
    assert layers == [2, 2, 4, 4, 4, 4, 4, 4]
    assert all(torch.tensor(value).isfinite() for value in model.tracked().values())


# ---- truncation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("networks", [stylegan, stylegan2])
def test_truncation_of_samples_is_psi_in_w(networks):
    model = style_gan(networks=networks)
    step(model)
    z, labels = model.sample_latents(0, 0, 5, 0.5).double(), torch.zeros(5, dtype=torch.int64)
    assert torch.equal(z, model.sample_latents(0, 0, 5).double())  # the latents themselves are left
    network = model.ema.module
    average = network.w_avg
    assert average.abs().max() > 0
    w = network.mapping(z, labels)
    for psi, wanted in ((None, w), (1.0, w), (0.5, average + 0.5 * (w - average)), (1e-12, average.expand_as(w))):
        with layer_noise_from(SampleDraws(0, "noise", 0, 5)):
            expected = network.synthesis(wanted[:, None].expand(-1, 4, -1))
        images, _ = model.sample(0, 5, truncation=psi)
        assert torch.allclose(images, expected, rtol=0, atol=1e-9), psi


def test_the_cutoff_keeps_later_layers():
    model = style_gan(truncation_cutoff=2)
    step(model)
    network = model.ema.module
    z, labels = model.sample_latents(0, 0, 3).double(), torch.zeros(3, dtype=torch.int64)
    seen = []
    handle = network.synthesis.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.sample(0, 3, truncation=0.25)
    handle.remove()
    w, average = network.mapping(z, labels), network.w_avg
    for layer in range(4):
        wanted = average + 0.25 * (w - average) if layer < 2 else w
        assert torch.allclose(seen[0][:, layer], wanted, rtol=0, atol=1e-12)


def test_sampling_leaves_the_average_style_and_the_mode_as_they_are():
    model = style_gan()
    step(model)
    before = model.generator.w_avg.clone()
    model.sample(0, 4, ema=False, truncation=0.5)
    assert torch.equal(model.generator.w_avg, before) and model.generator.training


# ---- path length ---------------------------------------------------------------------------------------------------


def test_path_length_is_that_of_the_styles():
    model = style_gan(style_mixing=0.7, batch_size=4)
    penalty = PathLength(weight=2.0, decay=0.25).double()
    penalty.average.fill_(0.3)
    turn = turn_of(model, "generator")
    model.generator.decay = 1.0  # w_avg stays
    term = penalty(turn)
    latents = turn.draws("path_length/latents").normal(LATENT)
    options = turn.options("path_length")
    ws = model.generator.styles(latents, turn.fake_labels, **options).detach()
    y = turn.draws("path_length/noise").normal(1, SIDE, SIDE) / SIDE

    def images(ws):
        with layer_noise_from(turn.draws("generator/path_length")):
            return model.generator.synthesis(ws)

    jacobian = torch.autograd.functional.jacobian(images, ws)  # [b, 1, H, W, b, layers, w_dim]
    squares = torch.stack(
        [
            torch.stack(
                [(jacobian[i, ..., i, layer, :] * y[i][..., None]).sum((0, 1, 2)).square().sum() for layer in range(4)]
            )
            for i in range(4)
        ]
    )
    lengths = squares.mean(1).sqrt()
    average = 0.3 + 0.25 * (lengths.mean() - 0.3)
    assert penalty.average.item() == pytest.approx(average.item(), rel=1e-9)
    assert term.item() == pytest.approx(2 * (lengths - average).square().mean().item(), rel=1e-9)
    term.backward()
    for part in (model.generator.mapping, model.generator.synthesis):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())


def test_path_length_and_lazy_r1_are_due_on_their_own_steps():
    model = style_gan(penalties={"r1": R1(0.1, every=3), "path_length": PathLength(every=2)})
    due = []
    for _ in range(4):
        step(model)
        due.append({key.split("/")[-1] for key in model.tracked() if "penalty" in key})
    assert due == [{"r1", "path_length"}, set(), {"path_length"}, {"r1"}]


# ---- what is refused, and the grids --------------------------------------------------------------------------------


def test_generators_without_styles_and_senseless_shares_are_refused():
    with pytest.raises(InputError, match="choose stylegan or stylegan2"):
        plain = dense_gan()
        gan_of(
            StyleBased,
            plain.generator,
            plain.discriminator,
            NonSaturating(),
            {},
            NoAugment(),
            classes=0,
            batch_size=8,
            latent_dim=5,
        )
    with pytest.raises(InputError, match=r"model.style_mixing=1.5: must be in \[0, 1\]"):
        style_gan(style_mixing=1.5)


def test_the_grid_of_mixed_styles(tmp_path):
    model = style_gan()
    step(model)
    callback = StyleMixing(every=1, folder=str(tmp_path), columns=3, rows=2)
    grid = callback.grid(model)
    assert grid.shape == (3, 4, 1, SIDE, SIDE) and (grid[0, 0] == 1).all()
    sources = model.sample_latents(model.seed, 0, 5).double()
    labels = torch.zeros(2, dtype=torch.int64)
    mixed = callback.column(model, sources[:2], mixing=sources[3].expand(2, -1), crossover=2)
    assert torch.equal(grid[1:, 2], mixed)
    network = model.ema.module
    ws = network.styles(sources[:2], labels, sources[3].expand(2, -1), 2)
    w = network.mapping(sources, torch.zeros(5, dtype=torch.int64))
    assert torch.allclose(ws, torch.stack([w[:2], w[:2], w[3].expand(2, -1), w[3].expand(2, -1)], 1))
    # all of the second style is the source of the column, none of it that of the row
    assert torch.allclose(
        callback.column(model, sources[:2], mixing=sources[2:4], crossover=4), grid[1:, 0], atol=1e-12
    )
    callback.on_train_batch_end(SimpleNamespace(is_global_zero=True, loggers=[]), model, None, None, 0)
    assert (tmp_path / "samples" / "style_mixing" / "00000001.png").is_file()


def test_the_grid_of_truncated_styles(tmp_path):
    model = style_gan()
    for _ in range(2):
        step(model)
    for network in (model.generator, model.ema.module):
        for layer in network.synthesis.convolutions:
            layer.noise.data.zero_()  # so that all that differs is the style
    callback = Truncation(every=0, folder=str(tmp_path), psi=[1.0, 0.5, 0.0], rows=4)
    grid = callback.grid(model)
    assert grid.shape == (4, 3, 1, SIDE, SIDE)
    z = model.sample_latents(model.seed, 0, 4).double()
    assert torch.equal(grid[:, 0], callback.column(model, z))
    spreads = [grid[:, i].std(0).mean().item() for i in range(3)]
    assert spreads[0] > spreads[1] > spreads[2] and spreads[2] < 1e-12
    callback.on_train_end(SimpleNamespace(is_global_zero=True, loggers=[]), model)
    assert (tmp_path / "samples" / "truncation" / "00000002.png").is_file()


def test_no_grid_of_a_generator_without_styles(tmp_path):
    model = attach(dense_gan())
    model.iteration = 1
    Truncation(every=1, folder=str(tmp_path)).on_train_end(SimpleNamespace(is_global_zero=True, loggers=[]), model)
    assert not (tmp_path / "samples").exists()
