"""The zoo's tables: every model for the same five minutes, the best deep ones for thirty, and both in the README.

    python benchmarks/zoo.py run [model ...]           train what has no result yet, one after another, on all cores
    python benchmarks/zoo.py run --minutes 30 model    likewise, for the second table, on one core: start two at once
    python benchmarks/zoo.py table                     rewrite the tables in README.md and the pictures in docs/images/

A result is benchmarks/results/zoo/<model>.json (zoo/30min/<model>.json): the run's results.json, its command, and what
the model is made of. The sample grid is kept beside it. The reasons of what stands out are in
benchmarks/zoo_notes.yaml.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw, ImageFont
from runs import IMAGES, RESULTS, ROOT, insert

from saddle.config import resolvers
from saddle.config.check import checked
from saddle.config.compose import Composer

ZOO, NOTES = RESULTS / "zoo", ROOT / "benchmarks" / "zoo_notes.yaml"
README = ROOT / "README.md"
SHORT, LONG = 5, 30
#: Runs of one thread do not disturb each other, so that the long ones can go in pairs.
ENVIRONMENT = {SHORT: {}, LONG: {"OMP_NUM_THREADS": "1"}}
#: In the order of the table. What needs other data than Fashion-MNIST is not here.
MODELS = [
    "gan",
    "dcgan",
    "lsgan",
    "wgan",
    "wgan_gp",
    "dragan",
    "sngan",
    "rsgan",
    "rasgan",
    "ebgan",
    "began",
    "unrolled",
    "infogan",
    "sagan",
    "cgan",
    "acgan",
    "projection_gan",
    "biggan",
    "contragan",
    "reacgan",
    "progan",
    "stylegan",
    "stylegan2",
    "stylegan2_ada",
    "r3gan",
    "biggan_deep",
    "stacked_gan",
]
OPTIONS = ["seed=0", "logger=none", "evaluation.every=0", "samples.every=0"]
HEADER = (
    "| `model=` | loss | penalty | conditioning | D steps | parameters G + D | iterations | Frechet | class shares % "
    "| paper |\n|---|---|---|---|---|---|---|---|---|---|"
)


def what(model: str) -> dict[str, Any]:
    """What a model is made of, from its config."""
    resolvers.register()
    with Composer(ROOT / "conf", "train") as composer:
        config = checked(composer, [f"model={model}"])
    choices, options = config["choices"], config["model"]
    head = choices.get("model/head") or options["head"]["_target_"].rpartition(".")[2].lower()  # a model's own
    labelled = options["head"]["facts"]["needs_labels"]
    conditioning = options["g_conditioning"].replace("_", " ") if labelled else "none"
    own = choices["model/generator"] in ("biggan", "biggan_deep")
    return {
        "loss": choices["loss"],
        "penalty": choices["penalty"],
        "augment": choices["augment"],
        "norm": options["d_norm"],
        "head": head,
        "conditioning": "batch norm" if own else conditioning,
        "d_steps": options["d_steps"],
        "paper": options["paper"],
    }


def kept(minutes: int) -> Path:
    """Where the results of runs of this length are."""
    return ZOO if minutes == SHORT else ZOO / f"{minutes}min"


def run(model: str, minutes: int) -> None:
    """Train a model by the real command and keep its results; what has a result is left alone."""
    target = kept(minutes) / f"{model}.json"
    if target.exists():
        return
    folder = ROOT / "logs" / "zoo" / (model if minutes == SHORT else f"{model}_{minutes}min")
    shutil.rmtree(folder, ignore_errors=True)
    overrides = [f"model={model}", f"minutes={minutes}", *OPTIONS]
    environment = ENVIRONMENT[minutes]
    command = [sys.executable, "src/train.py", *overrides, f"hydra.run.dir={folder}"]
    status = subprocess.run(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL).returncode
    results = json.loads((folder / "results.json").read_text())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    words = [*(f"{name}={value}" for name, value in environment.items()), "python src/train.py", *overrides]
    results |= {"command": " ".join(words), "exit_status": status, "model": what(model)}
    results["commit"] = commit.stdout.strip()
    target.parent.mkdir(parents=True, exist_ok=True)
    grids = sorted((folder / "samples").glob("[0-9]*.png"))
    if grids:
        shutil.copy(grids[-1], target.with_suffix(".png"))
    target.write_text(json.dumps(results, indent=2) + "\n")
    print(f"{model}: {results['status']}, eval/frechet {results.get('eval/frechet')}", flush=True)


def row(model: str, result: dict[str, Any], mark: str) -> str:
    """A model's line of the table."""
    made = result["model"]
    held = [*made["penalty"], made.get("augment", "none")]
    penalty = ", ".join(name.replace("_", " ") for name in held if name != "none")
    norm = {"spectral": "spectral norm", "batch": "", "none": "", "layer": "layer norm"}.get(made["norm"], made["norm"])
    conditioning = "none" if made["conditioning"] == "none" else f"{made['conditioning']}, {made['head']}"
    others = {"information": "codes", "reconstruction": "none", "level": "encoder"}
    cells = [
        f"`{model}`{mark}",
        made["loss"].replace("_", " "),
        ", ".join(filter(None, [penalty, norm])) or "none",
        others.get(made["head"], conditioning.replace("_", " ")),
        str(made["d_steps"]),
        f"{result['parameters/generator'] / 1e6:.2f} + {result['parameters/discriminator'] / 1e6:.2f} M",
        f"{result['iterations']:,}",
        *scores(result),
        made["paper"],
    ]
    return f"| {' | '.join(cells)} |"


def scores(result: dict[str, Any]) -> list[str]:
    """The cells of the Frechet distance and of the class shares."""
    if result.get("eval/frechet") is None:
        return [result["status"], ""]
    shares = f"{100 * result['eval/class_share_min']:.1f} to {100 * result['eval/class_share_max']:.1f}"
    return [f"{result['eval/frechet']:.1f}", shares]


def table() -> str:
    """The table and its notes, in markdown."""
    notes: dict[str, str] = yaml.safe_load(NOTES.read_text()) or {}
    lines, remarks = [HEADER], []
    for model in MODELS:
        path = ZOO / f"{model}.json"
        if not path.exists():
            continue
        mark = ""
        if model in notes:
            remarks.append(f"{len(remarks) + 1}. `{model}`: {notes[model]}")
            mark = f" ({len(remarks)})"
        lines.append(row(model, json.loads(path.read_text()), mark))
    return "\n".join([*lines, "", *remarks])


def longer_table() -> str:
    """What more time brings, in markdown: the models that have a long run, beside their short one."""
    head = "`model=` | " + " | ".join(f"iterations, {n} min | Frechet | class shares %" for n in (SHORT, LONG))
    lines = [f"| {head} |", "|---" * 7 + "|"]
    for model in MODELS:
        paths = [kept(minutes) / f"{model}.json" for minutes in (SHORT, LONG)]
        if all(path.exists() for path in paths):
            both = [json.loads(path.read_text()) for path in paths]
            cells = [cell for result in both for cell in (f"{result['iterations']:,}", *scores(result))]
            lines.append(f"| `{model}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def contact_sheet(minutes: int, target: Path) -> None:
    """One row of samples per model: the first ones of its grid (of different classes where it is conditional)."""
    samples, side, label, gap = 12, 32, 170, 2
    models = [model for model in MODELS if (kept(minutes) / f"{model}.png").exists()]
    scale, pitch = 2, side + gap
    sheet = Image.new("RGB", (label + samples * pitch * scale, len(models) * (pitch * scale + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(18)
    for line, model in enumerate(models):
        top = line * (pitch * scale + 4)
        draw.text((6, top + pitch * scale // 2 - 11), model, fill="black", font=font)
        grid = Image.open(kept(minutes) / f"{model}.png").convert("RGB")
        for i in range(samples):
            # down the diagonal, so that a grid with a row per class shows its classes
            column, image_row = i % 10, (i + i // 10) % 10
            box = (gap + column * pitch, gap + image_row * pitch)
            tile = grid.crop((*box, box[0] + side, box[1] + side)).resize((side * scale, side * scale), Image.NEAREST)
            sheet.paste(tile, (label + i * pitch * scale, top))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("models", nargs="*", help="default: all")
    parser.add_argument("--minutes", type=int, default=SHORT, choices=[SHORT, LONG])
    arguments = parser.parse_intermixed_args()
    if arguments.action == "run":
        for model in arguments.models or MODELS:
            run(model, arguments.minutes)
    else:
        contact_sheet(SHORT, IMAGES / "zoo.png")
        contact_sheet(LONG, IMAGES / "zoo_30min.png")
        insert("zoo", table(), README)
        insert("zoo 30 minutes", longer_table(), README)


if __name__ == "__main__":
    main()
