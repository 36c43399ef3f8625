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
# # Look at a run
#
# Every run of `python src/train.py` leaves a folder under `logs/train/`. This notebook opens one, plots its losses and
# scores, and shows its samples. It reads only files, so it works on a run that is still training, or on one that
# was copied from a cluster.
#
# It opens the newest run; set `SADDLE_RUN` to choose another one. What is shown below is
# `python src/train.py data=digits iterations=600 log_every=10 evaluation.every=200 samples.every=200`, two minutes of
# one core.

# %%
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml

if "SADDLE_RUN" in os.environ:
    run = Path(os.environ["SADDLE_RUN"])
else:
    root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "conf").is_dir())
    runs = sorted((root / "logs/train").glob("*/config.yaml"), key=lambda config: config.stat().st_mtime)
    assert runs, f"no run in {root / 'logs/train'} yet: python src/train.py makes one, or set SADDLE_RUN to its folder"
    run = runs[-1].parent
print(run.name)

# %% [markdown]
# ## What was run
#
# `config.yaml` is the whole configuration, with every default. `results.json` is how the run ended.

# %%
config = yaml.safe_load((run / "config.yaml").read_text())
print(", ".join(f"{group} {config['choices'][group]}" for group in ("model", "loss", "data")))
print("width", config["model"].get("width"), " batch size", config["data"]["batch_size"], " seed", config["seed"])

results = json.loads((run / "results.json").read_text()) if (run / "results.json").exists() else {"status": "unfinished"}
pd.Series(results).to_frame("value")

# %% [markdown]
# ## Losses
#
# `metrics.csv` has a row for every iteration at which something was logged. The dotted line is where both players are at
# equilibrium under the non-saturating loss: D cannot tell real from generated images, so its loss (the sum over real and
# generated ones) is 2 log 2, about 1.39, and half of its verdicts are right. In practice D stays ahead; what matters is
# that neither curve runs away.

# %%
file = run / "metrics.csv"
metrics = pd.read_csv(file).set_index("iteration") if file.exists() and file.stat().st_size else pd.DataFrame()


def logged(*names):
    """The rows with any of these columns; a run that failed early, or has just begun, has none."""
    return metrics[[name for name in names if name in metrics]].dropna(how="all")


losses = logged("train/d_loss", "train/g_loss")
verdicts = logged("train/d_accuracy_real", "train/d_accuracy_fake")
if losses.empty:
    print(f"no losses yet: there is a row of them every log_every={config['log_every']} iterations")
else:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6))
    losses.plot(ax=left, title="losses", marker="o" if len(losses) == 1 else None)
    if (losses.min() >= 0).all():  # which those of Wasserstein are not
        left.set_ylim(bottom=0)
    if config["choices"]["loss"] == "nonsaturating":
        left.axhline(1.386, color="grey", linestyle=":")
    if not verdicts.empty:
        verdicts.plot(ax=right, marker="o" if len(verdicts) == 1 else None)
    right.axhline(0.5, color="grey", linestyle=":")
    right.set(title="share of images that D judges rightly", ylim=(0, 1))
    figure.tight_layout()
    plt.show()

# %% [markdown]
# ## Scores
#
# The Frechet distance compares the generated images with the real ones in the feature space of a classifier: lower is
# better. Losses say little about sample quality; this does.

# %%
scores = logged("eval/frechet", "eval/fid")
if scores.empty:
    print("this run was not scored")
else:
    print(scores.tail(3))
    axis = scores.plot(marker="o", logy=bool((scores.min() > 0).all()), figsize=(5, 3))
    axis.set(title="distance to the real images")
    plt.show()

# %% [markdown]
# ## Samples
#
# All grids show the same latents, so an image can be followed from grid to grid. Here is the upper left quarter of three.

# %%
grids = sorted((run / "samples").glob("*.png"))
if not grids:
    print("this run has drawn no samples")
else:
    chosen = [grids[0], grids[len(grids) // 2], grids[-1]] if len(grids) > 2 else grids
    figure, axes = plt.subplots(1, len(chosen), figsize=(1.9 * len(chosen), 2.2), squeeze=False)
    for axis, grid in zip(axes[0], chosen, strict=True):
        pixels = plt.imread(grid)
        axis.imshow(pixels[: len(pixels) // 2, : len(pixels) // 2], interpolation="nearest")
        axis.set_title(f"iteration {int(grid.stem)}")
        axis.axis("off")
    figure.tight_layout()
    plt.show()
