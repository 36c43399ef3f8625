"""Extractors: the committed classifiers, and Inception from a file of random weights in torch-fidelity's format."""

import io
import pickle

import pytest
import torch
from safetensors.torch import save_file

from saddle.errors import InputError
from saddle.metrics import classifier as own
from saddle.metrics.features import ClassifierExtractor, InceptionExtractor


def images(n: int, channels: int = 1, size: int = 32) -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=draws)


@pytest.mark.parametrize("name", ["fashion_mnist", "digits"])
def test_committed_classifiers(name):
    extractor = ClassifierExtractor(name)
    outputs = extractor(images(6))
    assert outputs.features.shape == (6, extractor.features) and outputs.features.dtype == torch.float32
    assert outputs.logits.shape == (6, extractor.classes) == (6, 10)
    assert bool((outputs.features >= 0).all())
    metadata = own.read_metadata(own.WEIGHTS / f"{name}.safetensors")
    assert metadata["command"] == f"python -m saddle.metrics.train_classifier data={name}"
    assert len(metadata["data"]) == 64
    assert float(metadata["accuracy"]) >= {"fashion_mnist": 0.92, "digits": 0.97}[name]
    assert (own.WEIGHTS / f"{name}.safetensors").stat().st_size < 1e6


def test_folded_network_equals_the_plain_one():
    folded = ClassifierExtractor("fashion_mnist")(images(5))
    plain = own.load(own.WEIGHTS / "fashion_mnist.safetensors")
    features, logits = plain(own.prepare_images(images(5), 1))
    torch.testing.assert_close(folded.features, features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(folded.logits, logits, rtol=1e-4, atol=1e-4)


def test_bfloat16_says_how_far_it_is_from_float32(capsys):
    exact, fast = ClassifierExtractor("fashion_mnist"), ClassifierExtractor("fashion_mnist", bf16=True)
    first, second = exact(images(5)).features, fast(images(5)).features
    measured = float((second - first).norm() / first.norm())
    assert 0 < measured < 0.05 and second.dtype == torch.float32
    assert fast.deviation == pytest.approx(measured, rel=1e-5) and exact.deviation is None
    assert capsys.readouterr().out == (
        f"fashion_mnist in bfloat16: features deviate by {measured:.2%} from float32 on the first 5 images\n"
    )
    fast(images(5))
    assert capsys.readouterr().out == ""
    assert fast.key != exact.key and fast.fingerprint != exact.fingerprint
    assert fast.describe()["precision"] == "bfloat16" and float(fast.describe()["deviation"]) > 0
    assert "deviation" not in exact.describe() and len(exact.describe()["weights"]) == 64


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (torch.full((2, 1, 8, 8), 0.5), "images: float32 pixels; scores need uint8 from 0 to 255"),
        (torch.full((2, 1, 8, 8), 300.0), "float32 pixels"),
        (torch.full((2, 1, 8, 8), float("nan")), "NaN pixels"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), "int64 pixels"),
        (torch.zeros(2, 2, 8, 8, dtype=torch.uint8), r"shape is \[2, 2, 8, 8\]"),
        (torch.zeros(2, 8, 8, dtype=torch.uint8), r"shape is \[2, 8, 8\]"),
    ],
)
def test_wrong_pixels_are_refused(pixels, says):
    with pytest.raises(InputError, match=says):
        ClassifierExtractor("digits")(pixels)


def test_floats_are_seen_unrounded():
    extractor = ClassifierExtractor("digits")
    whole = extractor(images(3)).features
    torch.testing.assert_close(extractor.outputs(images(3).float()).features, whole)
    assert not torch.equal(extractor.outputs(images(3).float() + 0.3).features, whole)


def test_an_image_does_not_depend_on_its_company():
    extractor = ClassifierExtractor("digits")
    whole, alone = extractor(images(5)), extractor(images(5)[2:3])
    torch.testing.assert_close(whole.features[2:3], alone.features, rtol=1e-4, atol=1e-5)


def test_colour_and_other_resolutions():
    grey = torch.full((2, 1, 32, 32), 100, dtype=torch.uint8)
    for same in (grey.expand(-1, 3, -1, -1), torch.full((2, 1, 64, 64), 100, dtype=torch.uint8)):
        torch.testing.assert_close(own.prepare_images(same, 1), own.prepare_images(grey, 1), atol=1e-5, rtol=0)
    assert own.prepare_images(grey, 3).shape == (2, 3, 32, 32)
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert float(own.prepare_images(red, 1).mean()) == pytest.approx(0.299 * 2 - 1, abs=1e-5)


def test_unknown_classifiers_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="metrics=fid"):
        ClassifierExtractor(None)
    with pytest.raises(InputError, match="digits, fashion_mnist"):
        ClassifierExtractor("nothing")
    with pytest.raises(InputError, match="not a path"):
        ClassifierExtractor("../x")
    with pytest.raises(InputError, match="not trained yet"):
        ClassifierExtractor("mnist", 10)(images(1))


@pytest.mark.parametrize("damage", ["short", "foreign", "nan"])
def test_damaged_classifiers_are_refused(monkeypatch, tmp_path, damage):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    path = tmp_path / "classifiers" / "some.safetensors"
    model = own.Classifier(1, 3).eval()
    if damage == "nan":
        model.output.bias.data[0] = float("nan")
    own.save(model, path, {})
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "foreign":
        save_file({"x": torch.zeros(1)}, path, metadata={"channels": "1", "classes": "3"})
    with pytest.raises(InputError, match="some.safetensors"):
        ClassifierExtractor("some")(images(2))


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        empty = tmp_path_factory.mktemp("inception") / "weights.pth"
        torch.save({}, empty)
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(empty))
    torch.save(network.state_dict(), empty)
    return empty


def test_inception_equals_torch_fidelity(inception_weights):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    names = ["2048", "logits_unbiased"]
    theirs = FeatureExtractorInceptionV3("x", names, feature_extractor_weights_path=str(inception_weights))
    ours = InceptionExtractor(str(inception_weights))
    outputs = ours(images(1))
    features, logits = theirs(images(1).repeat(1, 3, 1, 1))
    torch.testing.assert_close(outputs.features, features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs.logits, logits, rtol=1e-4, atol=1e-5)
    assert ours.fingerprint == InceptionExtractor(str(inception_weights)).fingerprint


def test_inception_of_clean_images_equals_torch_fidelitys_layers_on_them(inception_weights, monkeypatch):
    """torch-fidelity's own forward pass, with PIL's resizing put in the place of its own."""
    import numpy as np
    from PIL import Image
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    def resized(x, size, align_corners):
        shrunk = [[Image.fromarray(c, mode="F").resize(size, Image.Resampling.BICUBIC) for c in i] for i in x.numpy()]
        return torch.from_numpy(np.array([[np.asarray(c).clip(0, 255) for c in i] for i in shrunk]))

    monkeypatch.setattr(theirs, "interpolate_bilinear_2d_like_tensorflow1x", resized)
    network = theirs.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(inception_weights))
    (expected,) = network(images(1, 3))
    clean, legacy = (InceptionExtractor(str(inception_weights), resizer) for resizer in ("clean", "legacy"))
    torch.testing.assert_close(clean(images(1, 3)).features, expected, rtol=1e-3, atol=1e-4)
    assert clean.key != legacy.key and clean.fingerprint != legacy.fingerprint
    assert clean.describe()["resizer"] == "clean"
    with pytest.raises(InputError, match="resizer=best: choose one of legacy, clean"):
        InceptionExtractor(str(inception_weights), "best")


def test_damaged_inception_weights_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    with pytest.raises(InputError, match="there are no Inception weights"):
        InceptionExtractor(str(tmp_path / "missing.pth"))
    path = tmp_path / "weights.pth"
    buffer = io.BytesIO()
    torch.save({"x": torch.zeros(1)}, buffer)
    for content in (b"", b"junk", buffer.getvalue(), pickle.dumps(Evil())):
        path.write_bytes(content)
        with pytest.raises(InputError, match="weights.pth is damaged"):
            InceptionExtractor(str(path))(images(1))
    assert not (tmp_path / "ran").exists()


def test_failed_download_says_where_the_file_goes(monkeypatch, tmp_path):
    def fail(url, *args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(InputError, match=f"no network.*https://.*{tmp_path}.*metrics=frechet"):
        InceptionExtractor().prepare()
