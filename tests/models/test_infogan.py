"""InfoGAN: its latents, what both players minimise, its grids and what it reads of images."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import Dense, Flat, attach, batch, gan_of

from saddle.augment import NoAugment
from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads import LinearHead
from saddle.heads.information import Information
from saddle.losses import NonSaturating
from saddle.models.infogan import InfoGAN
from saddle.randomness import Draws, Rows

ROOT = Path(__file__).parent.parent.parent
NOISE, CATEGORICAL, CONTINUOUS = 4, (3, 2), 2
DIM = NOISE + sum(CATEGORICAL) + CONTINUOUS


def infogan(head=None, packing=1, **options):
    torch.manual_seed(0)
    trunk = Dense(features=6)
    head = head or Information(6, 0, CATEGORICAL, CONTINUOUS)
    options = {"classes": 0, "batch_size": 8, "latent_dim": DIM} | options
    generator = Flat(options["latent_dim"])
    discriminator = Discriminator(trunk, head, packing)
    model = gan_of(InfoGAN, generator, discriminator, NonSaturating(), {}, NoAugment(), **options)
    return model.double()


def check_latents(z, spread):
    noise, first, second, continuous = z.split([NOISE, 3, 2, CONTINUOUS], 1)
    for code in (first, second):
        assert torch.equal(code.sum(1), torch.ones(len(z)).to(z)) and set(code.unique().tolist()) == {0.0, 1.0}
        shares = code.mean(0)
        assert (shares - 1 / code.shape[1]).abs().max() < 0.05
    assert continuous.min() >= -1 and continuous.max() < 1
    assert continuous.var(0).tolist() == pytest.approx([1 / 3, 1 / 3], abs=0.03)
    assert noise.var(0).tolist() == pytest.approx([spread] * NOISE, abs=0.1)
    correlations = torch.corrcoef(torch.cat([noise, first[:, :2], second[:, :1], continuous], 1).T)
    # the values of one code exclude each other; all else is independent
    correlations[NOISE, NOISE + 1] = correlations[NOISE + 1, NOISE] = 0
    assert (correlations - torch.eye(len(correlations))).abs().max() < 0.07


@pytest.mark.parametrize(("latent", "spread"), [("normal", 1.0), ("uniform", 1 / 3)])
def test_latents_have_the_laws_of_their_parts(latent, spread):
    model = infogan(latent=latent)
    check_latents(model.prior.draw(Draws(0, 0, "latents", Rows(0, 3000, 3000))).float(), spread)
    check_latents(model.sample_latents(0, 0, 3000), spread)


def test_latents_are_functions_of_seed_and_position():
    model = infogan()
    whole = model.prior.draw(Draws(0, 5, "latents", Rows(0, 8, 8)))
    assert torch.equal(model.prior.draw(Draws(0, 5, "latents", Rows(2, 6, 8))), whole[2:6])
    samples = model.sample_latents(3, 0, 600)
    assert samples.dtype == torch.float32 and samples.shape == (600, DIM)
    assert torch.equal(model.sample_latents(3, 250, 270), samples[250:270])
    assert not torch.equal(model.sample_latents(4, 0, 600), samples)
    for code, start in ((0, NOISE), (1, NOISE + 3)):
        values = samples[:, start : start + CATEGORICAL[code]].argmax(1)
        assert torch.equal(model.prior.sample_categories(3, 250, 270, code), values[250:270])


def test_truncation_acts_on_the_noise_alone():
    model = infogan()
    near, plain = model.sample_latents(0, 0, 500, truncation=0.2), model.sample_latents(0, 0, 500)
    assert near[:, :NOISE].abs().max() <= 0.2 and torch.equal(near[:, NOISE:], plain[:, NOISE:])
    with pytest.raises(InputError, match="uniform"):
        infogan(latent="uniform").sample_latents(0, 0, 2, truncation=0.5)


def test_both_players_minimise_the_head_s_term():
    model = attach(infogan())
    before = [p.detach().clone() for p in model.discriminator.head.guesser.parameters()]
    (reals,) = model.reals(*batch(model))
    model.discriminator_step(0, reals)
    assert any(
        not torch.equal(a, b) for a, b in zip(before, model.discriminator.head.guesser.parameters(), strict=True)
    )
    # the generator's gradient is that of its loss plus the term, through a Q that gets none
    for p in model.discriminator.parameters():
        p.grad = None
    turns = []
    objective = model.generator_objective
    model.generator_objective = lambda turn: turns.append(turn) or objective(turn)
    expected = attach(infogan())
    expected.load_state_dict(model.state_dict())
    model.generator_step(0, reals)
    gradients = [p.grad.clone() for p in model.generator.parameters()]
    assert all(p.grad is None for p in model.discriminator.parameters())
    z = turns[0].latents
    verdict = expected.discriminator(expected.generator(z, None), torch.zeros(8, dtype=torch.int64))
    term = sum(expected.discriminator.head.surprises(expected.discriminator.head.guess(verdict.features), z))
    total = expected.loss.generator(verdict.logits) + term
    slow = torch.autograd.grad(total, list(expected.generator.parameters()))
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-14) for a, b in zip(gradients, slow, strict=True))
    assert {"train/mutual_information", "train/d_head", "train/g_head"} <= set(model.tracked())


def test_training_raises_the_bound():
    model = attach(infogan(d_lr=1e-2, g_lr=1e-2))
    bounds = []
    for _ in range(2):
        for _ in range(60):
            model.training_step(batch(model), 0)
        bounds.append(model.tracked()["train/mutual_information"])
    assert bounds[1] > bounds[0] + 0.3


def test_grid_of_a_categorical_code():
    model = infogan()
    z = model.sweep_category(1, 5).view(2, 5, DIM)
    start = NOISE + 3
    for row in range(2):
        assert torch.equal(z[row, :, start : start + 2], torch.eye(2)[row].expand(5, 2))
    others = [i for i in range(DIM) if not start <= i < start + 2]
    assert torch.equal(z[0][:, others], z[1][:, others])
    assert torch.equal(z[0, :, :NOISE], model.sample_latents(model.seed, 0, 5)[:, :NOISE])
    assert (z[..., -CONTINUOUS:] == 0).all()


def test_grid_of_a_continuous_code():
    model = infogan()
    z = model.sweep_continuous(0, 5).view(3, 5, DIM)
    assert z[1, :, -2].tolist() == [-2, -1, 0, 1, 2]
    assert torch.equal(z[:, 0, NOISE : NOISE + 3], torch.eye(3))
    others = [i for i in range(DIM) if i != DIM - 2]
    assert torch.equal(z[2][:, others], z[2, 2, others].expand(5, -1))
    assert (z[..., :NOISE] == z[0, 0, :NOISE]).all()


def test_grid_of_a_continuous_code_without_categorical_ones():
    model = infogan(Information(6, 0, (), 1), latent_dim=5)
    z = model.sweep_continuous(0, 3, reach=1.0).view(3, 3, 5)
    assert z[0, :, -1].tolist() == [-1, 0, 1] and not torch.equal(z[0, 0, :4], z[1, 0, :4])


def test_render_is_sampling_at_given_latents():
    model = infogan(ema=0.0)
    images, _ = model.sample(3, 9)
    torch.testing.assert_close(model.render(model.sample_latents(0, 3, 9)), images)
    model.train()
    model.render(model.sample_latents(0, 0, 2), ema=False)
    assert model.generator.training


def test_codes_are_read_off_images():
    model = infogan().train()
    images = torch.rand(5, 1, 4, 4).double() * 2 - 1
    (first, second), means = model.read_codes(images)
    guess = model.discriminator.head.guess(model.discriminator.trunk(images))
    assert torch.equal(first, guess[:, :3].argmax(1)) and torch.equal(second, guess[:, 3:5].argmax(1))
    assert torch.equal(means, guess[:, 5:]) and model.discriminator.training and not means.requires_grad


def test_refusals():
    with pytest.raises(InputError, match="model/head=information"):
        infogan(LinearHead(6, 0))
    with pytest.raises(InputError, match="model.packing=2"):
        infogan(packing=2)
    with pytest.raises(InputError, match="model.latent_dim=6"):
        infogan(latent_dim=6)


def test_the_shipped_model_and_its_callbacks(compose):
    cfg = compose("model=infogan", "model.categorical=[4,3]", "model.continuous=1")
    assert list(cfg.model.head.categorical) == [4, 3] and cfg.model.head.continuous == 1
    assert {"traversals", "code_scores", "evaluation"} <= set(cfg.callbacks)
    assert list(compose("model=dcgan", "model/head=information").model.head.categorical) == []


@pytest.mark.slow
def test_the_code_finds_the_digits_without_labels(tmp_path):
    """The command of docs/experiments.md: about 100 seconds of one core."""
    words = ["model=infogan", "data=digits", "iterations=3000", "seed=1", "evaluation.every=0", "samples.every=0"]
    command = [sys.executable, str(ROOT / "src" / "train.py"), *words, "logger=none", f"hydra.run.dir={tmp_path}/run"]
    subprocess.run(command, check=True, capture_output=True, timeout=1800)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["eval/code_accuracy"] >= 0.7
