"""BigGAN: published sizes, what conditions what, and gradients to every parameter."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from saddle.errors import InputError
from saddle.heads.labels import Projection
from saddle.networks.biggan import Generator, Trunk
from saddle.networks.blocks import SelfAttention

LATENTS = {32: 80, 64: 100, 128: 120, 256: 140, 512: 128}


def millions(*modules):
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


def pair(resolution, width, classes, **options):
    """Generator, trunk and head on the meta device."""
    with torch.device("meta"):
        generator = Generator(LATENTS[resolution], width, resolution, 3, classes, **options)
        trunk = Trunk(width, resolution, 3)
        return generator, trunk, Projection(trunk.features, classes, "spectral")


@pytest.mark.parametrize(
    ("width", "shared", "hierarchical", "published"),
    [(96, True, True, 158.3), (96, True, False, 160.6), (96, False, False, 173.5), (64, True, True, 71.3)]
    + [(64, False, False, 81.5)],
)
def test_parameters_of_the_published_ablation_at_128(width, shared, hierarchical, published):
    networks = pair(128, width, 1000, shared=shared, hierarchical=hierarchical)
    assert millions(*networks) == pytest.approx(published, abs=0.3)


def test_parameters_of_each_network():
    generator, *discriminator = pair(128, 96, 1000)
    assert millions(generator) == pytest.approx(70.4, abs=0.05)
    assert millions(*discriminator) == pytest.approx(88.0, abs=0.05)
    generator, *discriminator = pair(32, 96, 10)
    assert millions(generator) == pytest.approx(9.42, abs=0.005)
    assert millions(*discriminator) == pytest.approx(2.42, abs=0.005)


@pytest.mark.parametrize("resolution", LATENTS)
def test_shapes_and_sizes_on_the_way(resolution):
    generator, trunk, head = pair(resolution, 8, 10)
    sizes = {}
    for network, blocks in (("G", generator.blocks), ("D", trunk.blocks)):
        for block in blocks:
            block.register_forward_hook(lambda m, i, o, n=network: sizes.setdefault(n, []).append(o.shape[-1]))
    for name, network in (("G", generator), ("D", trunk)):
        network.attention.register_forward_hook(lambda m, i, o, n=name: sizes.update({n + " attention": o.shape[-1]}))
    labels = torch.zeros(2, dtype=torch.long, device="meta")
    images = generator(torch.randn(2, LATENTS[resolution], device="meta"), labels)
    assert images.shape == (2, 3, resolution, resolution)
    features = trunk(images)
    assert features.shape == (2, trunk.features)
    assert head(features, labels, images).shape == (2,)
    assert sizes["G"] == [8 * 2**i for i in range(len(sizes["G"]))]
    last = {32: [16, 8, 8, 8]}.get(resolution, [16, 8, 4, 4])
    assert sizes["D"][0] == resolution // 2 and sizes["D"][-4:] == last
    assert sizes["G attention"] == sizes["D attention"] == {32: 16, 64: 32}.get(resolution, 64)


def tiny(resolution=32, **options):
    torch.manual_seed(0)
    return Generator(LATENTS[resolution], 2, resolution, 1, 3, **options)


@pytest.mark.parametrize("resolution", [32, 64])
def test_real_images_have_the_right_range(resolution):
    generator, trunk = tiny(resolution), Trunk(2, resolution, 1)
    images = generator(torch.randn(3, LATENTS[resolution]) * 5, torch.tensor([0, 1, 2]))
    assert images.shape == (3, 1, resolution, resolution)
    assert images.abs().max() <= 1 and images.std() > 1e-3
    assert trunk(images).shape == (3, trunk.features)


def block_outputs(generator, latents, labels):
    outputs = []
    handles = [
        m.register_forward_hook(lambda m, i, o: outputs.append(o)) for m in (generator.linear, *generator.blocks)
    ]
    generator(latents, labels)
    for handle in handles:
        handle.remove()
    return outputs


@torch.no_grad()
@pytest.mark.parametrize("chunk", range(4))
def test_each_chunk_of_the_latent_enters_at_its_own_layer(chunk):
    generator = tiny().eval()
    latents, labels = torch.randn(2, 80), torch.tensor([0, 1])
    other = latents.clone()
    other[:, chunk * 20 : (chunk + 1) * 20] += 1
    pairs = zip(block_outputs(generator, latents, labels), block_outputs(generator, other, labels), strict=True)
    changed = [not torch.equal(a, b) for a, b in pairs]
    assert changed == [False] * chunk + [True] * (4 - chunk)


@torch.no_grad()
def test_without_hierarchy_the_whole_latent_enters_first():
    generator = tiny(hierarchical=False).eval()
    assert generator.linear.in_features == 80
    assert {block.norm1.gain.in_features for block in generator.blocks} == {128}


@torch.no_grad()
@pytest.mark.parametrize("shared", [True, False])
def test_labels_reach_every_block(shared):
    generator = tiny(shared=shared, hierarchical=shared).eval()
    if not shared:  # the tables of all classes start equal
        for block in generator.blocks:
            nn.init.normal_(block.norm1.gain)
    latents = torch.randn(2, 80)
    before = block_outputs(generator, latents, torch.tensor([0, 1]))
    after = block_outputs(generator, latents, torch.tensor([2, 1]))
    for index, (a, b) in enumerate(zip(before, after, strict=True)):
        assert torch.equal(a[0], b[0]) == (index == 0)
        assert torch.equal(a[1], b[1])  # the other sample keeps its label
    assert (generator.embedding is not None) == shared


def test_spectral_norm_on_every_weight_but_the_shared_embedding():
    for network in (tiny(), Trunk(2, 32, 1)):
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
                assert parametrize.is_parametrized(layer, "weight") == (name != "embedding"), name
    bare = (tiny(norm="none"), Trunk(2, 32, 1, norm="none"))
    assert not any(parametrize.is_parametrized(layer) for network in bare for layer in network.modules())


@pytest.mark.parametrize("options", [{}, {"hierarchical": False}, {"shared": False, "hierarchical": False}])
def test_gradients_reach_every_parameter_of_the_generator(options):
    # eval: under batch statistics the biases before a batch norm have no gradient by construction
    generator = tiny(**options).double().eval()
    nn.init.constant_(generator.attention.gamma, 0.5)  # at its start, 0, the rest of the attention gets none
    generator(torch.randn(6, 80, dtype=torch.double), torch.arange(6) % 3).square().sum().backward()
    missing = [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_attention_starts_closed_but_its_gate_learns():
    generator = tiny()
    generator(torch.randn(4, 80), torch.tensor([0, 1, 2, 0])).square().sum().backward()
    assert generator.attention.gamma.grad.item() != 0


def test_gradients_reach_every_parameter_of_the_discriminator():
    trunk = Trunk(4, 32, 1).double()
    nn.init.constant_(trunk.attention.gamma, 0.5)
    trunk(torch.randn(4, 1, 32, 32, dtype=torch.double)).square().sum().backward()
    assert [name for name, p in trunk.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("norm", ["spectral", "none", "layer", "instance", "batch"])
def test_independent_tells_whether_samples_influence_each_other(norm):
    torch.manual_seed(0)
    trunk = Trunk(2, 32, 1, norm=norm).double()
    images = torch.randn(4, 1, 32, 32, dtype=torch.double)
    together, alone = trunk(images)[:2], trunk(images[:2])
    assert trunk.independent == torch.allclose(together, alone, atol=1e-10)


def test_attention_can_be_left_out():
    for network in (tiny(attention=False), Trunk(2, 32, 1, attention=False)):
        assert not any(isinstance(module, SelfAttention) for module in network.modules())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 48}, "data.resolution=48.*32, 64, 128, 256, 512"),
        ({"classes": 0}, "needs data with labels"),
        ({"latent_dim": 90}, "model.latent_dim=90.*4 equal chunks.*try 88"),
        ({"shared": False}, "model.shared=true"),
    ],
)
def test_wrong_input(changes, message):
    arguments = {"latent_dim": 80, "width": 2, "resolution": 32, "channels": 1, "classes": 3} | changes
    with pytest.raises(InputError, match=message):
        Generator(**arguments)


def test_trunk_refuses_an_unsupported_resolution():
    with pytest.raises(InputError, match="data.resolution=28"):
        Trunk(2, 28, 1)
