"""The Frechet distance within classes."""

import pytest
import torch
from given import Given, normal, outputs

from saddle.errors import InputError
from saddle.metrics.frechet import frechet_of_features
from saddle.metrics.intra import IntraFrechet


def score(real, real_labels, fake, fake_labels, step: int = 30):
    metric = IntraFrechet(Given(3))
    for features, labels, is_real in ((real, real_labels, True), (fake, fake_labels, False)):
        for x, y in zip(features.split(step), labels.split(step), strict=True):
            metric.update(outputs(x), is_real, y)
    return metric.compute()


def test_is_the_mean_over_classes():
    real, fake = normal(0, 90, 3), normal(1, 70, 3) * 1.3
    real_labels, fake_labels = torch.arange(90) % 3, torch.arange(70) % 3
    found = score(real, real_labels, fake, fake_labels)
    expected = [float(frechet_of_features(real[c::3], fake[c::3])) for c in range(3)]
    assert found["_classes"].tolist() == pytest.approx(expected, rel=1e-12)
    assert float(found[""]) == pytest.approx(sum(expected) / 3)


def test_swapped_classes_are_noticed():
    """Class 1 is class 0 moved by 2 in three dimensions: swapped, each class is 12 away; without labels nothing is."""
    x = normal(2, 60, 3)
    both, labels = torch.cat([x, x + 2]), torch.arange(120) // 60
    assert float(score(both, labels, both, labels)[""]) == pytest.approx(0, abs=1e-6)
    assert float(score(both, labels, both, 1 - labels)[""]) == pytest.approx(12, rel=1e-5)
    assert float(frechet_of_features(both, both)) == pytest.approx(0, abs=1e-6)


def test_wrong_input():
    metric = IntraFrechet(Given(3))
    with pytest.raises(InputError, match="needs a label of every fake image"):
        metric.update(outputs(normal(0, 4, 3)), False)
    with pytest.raises(InputError, match="class 2 has 1 fake images"):
        score(normal(0, 9, 3), torch.arange(9) % 3, normal(1, 7, 3), torch.tensor([0, 0, 1, 1, 1, 1, 2]))
