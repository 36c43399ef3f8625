"""Metrics of whole sets in the evaluator: one process and two, uneven shares, the cache, the test split."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from saddle.errors import InputError
from saddle.metrics.cache import StatisticsCache
from saddle.metrics.evaluator import Evaluator
from saddle.metrics.features import FeatureExtractor, FeatureOutputs
from saddle.metrics.fid_infinity import FrechetInfinity
from saddle.metrics.frechet import FrechetDistance
from saddle.metrics.intra import IntraFrechet
from saddle.metrics.kid import KernelDistance
from saddle.metrics.memorisation import CopyTest
from saddle.metrics.neighbours import DensityCoverage, PrecisionRecall
from saddle.metrics.prd import PrecisionRecallCurve
from saddle.metrics.sources import ArraySource
from saddle.metrics.swd import SlicedWasserstein


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
        return FeatureOutputs(flat, flat)


def array(seed: int, n: int) -> ArraySource:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 16, 16), dtype=torch.uint8, generator=draws)
    return ArraySource(images, torch.arange(n) % 2, "x")


def metrics() -> dict:
    return {
        "kid": KernelDistance(Means(), subsets=5, subset_size=20),
        "precision_recall": PrecisionRecall(Means()),
        "density_coverage": DensityCoverage(Means()),
        "prd": PrecisionRecallCurve(Means(), clusters=4, runs=2),
        "frechet": FrechetDistance(Means()),
        "fid_infinity": FrechetInfinity(Means(), points=4, smallest=12),
        "intra_fid": IntraFrechet(Means()),
        "swd": SlicedWasserstein(images=31, patches=4, projections=8),
        "ct": CopyTest(Means(), cells=2, least=3),
    }


NAMES = {
    *("kid", "kid_std", "precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8", "frechet"),
    *("fid_infinity", "fid_infinity_slope", "intra_fid", "swd", "swd_16", "ct", "ct_cells"),
}


def compare(folder: Path, batch: int):
    scoring = Evaluator(metrics(), batch=batch, cache=StatisticsCache(folder))
    return scoring.compare(array(0, 50), array(1, 33), test=array(2, 29))


def process(rank: int, folder: Path) -> None:
    """One of two processes: this file is its script."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for batch in (7, 100):  # with 100 the first process gets no image at all
        for i in range(2):  # the second time from the cache
            found = compare(folder / f"cache{batch}", batch)
            torch.save((found.scores, found.vectors), folder / f"{batch}_{i}_{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_scores_of_one(tmp_path):
    one = compare(tmp_path / "one", 7)
    assert set(one.scores) == {f"eval/{name}" for name in NAMES}
    assert set(one.vectors) == {"eval/prd_precision", "eval/prd_recall", "eval/intra_fid_classes"}
    commands = [[sys.executable, __file__, str(rank), str(tmp_path)] for rank in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    assert [child.wait(timeout=300) for child in processes] == [0, 0]
    for file in tmp_path.glob("*.pt"):
        scalars, vectors = torch.load(file)
        assert scalars == pytest.approx(one.scores, rel=1e-6, abs=1e-9), file
        for name, values in vectors.items():
            assert values == pytest.approx(one.vectors[name], rel=1e-6, abs=1e-9), file
    assert len(list(tmp_path.glob("*.pt"))) == 8


def test_the_second_evaluation_reads_the_cache_and_a_reset_forgets(tmp_path):
    Means.seen = 0
    first = compare(tmp_path, 10)
    assert Means.seen == 50 + 29 + 33
    Means.seen = 0
    assert compare(tmp_path, 10) == first
    assert Means.seen == 33
    # features, with labels, with two kinds of radii; sums; pixels; the test set's features
    assert len(list(tmp_path.iterdir())) == 7
    scoring = Evaluator(metrics(), batch=10, cache=StatisticsCache(tmp_path))
    again = [scoring.compare(array(0, 50), array(1, 33), test=array(2, 29)) for _ in range(2)]
    assert again == [first, first]
    assert scoring.compare(array(3, 50), array(1, 33), test=array(2, 29)).scores["eval/kid"] != first.scores["eval/kid"]


def test_radii_in_the_cache_are_used(tmp_path, monkeypatch):
    from saddle.metrics import neighbours

    scoring = Evaluator({"d": DensityCoverage(Means())}, cache=StatisticsCache(tmp_path))
    first = scoring.compare(array(0, 50), array(1, 33))
    monkeypatch.setattr(neighbours, "radii", lambda *_: pytest.fail("computed again"))
    assert scoring.compare(array(0, 50), array(1, 33)) == first


@pytest.mark.parametrize("name", ["kid", "precision_recall", "prd", "fid_infinity", "intra_fid", "swd", "ct"])
def test_order_and_size_of_the_batches_do_not_matter(name, tmp_path):
    """Rows that arrive in another order: the set is put together by their positions."""
    from saddle.randomness import Rows

    real, fake, test = array(0, 50), array(1, 33), array(2, 29)
    values = []
    for order in (1, -1):
        metric = metrics()[name]
        for source, side in ((real, True), (fake, False)):
            for start in range(0, len(source), 8)[::order]:
                rows = Rows(start, min(start + 8, len(source)), len(source))
                images, labels = source.read(rows.start, rows.stop)
                metric.update(images, real=side, labels=labels, rows=rows)
        if "test" in metric.sides:
            metric.update(test.images, real=True, test=True)
        found = metric.compute()
        values.append({key: x.double().flatten().tolist() for key, x in found.items()})
    for key in values[0]:
        assert values[0][key] == pytest.approx(values[1][key], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in metrics() if name != "frechet"])
def test_one_image_is_refused(name):
    metric = metrics()[name]
    metric.update(array(0, 50).images, real=True, labels=torch.zeros(50, dtype=torch.int64))
    metric.update(array(0, 1).images, real=False, labels=torch.zeros(1, dtype=torch.int64))
    with pytest.raises(InputError, match="1 fake images"):
        metric.compute()


def test_missing_test_set_and_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match="ct: needs a test set"):
        Evaluator({"ct": CopyTest(Means())}, cache=StatisticsCache(tmp_path)).compare(array(0, 50), array(1, 33))
    unlabelled = ArraySource(array(1, 33).images, None, "x")
    with pytest.raises(InputError, match="needs a label of every fake image"):
        Evaluator({"i": IntraFrechet(Means())}, cache=StatisticsCache(tmp_path)).compare(array(0, 50), unlabelled)


if __name__ == "__main__":
    process(int(sys.argv[1]), Path(sys.argv[2]))
