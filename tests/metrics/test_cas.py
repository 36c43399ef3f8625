"""The classification accuracy score: known values, the seed, processes, the evaluator, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from saddle.errors import InputError
from saddle.metrics.cache import StatisticsCache
from saddle.metrics.cas import ClassificationAccuracy
from saddle.metrics.evaluator import Evaluator
from saddle.metrics.sources import ArraySource

SHADES = (40, 200)


def shades(seed: int, n: int, wrong: float = 0.0, size: int = 32) -> ArraySource:
    """Dark images are class 0 and bright ones class 1; of a share, the label is the other one."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    noise = torch.randint(-30, 31, (n, 1, size, size), generator=draws)
    images = torch.tensor(SHADES)[labels].view(n, 1, 1, 1) + noise
    flipped = torch.arange(n) < wrong * n
    return ArraySource(images.to(torch.uint8), torch.where(flipped, 1 - labels, labels), "x")


def compare(folder: Path, fake: ArraySource, batch: int = 10, **options):
    metric = ClassificationAccuracy(**{"steps": 12, "shift": 0, **options})
    scoring = Evaluator({"cas": metric}, batch=batch, cache=StatisticsCache(folder))
    return scoring.compare(shades(0, 48), fake, test=shades(1, 30)).scores


def test_labels_that_are_right_and_labels_that_are_wrong(tmp_path):
    right = compare(tmp_path, shades(2, 40))
    assert right == {"eval/cas": 1.0, "eval/cas_real": 1.0, "eval/gan_test": 1.0}
    wrong = compare(tmp_path, shades(2, 40, wrong=1.0), batch=7)
    assert wrong == {"eval/cas": 0.0, "eval/cas_real": 1.0, "eval/gan_test": 0.0}
    quarter = compare(tmp_path, shades(2, 40, wrong=0.25))
    assert quarter["eval/gan_test"] == 0.75  # counted: a quarter of the fakes is not what it was asked to be


def test_the_reverse_does_not_see_that_images_repeat_and_can_be_left_out(tmp_path):
    one_each = shades(2, 2)
    repeated = ArraySource(one_each.images.repeat(20, 1, 1, 1), one_each.labels.repeat(20), "x")
    assert compare(tmp_path, repeated)["eval/gan_test"] == 1.0
    assert set(compare(tmp_path, shades(2, 40), reverse=False)) == {"eval/cas"}


def test_other_sizes_are_resized(tmp_path):
    metric = ClassificationAccuracy(steps=12, shift=0)
    scoring = Evaluator({"cas": metric}, cache=StatisticsCache(tmp_path))
    found = scoring.compare(shades(0, 40, size=8), shades(2, 40, size=8), test=shades(1, 30, size=8))
    assert found.scores["eval/cas"] == 1.0


def noise(seed: int, n: int) -> ArraySource:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 32, 32), dtype=torch.uint8, generator=draws)
    return ArraySource(images, torch.randint(0, 3, (n,), generator=draws), "x")


def hard(folder: Path, batch: int, seed: int = 0) -> dict[str, float]:
    """Accuracies that are near chance, so that any difference in training shows."""
    metric = ClassificationAccuracy(steps=6, seed=seed)
    scoring = Evaluator({"cas": metric}, batch=batch, cache=StatisticsCache(folder))
    return scoring.compare(noise(0, 61), noise(1, 43), test=noise(2, 57)).scores


def process(rank: int, folder: Path) -> None:
    """One of two processes: this file is its script."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for i in range(2):  # the second time from the cache
        torch.save(hard(folder / "cache", 7), folder / f"{rank}{i}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_and_any_batch_give_the_scores_of_one(tmp_path):
    commands = [[sys.executable, __file__, str(rank), str(tmp_path)] for rank in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    one = hard(tmp_path / "one", 9)
    torch.randn(5)  # torch's own generator plays no part
    assert hard(tmp_path / "two", 20) == one
    assert hard(tmp_path / "two", 20, seed=1) != one
    assert [child.wait(timeout=600) for child in processes] == [0, 0]
    assert all(torch.load(tmp_path / f"{name}.pt") == one for name in ("00", "01", "10", "11"))


def test_wrong_input(tmp_path):
    unlabelled = ArraySource(shades(2, 40).images, None, "x")
    with pytest.raises(InputError, match="needs a label of every fake image: choose a conditional model"):
        compare(tmp_path, unlabelled)
    with pytest.raises(InputError, match=r"fakes have the classes \[0\], the real images \[0, 1\]"):
        compare(tmp_path, ArraySource(shades(2, 40).images, torch.zeros(40, dtype=torch.int64), "x"))
    with pytest.raises(InputError, match="needs a test set"):
        Evaluator({"cas": ClassificationAccuracy()}, cache=StatisticsCache(tmp_path)).compare(
            shades(0, 48), shades(2, 40)
        )
    for options in ({"steps": 0}, {"shift": 5}):
        with pytest.raises(InputError, match="cas: steps"):
            ClassificationAccuracy(**options)


if __name__ == "__main__":
    process(int(sys.argv[1]), Path(sys.argv[2]))
