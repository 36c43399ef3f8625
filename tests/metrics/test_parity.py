"""FID, Inception score and KID against torch-fidelity and torchmetrics, on the same features and logits."""

import numpy as np
import pytest
import torch
from given import Given
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from saddle.metrics.cache import StatisticsCache
from saddle.metrics.evaluator import Evaluator
from saddle.metrics.features import FeatureOutputs, InceptionExtractor
from saddle.metrics.frechet import FrechetDistance
from saddle.metrics.kid import KernelDistance
from saddle.metrics.scores import ClassifierScore
from saddle.metrics.sources import ArraySource
from saddle.randomness import Rows

SIZE = 24


class AsTheyAre(torch.nn.Module):
    """An extractor for torchmetrics whose images are the features."""

    num_features = SIZE

    def forward(self, images):
        return images


def features(seed: int, n: int) -> torch.Tensor:
    """Like Inception's: not negative, correlated, a few always zero."""
    draws = torch.Generator().manual_seed(seed)
    mixing = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(9))
    x = (torch.randn(n, SIZE, generator=draws) @ mixing * 0.3 + 0.1 * seed).relu()
    x[:, :2] = 0
    return x


def filled(metric, real: torch.Tensor, fake: torch.Tensor):
    for x, is_real in ((real, True), (fake, False)):
        for start in range(0, len(x), 50):
            part = x[start : start + 50]
            rows = Rows(start, start + len(part), len(x))
            metric.update(FeatureOutputs(part, part), is_real, rows=rows)
    return metric.compute()


@pytest.mark.parametrize(("n", "m"), [(400, 300), (15, 18)])  # more and fewer images than features
def test_fid(n, m):
    real, fake = features(1, n), features(2, m)
    ours = float(filled(FrechetDistance(Given(SIZE)), real, fake))
    statistics = [fid_features_to_statistics(x) for x in (real, fake)]
    assert ours == pytest.approx(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID], rel=1e-4)
    stock = FrechetInceptionDistance(feature=AsTheyAre(), input_img_size=(SIZE,)).set_dtype(torch.float64)
    for x, is_real in ((real, True), (fake, False)):
        stock.update(x.double(), real=is_real)
    assert ours == pytest.approx(float(stock.compute()), rel=1e-4)


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score(splits, monkeypatch):
    logits = features(3, 203) * 4
    metric = ClassifierScore(Logits(), splits=splits)
    ours = filled(metric, logits, logits)
    theirs = isc_features_to_metric(logits, splits=splits, shuffle=False)
    assert float(ours[""]) == pytest.approx(theirs[KEY_METRIC_ISC_MEAN], rel=1e-4)
    assert float(ours.get("_std", 0)) == pytest.approx(theirs[KEY_METRIC_ISC_STD], rel=1e-4)
    # torchmetrics shuffles first, cuts the parts by torch.chunk, and divides its variance by n - 1
    whole = logits[:200]
    ours = filled(ClassifierScore(Logits(), splits=splits), whole, whole)
    stock = InceptionScore(feature=AsTheyAre(), splits=splits)
    stock.update(whole)
    monkeypatch.setattr(torch, "randperm", torch.arange)
    mean, deviation = stock.compute()
    assert float(ours[""]) == pytest.approx(float(mean), rel=1e-4)
    if splits > 1:
        assert float(ours["_std"]) == pytest.approx(float(deviation) * (9 / 10) ** 0.5, rel=1e-4)


class Logits(Given):
    """Sizes for logits."""

    classes = SIZE


def test_kid(monkeypatch):
    real, fake = features(1, 130), features(2, 110)
    options = {"subsets": 6, "subset_size": 40}
    choices = np.random.RandomState(2020)
    drawn = [[torch.from_numpy(choices.choice(n, 40, replace=False)) for n in (130, 110)] for _ in range(6)]
    monkeypatch.setattr(KernelDistance, "subset", lambda self, i, side, n: drawn[i][side == "fake"])
    ours = filled(KernelDistance(Given(SIZE), **options), real, fake)
    theirs = kid_features_to_metric(real, fake, kid_subsets=6, kid_subset_size=40, verbose=False, rng_seed=2020)
    assert float(ours[""]) == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-4)
    assert float(ours["_std"]) == pytest.approx(theirs[KEY_METRIC_KID_STD], rel=1e-4)
    stock = KernelInceptionDistance(feature=AsTheyAre(), **options).set_dtype(torch.float64)
    for x, is_real in ((real, True), (fake, False)):
        stock.update(x.double(), real=is_real)
    order = iter([part for pair in drawn for part in pair])  # torchmetrics takes the first rows of a permutation
    monkeypatch.setattr(torch, "randperm", lambda n: next(order))
    mean, deviation = stock.compute()
    assert float(ours[""]) == pytest.approx(float(mean), rel=1e-4)
    assert float(ours["_std"]) == pytest.approx(float(deviation), rel=1e-4)


@pytest.mark.slow
def test_from_images_and_a_weights_file_as_the_libraries_do(tmp_path, monkeypatch):
    """The whole way: the same files of pixels and of random weights into three libraries, in the same order."""
    import torch_fidelity

    weights = random_inception(tmp_path / "weights.pth")
    draws = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=draws)
    smooth = torch.nn.functional.avg_pool2d(noise.float(), 5, 1, 2).to(torch.uint8)
    sides = {"real": noise, "fake": smooth}
    options = {"subsets": 5, "subset_size": 10}
    metrics = {
        "fid": FrechetDistance(InceptionExtractor(str(weights))),
        "isc": ClassifierScore(InceptionExtractor(str(weights)), splits=10),
        "kid": KernelDistance(InceptionExtractor(str(weights)), **options),
    }
    choices = np.random.RandomState(2020)
    drawn = [[torch.from_numpy(choices.choice(24, 10, replace=False)) for _ in sides] for _ in range(5)]
    monkeypatch.setattr(KernelDistance, "subset", lambda self, i, side, n: drawn[i][side == "fake"])
    scoring = Evaluator(metrics, batch=8, cache=StatisticsCache(tmp_path))
    ours = scoring.compare(*(ArraySource(x, None, name) for name, x in sides.items())).scores

    class Set(torch.utils.data.Dataset):
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, i):
            return self.images[i]

    theirs = torch_fidelity.calculate_metrics(
        **{"input1": Set(noise), "input2": Set(smooth), "fid": True, "kid": True, "isc": False, "cuda": False},
        **{"feature_extractor_weights_path": str(weights), "batch_size": 8, "verbose": False, "cache": False},
        **{"kid_subsets": 5, "kid_subset_size": 10, "rng_seed": 2020, "save_cpu_ram": True},
    )
    score = torch_fidelity.calculate_metrics(
        **{"input1": Set(smooth), "isc": True, "cuda": False, "feature_extractor_weights_path": str(weights)},
        **{"batch_size": 8, "verbose": False, "cache": False, "isc_splits": 10, "samples_shuffle": False},
        save_cpu_ram=True,
    )
    assert ours["eval/fid"] == pytest.approx(theirs[KEY_METRIC_FID], rel=1e-4)
    assert ours["eval/kid"] == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-4)
    assert ours["eval/kid_std"] == pytest.approx(theirs[KEY_METRIC_KID_STD], rel=1e-4)
    assert ours["eval/isc"] == pytest.approx(score[KEY_METRIC_ISC_MEAN], rel=1e-4)
    assert ours["eval/isc_std"] == pytest.approx(score[KEY_METRIC_ISC_STD], rel=1e-4, abs=1e-7)

    # torchmetrics resizes with a filter of its own unless told not to
    stock = FrechetInceptionDistance(2048, antialias=False, feature_extractor_weights_path=str(weights))
    for name, images in sides.items():
        for batch in images.split(8):
            stock.update(batch, real=name == "real")
    assert ours["eval/fid"] == pytest.approx(float(stock.compute()), rel=1e-4)
    stock_kid = KernelInceptionDistance(feature=stock.inception, **options)
    for name, images in sides.items():
        for batch in images.split(8):
            stock_kid.update(batch, real=name == "real")
    order = iter([part for pair in drawn for part in pair])
    monkeypatch.setattr(torch, "randperm", lambda n: next(order))
    assert ours["eval/kid"] == pytest.approx(float(stock_kid.compute()[0]), rel=1e-4)


def random_inception(path):
    """A file of random weights in torch-fidelity's format, with features of the size that the real ones have."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.save({}, path)
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(path))
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, generator=torch.Generator().manual_seed(layer.in_channels))
    torch.save(network.state_dict(), path)
    return path
