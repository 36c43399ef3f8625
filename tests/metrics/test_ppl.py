"""Perceptual path length: closed forms for linear generators, LPIPS against its formula, processes, refusals."""

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchmetrics
import torchvision
from torch import nn

from saddle.errors import InputError
from saddle.metrics.cache import StatisticsCache
from saddle.metrics.evaluator import Evaluator
from saddle.metrics.features import ClassifierExtractor, FeatureExtractor, FeatureOutputs
from saddle.metrics.ppl import FeatureDistance, LPIPSDistance, PerceptualPathLength, slerp
from saddle.metrics.sources import ArraySource, ModelSource
from saddle.randomness import Rows, layer_noise, rows_normal

DIM = 6


class Linear(nn.Module):
    """Images are a linear function of z, and noise that each image has of its own."""

    def __init__(self, noise: float = 0.0):
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(16, DIM, generator=draws, dtype=torch.float64))
        self.noise = noise

    def forward(self, latents, labels):
        images = (latents @ self.matrix.T).unflatten(1, (1, 4, 4)) + labels.view(-1, 1, 1, 1)
        return images + self.noise * layer_noise(images, 1, 4, 4)


class Styled(Linear):
    """w = z^3, and an image that is linear in the w of two layers."""

    def styles(self, latents, labels):
        return (latents**3)[:, None].expand(-1, 2, -1)

    def synthesis(self, ws):
        return super().forward(ws[:, 0] + 2 * ws[:, 1], torch.zeros(len(ws)))


class Model:
    device, dtype, conditional = torch.device("cpu"), torch.float64, False
    prior = SimpleNamespace(classes=3)

    def __init__(self, generator):
        self.generator = generator
        self.ema = type("EMA", (), {"module": generator})

    def sample_latents(self, seed, start, stop, truncation=None):
        return rows_normal(seed, "z", start, stop, DIM).double()

    def sample(self, start, stop, **options):
        return torch.zeros(stop - start, 1, 4, 4), torch.zeros(stop - start, dtype=torch.int64)


class Pixels(FeatureExtractor):
    """Features are the pixels, in units of [-1, 1]."""

    name, features, classes = "pixels", 16, 1
    key = fingerprint = "pixels of the test"

    def load(self):
        return nn.Identity()

    def extract(self, network, images):
        return FeatureOutputs(images.flatten(1).double() / 127.5 - 1, torch.zeros(len(images), 1))


def squares(a, b):
    return (a - b).square().sum((1, 2, 3))


def paths(metric, model, n=40, seed=3):
    metric.update(model, Rows(0, n, n), seed=seed, ema=True, truncation=None)
    return torch.cat(metric.distances)


def ends(model, n=40, seed=3):
    """The two latents of each path, found through a generator that hands them out."""
    seen = []
    model.sample_latents, real = lambda *a: seen.append(real(*a)) or seen[-1], model.sample_latents
    paths(PerceptualPathLength(squares), model, n, seed)
    return seen


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_at_the_ends_in_z_of_a_linear_generator(noise):
    """The derivative of the great circle at 0: w / sin w (b - cos w a)."""
    found = paths(PerceptualPathLength(squares), Model(Linear(noise)))
    first, last = ends(Model(Linear()))
    for a, b, value in zip(first, last, found, strict=True):
        angle = math.acos(float(a @ b / (a.norm() * b.norm())))
        speed = angle / math.sin(angle) * (b - math.cos(angle) * a)
        assert float(value) == pytest.approx(float((Linear().matrix @ speed).square().sum()), rel=2e-3)


def test_in_w_of_a_linear_synthesis():
    """The derivative is the same everywhere on a straight line."""
    for sampling in ("end", "full"):
        found = paths(PerceptualPathLength(squares, sampling=sampling), Model(Styled()))
        first, last = ends(Model(Styled()))
        expected = (3 * (last**3 - first**3) @ Styled().matrix.T).square().sum(1)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    in_z = paths(PerceptualPathLength(squares, space="z"), Model(Styled()))
    assert not torch.allclose(in_z, found, rtol=0.1)


def test_slerp():
    draws = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 50, DIM, generator=draws, dtype=torch.float64)
    zero, one = torch.zeros(50, dtype=torch.float64), torch.ones(50, dtype=torch.float64)
    torch.testing.assert_close(slerp(a, b, zero), a)
    torch.testing.assert_close(slerp(a, b, one), b)
    unit = slerp(a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True), 0.3 * one)
    torch.testing.assert_close(unit.norm(dim=1), one)  # stays on the sphere
    torch.testing.assert_close(slerp(a, 2 * a, 0.5 * one), 1.5 * a)  # parallel


def test_features_are_not_rounded_and_percentiles_are_cut():
    exact = paths(PerceptualPathLength(squares), Model(Linear()), n=300)
    metric = PerceptualPathLength(FeatureDistance(Pixels()))
    torch.testing.assert_close(paths(metric, Model(Linear()), n=300), exact, rtol=0.1, atol=0)
    metric = PerceptualPathLength(squares)
    paths(metric, Model(Linear()), n=300)
    low = np.percentile(exact, 1, method="lower")
    high = np.percentile(exact, 99, method="higher")
    expected = np.mean([x for x in exact.tolist() if low <= x <= high])
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-12)


def test_a_generator_that_ignores_its_latent_has_no_length():
    constant = Linear()
    constant.matrix.data.zero_()
    assert float(paths(PerceptualPathLength(squares), Model(constant)).max()) == 0


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = torchvision.models.vgg16(weights=None).features
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save({f"features.{name}": x for name, x in features.state_dict().items()}, path)
    return path


def lpips(weights, a, b):
    """The layers' outputs, normalised over the channels; differences squared, weighted, averaged over the pixels."""
    with torch.device("meta"):
        network = torchvision.models.vgg16().features
    network.load_state_dict({name.removeprefix("features."): x for name, x in weights.items()}, assign=True)
    package = Path(torchmetrics.functional.image.lpips.__file__).parent
    channels = torch.load(package / "lpips_models" / "vgg.pth", map_location="cpu")
    shift, scale = (torch.tensor(x).view(1, 3, 1, 1) for x in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    x, total = (torch.cat([a, b]) - shift) / scale, torch.zeros(len(a), dtype=torch.float64)
    relus = (3, 8, 15, 22, 29)  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
    for i, layer in enumerate(network):
        x = layer(x)
        if i in relus:
            first, second = (x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt()).double().chunk(2)
            weight = channels[f"lin{relus.index(i)}.model.1.weight"].double()
            total += ((first - second).square() * weight).sum(1).mean((1, 2))
    return total


@torch.no_grad()
def test_lpips_equals_the_formula(vgg):
    draws = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, 2, 3, 32, 32, generator=draws) * 2 - 1
    ours = LPIPSDistance(str(vgg))
    assert ours(a, b).tolist() == pytest.approx(lpips(torch.load(vgg), a, b).tolist(), rel=1e-5)
    assert ours(a[:, :1], a[:, :1]).tolist() == [0, 0]
    large = a[:1].repeat_interleave(10, 2).repeat_interleave(10, 3)  # averaged down to 256 pixels
    small = torch.nn.functional.adaptive_avg_pool2d(large, 256)
    assert float(ours(large, -large)) == pytest.approx(float(ours(small, -small)), rel=1e-5)


def test_missing_and_damaged_vgg_weights(vgg, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="there are no VGG-16 weights"):
        LPIPSDistance(str(tmp_path / "missing.pth"))
    (tmp_path / "bad.pth").write_bytes(b"junk")
    with pytest.raises(InputError, match="bad.pth is damaged"):
        LPIPSDistance(str(tmp_path / "bad.pth")).load()
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="other.pth do not fit VGG-16"):
        LPIPSDistance(str(tmp_path / "other.pth")).load()

    def fail(url, *args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    scoring = Evaluator({"ppl": PerceptualPathLength(LPIPSDistance())}, cache=StatisticsCache(tmp_path))
    with pytest.raises(InputError, match=r"no network.*vgg16.*metrics=ppl"):
        scoring.prepare()


def evaluate(folder: Path, batch: int) -> dict[str, float]:
    metric = PerceptualPathLength(FeatureDistance(Pixels()), sampling="full")
    scoring = Evaluator({"ppl": metric}, samples=33, batch=batch, cache=StatisticsCache(folder))
    images = torch.zeros(10, 1, 4, 4, dtype=torch.uint8)
    return scoring.compare(ArraySource(images, None, "x"), ModelSource(Model(Linear(0.5)), 33)).scores


def process(rank: int, folder: Path) -> None:
    """One of two processes: this file is its script."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for batch in (7, 100):  # with 100 one process gets no pair at all
        torch.save(evaluate(folder, batch), folder / f"{batch}_{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_and_any_batch_give_the_score_of_one(tmp_path):
    commands = [[sys.executable, __file__, str(rank), str(tmp_path)] for rank in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    one = evaluate(tmp_path, 10)
    assert set(one) == {"eval/ppl"} and one["eval/ppl"] > 0
    assert [child.wait(timeout=600) for child in processes] == [0, 0]
    for file in tmp_path.glob("*.pt"):
        assert torch.load(file) == pytest.approx(one, rel=1e-6), file
    assert len(list(tmp_path.glob("*.pt"))) == 4


def test_wrong_input(tmp_path):
    scoring = Evaluator({"ppl": PerceptualPathLength(squares)}, cache=StatisticsCache(tmp_path))
    images = ArraySource(torch.zeros(5, 1, 4, 4, dtype=torch.uint8), None, "a.npz")
    with pytest.raises(InputError, match=r"ppl: needs a model, and a\.npz holds only images"):
        scoring.compare(images, images)
    with pytest.raises(InputError, match="Linear has no w: set space=z"):
        paths(PerceptualPathLength(squares, space="w"), Model(Linear()))
    for options in ({"epsilon": 0.0}, {"space": "x"}, {"sampling": "middle"}):
        with pytest.raises(InputError, match="ppl: epsilon"):
            PerceptualPathLength(squares, **options)
    with pytest.raises(InputError, match="bf16=false"):
        FeatureDistance(ClassifierExtractor("digits", bf16=True))
    broken = Linear()
    broken.matrix.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        paths(PerceptualPathLength(squares), Model(broken))
    with pytest.raises(InputError, match="needs at least 2"):
        PerceptualPathLength(squares).compute()


if __name__ == "__main__":
    process(int(sys.argv[1]), Path(sys.argv[2]))
