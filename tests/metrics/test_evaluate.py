"""The evaluate command without a run: two files in, a table and a JSON file out."""

import json

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from saddle.errors import InputError
from saddle.metrics.evaluate import build_metrics, evaluate


def options(**changes):
    names = ("run", "real", "fake", "truncation", "classifier", "out", "metrics")
    common = {"weights": "last", "ema": True, "seed": 0, "batch": 10, "n": 20}
    return OmegaConf.create({**dict.fromkeys(names), **common, **changes})


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 1), dtype=np.uint8)
    np.savez(tmp_path / "real.npz", images=pixels)
    (tmp_path / "fake").mkdir()
    for i, image in enumerate(pixels[:20] // 2):
        Image.fromarray(image[..., 0]).save(tmp_path / "fake" / f"{i}.png")
    return {"real": str(tmp_path / "real.npz"), "fake": str(tmp_path / "fake")}


def test_two_sets_of_images(files, tmp_path, capsys):
    report = evaluate(options(**files, out=str(tmp_path / "e.json")))
    written = json.loads((tmp_path / "e.json").read_text())
    assert written == report
    assert (written["n_real"], written["n_fake"]) == (30, 20)
    assert written["scores"]["eval/frechet"] > 0.1
    assert set(written["extractors"]) == {"fashion_mnist"}
    assert "frechet" in capsys.readouterr().out
    same = evaluate(options(real=files["real"], fake=files["real"], classifier="digits"))
    assert same["scores"]["eval/frechet"] < 1e-6


def test_chosen_metrics(files):
    extractor = {"_target_": "saddle.metrics.features.ClassifierExtractor", "name": None, "classes": None}
    nodes = {
        "classifier_score": {"_target_": "saddle.metrics.scores.ClassifierScore", "extractor": extractor},
        "class_histogram": {"_target_": "saddle.metrics.scores.ClassHistogram", "extractor": extractor},
    }
    report = evaluate(options(**files, metrics=nodes))
    assert {"eval/classifier_score", "eval/classes", "eval/class_share_min"} <= set(report["scores"])
    assert len(report["vectors"]["eval/class_shares"]) == 10
    with pytest.raises(InputError, match="metrics=fid"):
        build_metrics(nodes, None, 10)


def test_wrong_input(files):
    for changes, says in (
        ({}, "either run=DIR"),
        ({"run": "x", **files}, "either run=DIR"),
        ({"real": files["real"]}, "both"),
        ({**files, "classifier": "nothing"}, "there is no classifier nothing"),
        ({**files, "fake": "missing.npz"}, "no file or folder missing.npz"),
    ):
        with pytest.raises(InputError, match=says):
            evaluate(options(**changes))
