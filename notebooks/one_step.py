# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One step of the game
#
# The whole algorithm on one page: what both players of DCGAN with R1 do in an iteration, in plain PyTorch. Everything in
# `src/saddle/models/base.py` is this function with its parts exchangeable: the objective (`losses.py`), R1 (`penalties.py`),
# the optimisers, the networks, and many processes that compute what one would. At the end both are run side by side, and
# their parameters compared.

# %%
import logging
import warnings
from pathlib import Path

import torch
from lightning.pytorch import Callback
from torch.nn.functional import softplus

from saddle.config import resolvers
from saddle.config.compose import Composer
from saddle.images import from_data
from saddle.randomness import Draws, Rows
from saddle.run.build import build_data, build_model, build_trainer

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "conf").is_dir())


# %% [markdown]
# ## Both players' steps
#
# $D$ descends $\mathbb{E}\,\mathrm{sp}(-D(x)) + \mathbb{E}\,\mathrm{sp}(D(G(z)))
# + \frac{\gamma}{2}\,\mathbb{E}\,\lVert\nabla_x D(x)\rVert^2$, where $\mathrm{sp}(t) = \log(1 + e^t)$ and $D(x)$ is the
# logit; the last term is R1. Then $G$ descends $\mathbb{E}\,\mathrm{sp}(-D(G(z)))$, the non-saturating loss. Each player sees
# new latents $z$, and $D$'s step computes no gradient for $G$, nor $G$'s step one for $D$.

# %%
def one_step(generator, discriminator, g_optimizer, d_optimizer, real, labels, draw_latents, gamma):
    """One iteration of DCGAN with R1: a step of D, then one of G. Images are [B, C, H, W] in [-1, 1]."""

    # D: real images up, generated images down, and a flat slope at the real ones
    with torch.no_grad():
        fake = generator(draw_latents("discriminator"), labels)
    real = real.requires_grad_()
    real_logits = discriminator(real, labels).logits
    fake_logits = discriminator(fake, labels).logits
    (slopes,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    d_loss = softplus(-real_logits).mean() + softplus(fake_logits).mean()
    r1 = gamma / 2 * slopes.square().sum((1, 2, 3)).mean()
    d_optimizer.zero_grad()
    (d_loss + r1).backward()
    d_optimizer.step()

    # G: its images up, in the eyes of the D that has just learnt
    fake = generator(draw_latents("generator"), labels)
    g_loss = softplus(-discriminator(fake, labels).logits).mean()
    g_optimizer.zero_grad()
    g_loss.backward(inputs=list(generator.parameters()))
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


# %% [markdown]
# ## The same networks, images and random numbers
#
# The model as `python src/train.py model=dcgan penalty=[r1] model.d_norm=none data=digits precision=64` builds it, narrow. Its
# random numbers are functions of the seed, the iteration, the purpose and the place in the batch, so they can be drawn again
# here.

# %%
WIDTH, BATCH, ITERATIONS = 8, 16, 3
overrides = ["model=dcgan", "penalty=[r1]", "model.d_norm=none", "data=digits", "precision=64", "trainer=cpu"]
overrides += [f"model.width={WIDTH}", f"data.batch_size={BATCH}", "logger=none"]
resolvers.register()
with Composer(root / "conf", "train") as composer:
    cfg = composer.compose(overrides)


def latents_of(iteration):
    """The latents of an iteration, by whose turn it is."""

    def draw(player):
        draws = Draws(cfg.seed, iteration, f"{player}/{iteration}/latents", Rows(0, BATCH, BATCH), dtype=torch.float64)
        return draws.normal(cfg.model.latent_dim)

    return draw


# %% [markdown]
# ## Side by side
#
# First Lightning's trainer plays the real steps, and the batches are kept; then `one_step` plays on a fresh copy.

# %%
class Recorder(Callback):
    """Keeps the batches, and ends the training."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch)

    def on_train_batch_end(self, trainer, pl_module, *_):
        trainer.should_stop = pl_module.iteration >= ITERATIONS


recorder, model = Recorder(), build_model(cfg)
build_trainer(cfg, root, [recorder], [], []).fit(model, datamodule=build_data(cfg))

# %%
plain = build_model(cfg).double().train()
d_optimizer, g_optimizer = plain.configure_optimizers()
players = plain.generator, plain.discriminator, g_optimizer, d_optimizer
gamma = cfg.penalty.r1.weight
for iteration, (images, labels) in enumerate(recorder.batches[:ITERATIONS]):
    losses = one_step(*players, from_data(images, torch.float64), labels, latents_of(iteration), gamma)
    print("iteration", iteration, " D's loss {:.6f}, G's loss {:.6f}".format(*losses))

pairs = zip(model.named_parameters(), plain.named_parameters(), strict=True)
difference = max((a - b).abs().max().item() for (name, a), (_, b) in pairs if not name.startswith("ema."))
print("largest difference of a parameter:", difference)
