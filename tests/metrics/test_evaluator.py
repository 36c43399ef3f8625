"""The evaluator: shared features, processes, the cache, stock metrics, refusals."""

import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchmetrics import MetricCollection
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore

from saddle.errors import InputError
from saddle.metrics.cache import StatisticsCache
from saddle.metrics.evaluator import Evaluator, blocks
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.metrics.frechet import FrechetDistance
from saddle.metrics.kid import KernelDistance
from saddle.metrics.scores import ClassHistogram, ClassifierScore
from saddle.metrics.sources import ArraySource, FolderSource, ModelSource
from saddle.run.build import build_metrics


class Means(FeatureExtractor):
    """Features are the means of the four quarters; counts the images it sees."""

    name, features, classes = "means", 4, 4
    key = fingerprint = "means"
    seen = 0

    def load(self):
        return torch.nn.AdaptiveAvgPool2d(2)

    def extract(self, network, images):
        Means.seen += len(images)
        flat = network(images.float().mean(1, keepdim=True)).flatten(1)
        return FeatureOutputs(flat, flat / 20)


class Model:
    """Sample i is noise of its own generator; even samples are asked for class 0, odd ones for class 1."""

    conditional, device, classes = True, torch.device("cpu"), 2

    def sample(self, start, stop, *, seed, ema, truncation):
        draws = (
            torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(seed * 997 + i)) for i in range(start, stop)
        )
        return torch.stack(list(draws)) * 2 - 1, torch.arange(start, stop) % 2


def array(seed: int, n: int, channels: int = 1) -> ArraySource:
    draws = torch.Generator().manual_seed(seed)
    return ArraySource(torch.randint(0, 256, (n, channels, 8, 8), dtype=torch.uint8, generator=draws), None, "x")


def metrics() -> dict:
    return {
        "frechet": FrechetDistance(Means()),
        "classifier_score": ClassifierScore(Means(), splits=2),
        "class_histogram": ClassHistogram(Means()),
    }


def evaluator(tmp_path, chosen=None, **options) -> Evaluator:
    return Evaluator(metrics() if chosen is None else chosen, cache=StatisticsCache(tmp_path), **options)


def test_scores_and_names(tmp_path):
    found = evaluator(tmp_path, samples=30, batch=8).compare(array(0, 50), ModelSource(Model(), 30))
    assert set(found.scores) == {
        "eval/frechet",
        "eval/classifier_score",
        "eval/classifier_score_std",
        "eval/classifier_score_real",
        "eval/class_share_min",
        "eval/class_share_max",
        "eval/classes",
        "eval/classes_real",
        "eval/label_accuracy",
    }
    assert (found.n_real, found.n_fake) == (50, 30)
    assert found.extractors == {"means": {"fingerprint": "means", "precision": "float32"}}
    assert len(found.vectors["eval/class_shares"]) == 4
    alone = FrechetDistance(Means())
    alone.update(array(0, 50).images, real=True)
    alone.update(ModelSource(Model(), 30).read(0, 30)[0], real=False)
    assert found.scores["eval/frechet"] == pytest.approx(float(alone.compute()), rel=1e-9)


def test_each_image_is_extracted_once_and_real_ones_only_at_first(tmp_path):
    for expected in (50 + 30, 30):
        Means.seen = 0
        first = evaluator(tmp_path, batch=8).compare(array(0, 50), array(1, 30))
        assert Means.seen == expected
    assert first == evaluator(tmp_path, batch=8).compare(array(0, 50), array(1, 30))
    Means.seen = 0
    evaluator(tmp_path, batch=8).compare(array(2, 50), array(1, 30))  # other real images
    assert Means.seen == 80


def test_real_images_of_a_folder_are_extracted_only_at_first(tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    for i, image in enumerate(array(0, 12).images[:, 0].numpy()):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    for expected in (12 + 30, 30):
        Means.seen = 0
        found = evaluator(tmp_path / "cache").compare(FolderSource(folder), array(1, 30))
        assert Means.seen == expected
    assert found == evaluator(tmp_path / "other").compare(array(0, 12), array(1, 30))
    Image.fromarray(array(9, 1).images[0, 0].numpy()).save(folder / "03.png")  # one file changes
    Means.seen = 0
    evaluator(tmp_path / "cache").compare(FolderSource(folder), array(1, 30))
    assert Means.seen == 42


def test_damaged_cache_is_computed_again(tmp_path, capsys):
    first = evaluator(tmp_path).compare(array(0, 50), array(1, 30))
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    assert evaluator(tmp_path).compare(array(0, 50), array(1, 30)) == first
    assert capsys.readouterr().err.count("are damaged") == 3


def test_progress_is_told_of_every_batch(tmp_path):
    told = []
    scoring = evaluator(tmp_path, batch=20, progress=lambda *each: told.append(each))
    scoring.compare(array(0, 50), array(1, 30))
    images = [each for each in told if each[0] == "x"]
    assert images == [("x", 20, 50), ("x", 40, 50), ("x", 50, 50), ("x", 20, 30), ("x", 30, 30)]
    for what in ("statistics of x", "the scores"):  # which of the three metrics is at work
        assert [each for each in told if each[0] == what] == [(what, i, 3) for i in (0, 1, 1, 2, 2, 3)]


def test_extractors_of_one_name_are_told_apart(tmp_path):
    class Other(Means):
        key = fingerprint = "others"

    found = evaluator(tmp_path, {"a": FrechetDistance(Means()), "b": FrechetDistance(Other())})
    extractors = found.compare(array(0, 50), array(1, 30)).extractors
    assert {name: told["fingerprint"] for name, told in extractors.items()} == {"means": "means", "others": "others"}


@pytest.mark.parametrize(("total", "batch", "world"), [(10, 3, 1), (10, 3, 2), (101, 10, 3), (4, 10, 3), (12, 4, 3)])
def test_blocks_cover_everything_in_order(total, batch, world):
    parts = [rows for rank in range(world) for rows in blocks(total, batch, rank, world)]
    assert [i for rows in parts for i in range(rows.start, rows.stop)] == list(range(total))
    assert parts == list(blocks(total, batch, 0, 1))  # the batches are those of one process


def process(rank: int, folder: Path) -> None:
    """One of two processes: this file is its script."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for i in range(2):  # the second time from the cache
        found = evaluator(folder / "cache", batch=7).compare(array(0, 50), ModelSource(Model(), 33))
        if rank == 0:
            torch.save(found.scores, folder / f"{i}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_scores_of_one(tmp_path):
    one = evaluator(tmp_path / "one", batch=7).compare(array(0, 50), ModelSource(Model(), 33)).scores
    commands = [[sys.executable, __file__, str(rank), str(tmp_path)] for rank in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    assert [child.wait(timeout=240) for child in processes] == [0, 0]
    for i in range(2):
        assert torch.load(tmp_path / f"{i}.pt") == pytest.approx(one, rel=1e-9, abs=1e-9)


class Grey(torch.nn.Module):
    num_features = 4

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), 2).flatten(1)


def test_stock_metrics_work_unchanged(tmp_path):
    stock = FrechetInceptionDistance(feature=Grey())
    chosen = {"stock": stock, "kept": FrechetInceptionDistance(feature=Grey(), reset_real_features=False)}
    chosen["score"] = InceptionScore(feature=Grey(), splits=2)
    scoring = evaluator(tmp_path, {**chosen, "own": FrechetDistance(Means())}, batch=8)
    for _ in range(2):
        found = scoring.compare(array(0, 50), array(1, 30)).scores
        assert found["eval/stock"] == pytest.approx(found["eval/own"], rel=1e-3)
        assert found["eval/kept"] == pytest.approx(found["eval/own"], rel=1e-3)
        assert {"eval/score", "eval/score_std"} <= set(found)
    with pytest.raises(InputError, match="reset_real_features"):
        scoring.compare(array(2, 50), array(1, 30))


def test_a_stock_metric_from_a_yaml(tmp_path):
    """As docs/adding.md says: a node of torchmetrics' own class, with its own options."""
    node = {
        "_target_": "torchmetrics.image.kid.KernelInceptionDistance",
        "feature": {"_target_": f"{__name__}.Grey"},
        "subsets": 4,
        "subset_size": 20,
    }
    found = evaluator(tmp_path, build_metrics({"stock_kid": node})).compare(array(0, 50), array(1, 30))
    assert set(found.scores) == {"eval/stock_kid", "eval/stock_kid_std"}
    assert all(map(math.isfinite, found.scores.values()))


def test_own_metrics_are_plain_torchmetrics_outside(tmp_path):
    """Alone, in a MetricCollection, cloned, pickled and by forward: the values of the evaluator."""
    real, fake = array(0, 50).images, array(1, 30).images
    expected = evaluator(tmp_path, batch=50).compare(array(0, 50), array(1, 30)).scores
    collection = MetricCollection({"frechet": FrechetDistance(Means()), "kid": KernelDistance(Means(), 3, 20)})
    for again in (collection, pickle.loads(pickle.dumps(collection.clone()))):
        again.update(real, real=True)
        for batch in fake.split(11):
            again.update(batch, real=False)
        found = again.compute()
        assert float(found["frechet"]) == pytest.approx(expected["eval/frechet"], rel=1e-9)
        again.reset()
        with pytest.raises(InputError, match="0 real images"), pytest.warns(UserWarning, match="compute"):
            again["frechet"].compute()
    score = ClassifierScore(Means())
    parts = [float(score(batch, real=False)[""]) for batch in fake.split(15)]  # forward: of each batch, and of all
    alone = ClassifierScore(Means())
    alone.update(fake, real=False)
    assert len(set(parts)) == 2 and float(score.compute()[""]) == pytest.approx(float(alone.compute()[""]), rel=1e-12)


def test_no_metrics_no_work(tmp_path):
    assert evaluator(tmp_path, {}).compare(array(0, 50), array(1, 30)).scores == {}


def test_wrong_input(tmp_path):
    with pytest.raises(InputError, match="evaluation.samples=1"):
        evaluator(tmp_path, samples=1)
    with pytest.raises(InputError, match="1 images"):
        evaluator(tmp_path).compare(array(0, 50), array(1, 1))
    with pytest.raises(InputError, match=r"\[1, 8, 8\].*\[3, 8, 8\]"):
        evaluator(tmp_path).compare(array(0, 50), array(1, 9, channels=3))


def test_samples_that_are_not_finite_are_refused(tmp_path):
    class Broken(Model):
        def sample(self, start, stop, **options):
            return torch.full((stop - start, 1, 8, 8), float("nan")), torch.zeros(stop - start, dtype=torch.int64)

    with pytest.raises(InputError, match="not finite"):
        evaluator(tmp_path).compare(array(0, 50), ModelSource(Broken(), 10))


if __name__ == "__main__":
    process(int(sys.argv[1]), Path(sys.argv[2]))
