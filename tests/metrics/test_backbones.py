"""Backbones beside Inception: torchvision's by name, weights files and their damage, the package transformers."""

import io
import pickle
import sys
import types

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from saddle.errors import InputError
from saddle.metrics.backbones import (
    CLIPExtractor,
    DINOv2Extractor,
    TorchvisionExtractor,
    last_linear,
)
from saddle.metrics.files import read_weights
from saddle.metrics.scores import ClassifierScore

NAME = "mobilenet_v3_small"


def images(n: int, channels: int = 3, size: int = 32) -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=draws)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.get_model(NAME, weights=None).eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "a.safetensors"
    save_file(network.state_dict(), path)
    return path


def test_features_and_logits_are_the_networks(network, weights):
    extractor = TorchvisionExtractor(NAME, str(weights), size=32)
    found = extractor(images(3))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images(3) / 255 - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    with torch.no_grad():
        hidden = network.classifier[:-1](network.avgpool(network.features(x)).flatten(1))
        logits = network.classifier[-1](hidden)
    torch.testing.assert_close(found.features, hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-5)
    assert (extractor.features, extractor.classes) == (hidden.shape[1], 1000)
    grey = extractor(images(3, channels=1)).features
    torch.testing.assert_close(grey, extractor(images(3, channels=1).expand(-1, 3, -1, -1)).features)


def test_sizes_are_known_without_weights_and_vgg_gives_fc2():
    for name, features in (("vgg16", 4096), ("resnet50", 2048)):
        extractor = TorchvisionExtractor(name)
        assert (extractor.features, extractor.classes) == (features, 1000)
    with torch.device("meta"):
        vgg = torchvision.models.vgg16()
    assert last_linear(vgg)[0] == "classifier.6"
    kinds = [type(layer) for layer in vgg.classifier]  # what fc3 reads is fc2 after its ReLU; dropout does nothing
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]


def test_weights_without_a_head(network, weights, tmp_path):
    """As SwAV's files are: everything under `module.`, no class layer, and a projection head."""
    last = last_linear(network)[0]
    state = {f"module.{name}": x for name, x in network.state_dict().items() if not name.startswith(f"{last}.")}
    torch.save({"state_dict": {**state, "module.projection_head.0.weight": torch.zeros(2)}}, tmp_path / "swav.pth")
    extractor = TorchvisionExtractor(NAME, str(tmp_path / "swav.pth"), head=False, size=32)
    found = extractor(images(2))
    whole = TorchvisionExtractor(NAME, str(weights), size=32)
    torch.testing.assert_close(found.features, whole(images(2)).features)
    assert found.logits.shape == (2, 0)
    with pytest.raises(InputError, match="sees no classes"):
        ClassifierScore(extractor)
    with pytest.raises(InputError, match=r"swav.pth do not fit mobilenet_v3_small \(classifier"):
        TorchvisionExtractor(NAME, str(tmp_path / "swav.pth"), size=32)(images(1))
    del state["module.features.0.0.weight"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(InputError, match=r"do not fit mobilenet_v3_small \(features.0.0.weight\)"):
        TorchvisionExtractor(NAME, str(tmp_path / "less.pth"), head=False, size=32)(images(1))


def test_fingerprints_tell_extractors_apart(weights, tmp_path):
    other = tmp_path / "b.safetensors"
    save_file({name: x * 2 if x.is_floating_point() else x for name, x in read_weights(weights).items()}, other)
    made = [
        TorchvisionExtractor(NAME, str(weights)),
        TorchvisionExtractor(NAME, str(other)),
        TorchvisionExtractor(NAME, str(weights), size=32),
        TorchvisionExtractor(NAME, str(weights), bf16=True),
    ]
    assert len({extractor.fingerprint for extractor in made}) == len({extractor.key for extractor in made}) == 4
    assert made[0].fingerprint == TorchvisionExtractor(NAME, str(weights)).fingerprint
    assert made[2].describe()["resizer"] == "clean 32"


def test_bad_names_and_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="torchvision has no classifier resnet49"):
        TorchvisionExtractor("resnet49")
    with pytest.raises(InputError, match="SqueezeNet does not end in a linear layer"):
        TorchvisionExtractor("squeezenet1_1")
    with pytest.raises(InputError, match=f"there are no {NAME} weights"):
        TorchvisionExtractor(NAME, str(tmp_path / "missing.pth"))
    with pytest.raises(InputError, match="head=true"):
        TorchvisionExtractor(NAME, head=False)

    def fail(url, *args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(InputError, match=f"no network.*https://.*{NAME}.*{tmp_path}"):
        TorchvisionExtractor(NAME).prepare()


def test_damaged_weights_are_refused_and_nothing_in_them_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    buffer = io.BytesIO()
    torch.save({"x": torch.zeros(1)}, buffer)
    cases = {"a.pth": b"", "b.pth": b"junk", "c.pth": buffer.getvalue()[:-20], "d.pth": pickle.dumps(Evil())}
    cases["e.safetensors"] = b"junk"
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is damaged"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    torch.save({"x": [1, 2]}, tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list\.pth is damaged"):
        read_weights(tmp_path / "list.pth")
    save_file({"x": torch.tensor([1.0, float("inf")])}, tmp_path / "inf.safetensors")
    with pytest.raises(InputError, match=r"inf\.safetensors are not finite"):
        read_weights(tmp_path / "inf.safetensors")


class Tokens(nn.Module):
    """Stands for a network of transformers: the embedding is a linear function of the channels' means."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 5)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pixel_values):
        embedding = self.linear(pixel_values.mean((2, 3)))
        return types.SimpleNamespace(pooler_output=embedding, image_embeds=2 * embedding)


@pytest.fixture
def transformers(monkeypatch):
    """A package of this name whose models are `Tokens`; the calls are listed."""
    calls = []

    class Model:
        @staticmethod
        def from_pretrained(model, use_safetensors):
            calls.append((model, use_safetensors))
            if model == "missing":
                raise OSError("no such\nmodel")
            return Tokens()

    module = types.ModuleType("transformers")
    module.__spec__ = types.SimpleNamespace()
    module.Dinov2Model = module.CLIPVisionModelWithProjection = Model
    monkeypatch.setitem(sys.modules, "transformers", module)
    return calls


@pytest.mark.parametrize(
    ("kind", "factor", "mean", "deviation"),
    [
        (DINOv2Extractor, 1, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (CLIPExtractor, 2, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ],
)
def test_transformers_see_normalised_images(transformers, kind, factor, mean, deviation):
    extractor = kind("folder", features=5)
    red = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 16, 16)
    expected = [factor * (x - m) / d for x, m, d in zip((1.0, 0.0, 0.2), mean, deviation, strict=True)]
    assert extractor(red).features[0].tolist() == pytest.approx([*expected, 0, 0], abs=1e-4)
    assert transformers == [("folder", True)]
    assert extractor.fingerprint == kind("folder", features=5).fingerprint
    assert extractor.describe()["model"] == "folder"
    with pytest.raises(InputError, match="sees no classes"):
        ClassifierScore(extractor)
    with pytest.raises(InputError, match="gives 5 features"):
        kind("folder", features=6)(red)
    with pytest.raises(InputError, match=r"the model missing cannot be had \(no such model\)"):
        kind("missing", features=5).prepare()


@pytest.mark.parametrize("kind", [DINOv2Extractor, CLIPExtractor])
def test_without_the_package_its_name_is_said(kind, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package transformers: pip install transformers"):
        kind("folder", features=5)


def test_a_real_dinov2_of_random_weights(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    torch.manual_seed(0)
    network = transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).eval()
    network.save_pretrained(tmp_path)
    found = DINOv2Extractor(str(tmp_path), features=16)(images(2)).features
    assert found.shape == (2, 16)
    # the class token after a layer norm without learned weights yet: mean 0 and variance 1
    torch.testing.assert_close(found.mean(1), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.var(1, correction=0), torch.ones(2), atol=1e-2, rtol=0)
