"""The evaluate command: files or a run in; a table, a JSON file, a curve and a picture of neighbours out."""

import json
import statistics

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from saddle.errors import InputError
from saddle.metrics.curve import axes_of, draw_curve
from saddle.metrics.evaluate import build_metrics, evaluate, sweep, with_classifier
from saddle.metrics.evaluator import Scores
from saddle.randomness import rows_normal

EXTRACTOR = {"_target_": "saddle.metrics.features.ClassifierExtractor", "name": None, "classes": None}
METRICS = {
    "frechet": {"_target_": "saddle.metrics.frechet.FrechetDistance", "extractor": EXTRACTOR},
    "precision_recall": {
        "_target_": "saddle.metrics.neighbours.PrecisionRecall",
        "facts": {"scores": ["precision", "recall"]},
        "extractor": EXTRACTOR,
    },
}


def options(**changes):
    names = ("run", "real", "fake", "truncation", "classifier", "out", "metrics", "seeds")
    common = {"weights": "last", "ema": True, "seed": 0, "batch": 10, "n": 20, "neighbours": 0}
    return OmegaConf.create({**dict.fromkeys(names), **common, "trust": [], **changes})


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
        ({**files, "classifier": "nothing"}, "there is no classifier nothing"),
        ({**files, "fake": "missing.npz"}, "no file or folder missing.npz"),
    ):
        with pytest.raises(InputError, match=says):
            evaluate(options(**changes))


def test_colour_images_are_not_compared_by_the_default_classifier(files, tmp_path):
    colour = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "colour.npz", images=colour)
    both = dict.fromkeys(("real", "fake"), str(tmp_path / "colour.npz"))
    with pytest.raises(InputError, match=r"colour images.*metrics=\[fid,inception_score\]"):
        evaluate(options(**both))
    assert evaluate(options(**both, classifier="digits"))["scores"]["eval/frechet"] < 1e-6
    assert evaluate(options(**both, metrics={"frechet": METRICS["frechet"]}))["scores"]["eval/frechet"] < 1e-6


def test_the_picture_of_neighbours_of_two_sets(files, tmp_path):
    report = evaluate(options(**files, neighbours=3, out=str(tmp_path / "e.json")))
    with Image.open(tmp_path / "neighbours.png") as picture:
        assert picture.size == (6 * 34 + 2, 3 * 34 + 2)
    distances = np.array(report["neighbours"]["distances"])
    assert distances.shape == (3, 5) and (np.diff(distances) >= 0).all()
    assert report["neighbours"]["extractor"] == "fashion_mnist"


class Model:
    """Sample i is one of the digits, and noise that grows with the truncation."""

    conditional, classes, iteration, device = False, 0, 7, torch.device("cpu")

    def __init__(self, digits):
        self.digits, self.asked = digits, []

    def sample(self, start, stop, *, seed, ema, truncation):
        self.asked.append((seed, ema, truncation))
        images = self.digits.__getitems__([i % 300 for i in range(start, stop)])[0].float() / 127.5 - 1
        noise = rows_normal(seed, "noise", start, stop, 1, 32, 32) * 0.5
        return images + noise * (2 if truncation is None else truncation), torch.zeros(stop - start).long()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder, whose model is the one above and whose data are the embedded digits."""
    from saddle.data.digits import Digits
    from saddle.run import build

    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path / "cache"))
    data = Digits(resolution=32, channels=1, classes=10, batch_size=4, flip=False, classifier="digits")
    data.setup()
    data.train_set.images, data.train_set.labels = data.train_set.images[:300], data.train_set.labels[:300]
    model = Model(data.train_set)
    config = OmegaConf.create({"metrics": METRICS, "data": {"classifier": "digits", "classes": 10}})
    monkeypatch.setattr(build, "load_run", lambda folder, weights, trust: (config, model))
    monkeypatch.setattr(build, "build_data", lambda config: data)
    return tmp_path / "run", model


def test_a_run(run):
    folder, model = run
    report = evaluate(options(run=str(folder), n=60, batch=50, ema=False, truncation=0.5, seed=4, neighbours=2))
    written = json.loads((folder / "evaluation.json").read_text())
    assert written == report
    about = {key: written[key] for key in ("run", "iteration", "split", "weights", "ema", "truncation", "seed")}
    assert about == {
        **{"run": str(folder), "iteration": 7, "split": "train", "weights": "last"},
        **{"ema": False, "truncation": 0.5, "seed": 4},
    }
    assert (written["n_real"], written["n_fake"]) == (300, 60)
    assert set(written["scores"]) == {"eval/frechet", "eval/precision", "eval/recall"}
    assert set(written["extractors"]["digits"]) == {"fingerprint", "weights", "precision"}
    assert set(model.asked) == {(4, False, 0.5)}
    assert (folder / "neighbours.png").exists() and len(written["neighbours"]["distances"]) == 2
    assert not (folder / "evaluation.png").exists()


def test_several_seeds_and_a_curve(run, capsys):
    folder, model = run
    report = evaluate(options(run=str(folder), n=60, batch=60, seeds=[0, 1, 5], truncation=[0.1, 1.0, None]))
    assert report["seed"] == [0, 1, 5] and report["truncation"] == [0.1, 1.0, None]
    assert [point["truncation"] for point in report["curve"]] == [0.1, 1.0, None]
    assert {asked[0] for asked in model.asked} == {0, 1, 5} and {asked[2] for asked in model.asked} == {0.1, 1.0, None}
    alone = [
        evaluate(options(run=str(folder), n=60, batch=60, seed=seed, truncation=1.0))["scores"]["eval/frechet"]
        for seed in (0, 1, 5)
    ]
    middle = report["curve"][1]
    assert middle["scores_by_seed"]["eval/frechet"] == pytest.approx(alone, rel=1e-9)
    assert middle["scores"]["eval/frechet"] == pytest.approx(statistics.fmean(alone), rel=1e-9)
    assert middle["scores_std"]["eval/frechet"] == pytest.approx(statistics.stdev(alone), rel=1e-9)
    frechets = [point["scores"]["eval/frechet"] for point in report["curve"]]
    assert frechets == sorted(frechets) and frechets[0] < frechets[2] / 5
    with Image.open(folder / "evaluation.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    assert "±" in capsys.readouterr().out


def test_scores_over_seeds_by_hand():
    def measure(seed, truncation):
        return Scores(10, 5, {"x": {}}, {"eval/a": seed**2 + (truncation or 0)}, {"eval/v": [1.0, 2.0]})

    alone = sweep(measure, 3, None)
    assert (alone["seed"], alone["truncation"], alone["scores"]) == (3, None, {"eval/a": 9})
    assert alone["vectors"] == {"eval/v": [1.0, 2.0]} and "scores_std" not in alone
    several = sweep(measure, [1, 3], 0.5)
    assert several["scores"] == {"eval/a": 5.5} and several["scores_std"] == {"eval/a": pytest.approx(32**0.5)}
    curve = sweep(measure, 2, [0.5, None])
    assert [point["scores"]["eval/a"] for point in curve["curve"]] == [4.5, 4]
    assert curve["n_real"] == 10 and "n_real" not in curve["curve"][0] and "scores" not in curve


def test_axes_and_a_curve_without_a_pair(tmp_path):
    assert axes_of({"eval/precision": 1, "eval/recall": 0, "eval/fid": 3}) == ("eval/recall", "eval/precision")
    assert axes_of({"eval/fid": 3, "eval/inception_score": 1}) == ("eval/inception_score", "eval/fid")
    assert axes_of({"eval/fid": 3}) is None
    draw_curve(tmp_path / "a" / "b.png", [{"truncation": t, "scores": {"eval/fid": 1 / t}} for t in (0.5, 1.0)])
    with Image.open(tmp_path / "a" / "b.png") as picture:
        assert picture.format == "PNG"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]


def test_two_metrics_of_one_name_are_refused(files):
    nodes = {"precision_recall": METRICS["precision_recall"], "other": {**METRICS["precision_recall"], "k": 5}}
    with pytest.raises(InputError, match="two of the chosen metrics log eval/precision"):
        evaluate(options(**files, metrics=nodes))


def test_nested_extractors_are_completed():
    distance = {"_target_": "saddle.metrics.ppl.FeatureDistance", "extractor": EXTRACTOR}
    node = {"_target_": "saddle.metrics.ppl.PerceptualPathLength", "distance": distance}
    assert build_metrics({"ppl": node}, "digits", 10)["ppl"].distance.extractor.name == "digits"


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("config.yaml", "ends in .json"),
        ("results.json", "has not written it"),
        ("a/b.json", "is no folder"),
        ("folder.json", "is a folder"),
        ("picture.json", "neighbours.png is there"),
    ],
)
def test_where_to_is_looked_at_before_anything_else(tmp_path, monkeypatch, out, says):
    """Nothing that another has made is replaced, and a place that cannot be written is found before scoring."""
    monkeypatch.setattr("saddle.run.build.load_run", lambda *a, **k: pytest.fail("work has begun"))
    (tmp_path / "folder.json").mkdir()
    for name in ("config.yaml", "results.json", "a", "neighbours.png"):
        (tmp_path / name).write_text('{"status": "done"}')
    with pytest.raises(InputError, match=says):
        evaluate(options(run=str(tmp_path), out=str(tmp_path / out), neighbours=3))
    assert (tmp_path / "config.yaml").read_text() == '{"status": "done"}'


def test_a_report_of_its_own_is_replaced(files, tmp_path):
    for _ in range(2):
        evaluate(options(**files, out=str(tmp_path / "e.json")))


def test_another_classifier_than_the_runs_takes_effect_or_is_refused():
    own = {"frechet": {**METRICS["frechet"], "extractor": {**EXTRACTOR, "name": "digits"}}}
    assert with_classifier(own, "fashion_mnist").frechet.extractor.name == "fashion_mnist"
    with pytest.raises(InputError, match="no classifier nope"):  # and none is trained under a name that was mistyped
        build_metrics(with_classifier(own, "nope"), "nope", None)
    with pytest.raises(InputError, match=r"classifier=digits: none of the run's metrics \(fid\) reads one"):
        with_classifier({"fid": {"_target_": "x.Y", "extractor": {"_target_": "x.Inception"}}}, "digits")
