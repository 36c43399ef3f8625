"""BigGAN-deep: published sizes, blocks by hand, what conditions what."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from saddle.errors import InputError
from saddle.heads.labels import Projection
from saddle.networks.biggan_deep import DiscriminatorBlock, Generator, GeneratorBlock, Trunk


def near(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def millions(*modules):
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


def networks(resolution, width=128, classes=1000):
    with torch.device("meta"):
        generator, trunk = Generator(128, width, resolution, 3, classes), Trunk(width, resolution, 3)
        return generator, trunk, Projection(trunk.features, classes, "spectral")


SLOW = [pytest.param(resolution, marks=pytest.mark.slow) for resolution in (64, 512)]


@pytest.mark.parametrize("resolution", [32, 128, 256, *SLOW])
def test_shapes_and_sizes_on_the_way(resolution):
    generator, trunk, head = networks(resolution, 8, 10)
    seen = {"G": [], "D": []}
    for name, network in (("G", generator), ("D", trunk)):
        for block in network.blocks:
            block.register_forward_hook(lambda m, i, o, n=name: seen[n].append((o.shape[1] // 8, o.shape[2])))
        network.attention.register_forward_hook(lambda m, i, o, n=name: seen.update({n + " attends": o.shape[2]}))
    labels = torch.zeros(2, dtype=torch.long, device="meta")
    images = generator(torch.empty(2, 128, device="meta"), labels)
    assert images.shape == (2, 3, resolution, resolution)
    assert head(trunk(images), labels, images).shape == (2,)
    assert seen["G attends"] == seen["D attends"] == {32: 16, 64: 32}.get(resolution, 64)
    if resolution == 128:  # table 7
        # at width 128 and 1000 classes the paper's appendix B counts 50.4 M and 34.6 M (from memory)
        generator, trunk, head = networks(128)
        assert millions(generator) == pytest.approx(50.4, rel=0.01)
        assert millions(trunk, head) == pytest.approx(34.6, rel=0.01)
        assert seen["G"] == [
            *((16, 4), (16, 8), (16, 8), (8, 16), (8, 16), (4, 32), (4, 32), (2, 64), (2, 64), (1, 128))
        ]
        assert seen["D"] == [
            *((2, 64), (2, 64), (4, 32), (4, 32), (8, 16), (8, 16), (16, 8), (16, 8), (16, 4), (16, 4))
        ]
    if resolution == 256:  # table 8
        assert [c for c, _ in seen["G"]] == [16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1]
        assert [c for c, _ in seen["D"]] == [2, 2, 4, 4, 8, 8, 8, 8, 16, 16, 16, 16]


@pytest.mark.parametrize("grow", [False, True])
def test_generator_block_by_hand(grow):
    torch.manual_seed(0)
    block = GeneratorBlock(8, 6, 5, up=grow).double()
    x, condition = torch.randn(3, 8, 4, 4).double(), torch.randn(3, 5).double()

    def norm_relu(h, layer):
        h = F.batch_norm(h, None, None, training=True)
        gain, bias = 1 + condition @ layer.gain.weight.T, condition @ layer.bias.weight.T
        return (h * gain[..., None, None] + bias[..., None, None]).relu()

    def enlarge(h):
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3) if grow else h

    c = block.convolutions
    assert [tuple(k.weight.shape) for k in c] == [(2, 8, 1, 1), (2, 2, 3, 3), (2, 2, 3, 3), (6, 2, 1, 1)]
    h = F.conv2d(norm_relu(x, block.norms[0]), c[0].weight, c[0].bias)
    h = F.conv2d(enlarge(norm_relu(h, block.norms[1])), c[1].weight, c[1].bias, padding=1)
    h = F.conv2d(norm_relu(h, block.norms[2]), c[2].weight, c[2].bias, padding=1)
    h = F.conv2d(norm_relu(h, block.norms[3]), c[3].weight, c[3].bias)
    near(block(x, condition), h + enlarge(x[:, :6]))


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("outputs", [8, 12])
def test_discriminator_block_by_hand(pooled, outputs):
    torch.manual_seed(0)
    block, x = DiscriminatorBlock(8, outputs, pooled).double(), torch.randn(2, 8, 6, 6).double()
    before = x.clone()
    one, two, three, four = (m for m in block.path if isinstance(m, nn.Conv2d))

    def pool(h):
        return F.avg_pool2d(h, 2) if pooled else h

    h = F.conv2d(x.relu(), one.weight, one.bias)
    h = F.conv2d(h.relu(), two.weight, two.bias, padding=1)
    h = F.conv2d(h.relu(), three.weight, three.bias, padding=1)
    h = F.conv2d(pool(h.relu()), four.weight, four.bias)
    shortcut = pool(x)
    if outputs > 8:
        shortcut = torch.cat([shortcut, F.conv2d(shortcut, block.extra.weight, block.extra.bias)], 1)
    near(block(x), h + shortcut)
    assert torch.equal(x, before) and (block.extra is None) == (outputs == 8)
    assert one.out_channels == outputs // 4


def tiny(**options):
    torch.manual_seed(0)
    return Generator(6, 4, 32, 1, 3, **options)


@torch.no_grad()
def test_latent_and_label_reach_the_first_layer_and_every_block():
    generator = tiny().eval()

    def outputs(latents, labels):
        seen = []
        layers = [generator.linear, *(m.gain for block in generator.blocks for m in block.norms)]
        hooks = [layer.register_forward_hook(lambda m, i, o: seen.append(o)) for layer in layers]
        images = generator(latents, labels)
        for hook in hooks:
            hook.remove()
        return seen, images

    latents, labels = torch.randn(2, 6), torch.tensor([0, 1])
    before, images = outputs(latents, labels)
    assert images.shape == (2, 1, 32, 32) and images.abs().max() <= 1
    for changed in (outputs(latents, torch.tensor([2, 1])), outputs(latents + torch.tensor([[1.0], [0]]), labels)):
        for a, b in zip(before, changed[0], strict=True):
            assert not torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_spectral_norm_on_every_weight_but_the_embedding():
    for network in (tiny(), Trunk(4, 32, 1)):
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
                assert parametrize.is_parametrized(layer, "weight") == (name != "embedding"), name


def test_gradients_reach_every_parameter():
    # eval: under batch statistics the biases before a batch norm have no gradient by construction
    generator, trunk = tiny().double().eval(), Trunk(4, 32, 1).double()
    for network in (generator, trunk):
        nn.init.constant_(network.attention.gamma, 0.5)
    trunk(generator(torch.randn(6, 6).double(), torch.arange(6) % 3)).square().sum().backward()
    for network in (generator, trunk):
        assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("norm", ["spectral", "none", "layer", "instance", "batch"])
def test_independent_tells_whether_samples_influence_each_other(norm):
    torch.manual_seed(0)
    trunk = Trunk(4, 32, 1, norm=norm).double()
    images = torch.randn(4, 1, 32, 32, dtype=torch.double)
    together, alone = trunk(images)[:2], trunk(images[:2])
    assert trunk.independent == torch.allclose(together, alone, atol=1e-10)


def test_wrong_input():
    with pytest.raises(InputError, match="data.resolution=48.*32, 64, 128, 256, 512"):
        Trunk(4, 48, 1)
    with pytest.raises(InputError, match="needs data with labels"):
        Generator(6, 4, 32, 1, 0)
