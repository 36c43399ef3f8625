"""APA: which images D is told are real, and that it is told so in its own turn alone."""

import torch
from tiny import attach, batch, dense_gan

from saddle.augment.apa import APA
from saddle.penalties import R1
from saddle.turn import Turn


def gan(p=0.5, penalties=None, **options):
    model = dense_gan(penalties, classes=3, **options)
    model.augment = APA(p=p, adaptive=False)
    return attach(model)


def turn_of(model, player="discriminator", needs=()):
    images, labels = batch(model, classes=3)
    (reals,) = model.reals(images, labels)
    return Turn(model, player, 0, 0, reals[0], frozenset(needs)), reals[0][0]


def test_each_real_image_is_replaced_with_probability_p():
    model = gan(0.5, batch_size=64)
    turn, real = turn_of(model)
    chosen = turn.draws("pseudo").uniform() < 0.5
    assert 20 < chosen.sum() < 44
    latents = model.prior.draw(turn.draws("pseudo/latents"))
    made = model.generator(latents, turn.real_labels)
    assert torch.equal(turn.real, torch.where(chosen[:, None, None, None], made, real)) and not turn.real.requires_grad
    assert (made - turn.fake).abs().max() > 1e-3  # other images than those that D is told are generated
    for p, expected in ((0.0, real), (1.0, made)):
        assert torch.equal(turn_of(gan(p, batch_size=64))[0].real, expected)


def test_generated_images_have_the_labels_that_they_replace():
    model = gan(1.0)
    seen = []
    model.generator.forward = lambda latents, labels: seen.append(labels) or torch.zeros(len(labels), 1, 4, 4).double()
    turn, _ = turn_of(model)
    assert torch.equal(seen[0], turn.real_labels)


def test_the_generator_is_compared_with_real_images():
    turn, real = turn_of(gan(1.0), "generator")
    assert torch.equal(turn.real, real)


def test_the_penalty_is_taken_at_the_mixture():
    model = gan(0.5)
    turn, _ = turn_of(model, needs=("real_gradients",))
    term = R1(2.0)(turn)
    images = turn.real.detach().requires_grad_()
    logits = model.discriminator(images, turn.real_labels).logits
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    torch.testing.assert_close(term, gradient.square().sum((1, 2, 3)).mean(), rtol=1e-12, atol=0)


def test_two_halves_of_a_batch_see_what_the_whole_does():
    whole, _ = turn_of(gan(0.5))
    model = gan(0.5, accumulate=2)
    (reals,) = model.reals(*batch(model, classes=3))
    turns = [Turn(model, "discriminator", 0, micro, pair, frozenset()) for micro, pair in enumerate(reals)]
    halves = torch.cat([turn.real for turn in turns])
    assert len(turns) == 2 and torch.allclose(halves, whole.real, rtol=0, atol=1e-15)


def test_p_follows_the_signs_of_the_real_logits():
    """All positive: every 2 steps of 8 images p rises by 16 / 1000 kimg; all negative: it falls, but not below 0."""
    augment = APA(kimg=0.1, every=2)
    seen = []
    for sign in (1, 1, 1, 1, -1, -1, -1, -1, -1, -1):
        augment.observe(sign * torch.ones(8))
        augment.after_step(8)
        seen.append(round(augment.p.item(), 6))
    assert seen == [0, 0.16, 0.16, 0.32, 0.32, 0.16, 0.16, 0, 0, 0]
