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
# It opens the newest run. Set `SADDLE_RUN` to choose another one.

# %%
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from PIL import Image

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "conf").is_dir())
runs = sorted((root / "logs/train").glob("*/config.yaml"), key=lambda config: config.stat().st_mtime)
run = Path(os.environ["SADDLE_RUN"]) if "SADDLE_RUN" in os.environ else runs[-1].parent
print(run.name)

# %% [markdown]
# ## What was run
#
# `config.yaml` is the whole configuration, with every default. `results.json` is how the run ended.

# %%
config = yaml.safe_load((run / "config.yaml").read_text())
print("model", config["choices"]["model"], " loss", config["choices"]["loss"], " data", config["choices"]["data"])
print("width", config["model"]["width"], " batch size", config["data"]["batch_size"], " seed", config["seed"])

results = json.loads((run / "results.json").read_text()) if (run / "results.json").exists() else {}
pd.Series(results).to_frame("value")

# %% [markdown]
# ## Losses
#
# `metrics.csv` has a row for every iteration at which something was logged. The dotted line is where both players are at
# equilibrium under the non-saturating loss: D cannot tell real from generated images, so its loss (the sum over real and
# generated ones) is 2 log 2, about 1.39, and half of its verdicts are right. In practice D stays ahead; what matters is
# that neither curve runs away.

# %%
metrics = pd.read_csv(run / "metrics.csv").set_index("iteration")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.5))
metrics[["train/d_loss", "train/g_loss"]].dropna(how="all").plot(ax=left)
left.set(title="losses", ylim=(0, None))
if config["choices"]["loss"] == "nonsaturating":
    left.axhline(1.386, color="grey", linestyle=":")
metrics[["train/d_accuracy_real", "train/d_accuracy_fake"]].dropna(how="all").plot(ax=right)
right.axhline(0.5, color="grey", linestyle=":")
right.set(title="share of images that D judges rightly", ylim=(0, 1))
figure.tight_layout()

# %% [markdown]
# ## Scores
#
# The Frechet distance compares the generated images with the real ones in the feature space of a classifier: lower is
# better. Losses say little about sample quality; this does.

# %%
scores = [name for name in ("eval/frechet", "eval/fid") if name in metrics]
if scores:
    values = metrics[scores].dropna(how="all")
    axis = values.plot(marker="o", logy=bool((values > 0).all().all()), figsize=(6, 3.5))
    axis.set(title="distance to the real images")
    print(values.tail(3))
else:
    print("this run was not scored")

# %% [markdown]
# ## Samples
#
# All grids show the same latents, so an image can be followed from grid to grid.

# %%
grids = sorted((run / "samples").glob("*.png"))
chosen = [grids[0], grids[len(grids) // 2], grids[-1]] if len(grids) > 2 else grids
figure, axes = plt.subplots(1, len(chosen), figsize=(5 * len(chosen), 5.4), squeeze=False)
for axis, grid in zip(axes[0], chosen, strict=True):
    axis.imshow(Image.open(grid))
    axis.set_title(f"iteration {int(grid.stem)}")
    axis.axis("off")
figure.tight_layout()
