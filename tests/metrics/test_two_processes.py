"""Every metric of conf/metrics on two processes and on one, where the number of images does not divide.

The metrics are those of the yaml files, a new one among them, with two changes that make them small: extractors are the
digits' classifier, and the options in SMALL. Fakes are a model's, conditional, so that no metric is left out.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn

from saddle.data.digits import Digits
from saddle.data.mixtures import Mixture, Ring
from saddle.data.stacked import Stacked
from saddle.metrics.cache import StatisticsCache
from saddle.metrics.evaluator import Evaluator, Scores
from saddle.metrics.sources import ModelSource, SetSource
from saddle.randomness import rows_normal
from saddle.run.build import build_metrics

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "metrics").glob("*.yaml") if path.stem != "none")
SMALL = {
    "kid": {"subsets": 5, "subset_size": 20},
    "fid_infinity": {"points": 4, "smallest": 12},
    "prd": {"clusters": 4, "runs": 2},
    "swd": {"images": 31, "patches": 4, "projections": 8},
    "ct": {"cells": 2, "least": 3},
    "cas": {"steps": 4},
}
REAL, FAKE, TEST = 53, 33, 29
BATCHES = (7, 100)  # with 100 the first process gets no image at all
OPTIONS = {"batch_size": 4, "flip": False}


class Linear(nn.Module):
    """Images are a linear function of the latent, and brighter for a larger label."""

    def __init__(self, channels: int, side: int):
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        self.shape = (channels, side, side)
        self.matrix = nn.Parameter(0.4 * torch.randn(channels * side * side, 6, generator=draws))

    def forward(self, latents, labels):
        return (latents @ self.matrix.T).unflatten(1, self.shape) + labels.view(-1, 1, 1, 1) / 10 - 0.5


class Model:
    """What the evaluator sees of a GAN; sample i is asked for class i modulo the classes."""

    device, dtype, conditional = torch.device("cpu"), torch.float32, True

    def __init__(self, classes: int, channels: int, side: int):
        self.classes, self.generator = classes, Linear(channels, side)
        self.prior = SimpleNamespace(classes=classes)
        self.ema = type("EMA", (), {"module": self.generator})

    def sample_latents(self, seed, start, stop, truncation=None):
        return rows_normal(seed, "z", start, stop, 6)

    def sample(self, start, stop, *, seed, ema, truncation):
        labels = torch.arange(start, stop) % self.classes
        with torch.no_grad():
            images = self.generator(self.sample_latents(seed, start, stop), labels)
        return images if images.shape[-1] == 1 else images.clamp(-1, 1), labels


def data_of(name: str) -> Digits | Mixture | Stacked:
    """The data that a metric is for."""
    if name == "modes":
        data = Mixture(
            centres=Ring(8, 1.0),
            sigma=0.3,
            points=60,
            seed=0,
            resolution=1,
            channels=2,
            classes=8,
            bounded=False,
            **OPTIONS,
        )
    elif name == "stacked_modes":
        data = Stacked(
            source="digits", images=60, test_images=40, seed=0, resolution=32, channels=3, classes=0, **OPTIONS
        )
    else:
        data = Digits(resolution=32, channels=1, classes=10, classifier="digits", **OPTIONS)
    data.setup()
    return data


class First:
    """The first images of a set."""

    def __init__(self, images, count: int):
        self.images, self.count = images, count

    def __len__(self):
        return self.count

    def __getitems__(self, indices):
        return self.images.__getitems__(indices)

    def fingerprint(self):
        return f"{self.images.fingerprint()} {self.count}"


def score(nodes: dict, folder: Path, name: str, batch: int, known: dict = {}) -> Scores:  # noqa: B006 - kept on purpose
    """What a metric says of the model against the first images of its data."""
    kind = name if name in ("modes", "stacked_modes") else ""
    data = known[kind] = known.get(kind) or data_of(name)
    model = Model(data.classes or 10, data.channels, data.resolution)
    test = None if data.test_set is None else SetSource(First(data.test_set, TEST), data.classes)
    scoring = Evaluator(build_metrics({name: nodes[name]}), batch=batch, cache=StatisticsCache(folder))
    scoring.prepare(data)
    fake = ModelSource(model, FAKE, dtype=data.train_set.dtype)
    return scoring.compare(SetSource(First(data.train_set, REAL), data.classes), fake, test=test)


def process(rank: int, folder: Path) -> None:
    """One of two processes: this file is its script."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    nodes = json.loads((folder / "nodes.json").read_text())
    found = {
        f"{name} {batch}": (scores.scores, scores.vectors)
        for name in nodes
        for batch in BATCHES
        for scores in [score(nodes, folder / "cache", name, batch)]
    }
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def shrunk(node: object, vgg: Path) -> object:
    """A node whose extractors are the digits' classifier, and whose VGG-16 has random weights."""
    if not isinstance(node, dict):
        return node
    if str(node.get("_target_", "")).endswith("Extractor"):
        return {"_target_": "saddle.metrics.features.ClassifierExtractor", "name": "digits", "classes": 10}
    return {key: str(vgg) if key == "vgg" else shrunk(value, vgg) for key, value in node.items()}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> dict:
    """The small metrics by name."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from saddle.config import resolvers

    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = [
            compose("train", [f"data={data}", f"metrics=[{','.join(names)}]", *others]).metrics
            for data, names, *others in (
                ("digits", [name for name in NAMES if name not in ("modes", "stacked_modes")]),
                ("ring", ["modes"], "data.sigma=0.3"),  # so wide that the model's points reach the modes
                ("stacked_digits", ["stacked_modes"]),
            )
        ]
        found = {name: node for part in chosen for name, node in OmegaConf.to_container(part, resolve=True).items()}
    vgg = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = torchvision.models.vgg16(weights=None).features
    torch.save({f"features.{name}": x for name, x in features.state_dict().items()}, vgg)
    return {name: {**shrunk(node, vgg), **SMALL.get(name, {})} for name, node in found.items()}


@pytest.fixture(scope="module")
def both(nodes, tmp_path_factory) -> list[dict]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "nodes.json").write_text(json.dumps(nodes))
    commands = [[sys.executable, __file__, str(rank), str(folder)] for rank in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    assert [child.wait(timeout=600) for child in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_give_the_value_of_one(name, nodes, both, tmp_path):
    for batch in BATCHES:
        one = score(nodes, tmp_path, name, batch)
        assert {f"eval/{key}" for key in nodes[name].get("facts", {}).get("scores", [name])} <= set(one.scores)
        for found in both:
            scalars, vectors = found[f"{name} {batch}"]
            assert scalars == pytest.approx(one.scores, rel=1e-6, abs=1e-9), batch
            assert vectors.keys() == one.vectors.keys()
            for key, values in vectors.items():
                assert values == pytest.approx(one.vectors[key], rel=1e-6, abs=1e-9), batch


if __name__ == "__main__":
    process(int(sys.argv[1]), Path(sys.argv[2]))
