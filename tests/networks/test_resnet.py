"""The SNGAN family: published sizes, shapes on the way, what conditions what, and gradients to every parameter."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from saddle.errors import InputError
from saddle.heads import LinearHead
from saddle.heads.labels import Projection
from saddle.networks.blocks import SelfAttention
from saddle.networks.norm import NORMS, BatchNorm
from saddle.networks.resnet import PLANS, Generator, Trunk


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def published(resolution):
    """The paper's width and the networks on the meta device, with the default head."""
    width = {32: 256}.get(resolution, 64)
    with torch.device("meta"):
        trunk = Trunk(width, resolution, 3)
        return Generator(128, width, resolution, 3), trunk, LinearHead(trunk.features, 0, "spectral")


def test_parameters_at_32_pixels_are_the_published_ones():
    generator, *discriminator = published(32)
    assert parameters(generator) == 4_276_739
    assert parameters(*discriminator) == 1_053_825


def convolution(inputs, outputs, size=3):
    return inputs * outputs * size**2 + outputs


def test_parameters_at_48_pixels_by_hand():
    """G: linear to 6x6 of 512, blocks to 256, 128, 64; D: 64, 128, 256, 512 and 1024 with narrow hidden layers."""
    expected = 129 * 36 * 512 + 2 * 64 + convolution(64, 3)
    for i, o in ((512, 256), (256, 128), (128, 64)):
        expected += 2 * i + convolution(i, o) + 2 * o + convolution(o, o) + convolution(i, o, 1)
    generator, *discriminator = published(48)
    assert parameters(generator) == expected
    expected = convolution(3, 64) + convolution(64, 64) + convolution(3, 64, 1) + 1025
    for i, o in ((64, 128), (128, 256), (256, 512), (512, 1024)):
        expected += convolution(i, i) + convolution(i, o) + convolution(i, o, 1)
    assert parameters(*discriminator) == expected


def test_parameters_of_wgan_gp_in_millions():
    with torch.device("meta"):
        trunk = Trunk(256, 32, 3, "mean", norm="layer")
        critic = parameters(trunk, LinearHead(trunk.features, 0))
        assert parameters(Generator(128, 256, 32, 3)) / 1e6 == pytest.approx(4.28, abs=0.005)
    assert critic / 1e6 == pytest.approx(1.06, abs=0.005)


def test_parameters_of_sagan_at_128_pixels_in_millions():
    with torch.device("meta"):
        generator = Generator(128, 64, 128, 3, 1000, "batch_norm", attention=True, norm="spectral")
        trunk = Trunk(64, 128, 3, attention=True, wide=True)
        head = Projection(trunk.features, 1000, "spectral")
    assert parameters(generator) / 1e6 == pytest.approx(42.0, abs=0.05)
    assert parameters(trunk, head) / 1e6 == pytest.approx(39.4, abs=0.05)


@pytest.mark.parametrize("resolution", PLANS)
def test_shapes_and_sizes_on_the_way(resolution):
    width = {32: 32}.get(resolution, 8)  # an eighth of the paper's
    with torch.device("meta"):
        generator = Generator(10, width, resolution, 3, attention=True)
        trunk = Trunk(width, resolution, 3, attention=True)
    seen = {"G": [], "D": []}
    for name, network in (("G", generator), ("D", trunk)):
        for block in network.blocks:
            block.register_forward_hook(lambda m, i, o, n=name: seen[n].append(tuple(o.shape[1::2])))
        network.attention.register_forward_hook(lambda m, i, o, n=name: seen.update({n + " attention": o.shape[-1]}))
    images = generator(torch.randn(2, 10, device="meta"), torch.zeros(2, dtype=torch.long, device="meta"))
    assert images.shape == (2, 3, resolution, resolution)
    assert trunk(images).shape == (2, trunk.features)
    eighths = {  # (channels, size) after each block, of the papers' tables
        32: ([(256, 8), (256, 16), (256, 32)], [(128, 16), (128, 8), (128, 8), (128, 8)]),
        48: ([(256, 12), (128, 24), (64, 48)], [(64, 24), (128, 12), (256, 6), (512, 3), (1024, 3)]),
        64: ([(512, 8), (256, 16), (128, 32), (64, 64)], [(64, 32), (128, 16), (256, 8), (512, 4), (1024, 2)]),
        128: (
            [(1024, 8), (512, 16), (256, 32), (128, 64), (64, 128)],
            [(64, 64), (128, 32), (256, 16), (512, 8), (1024, 4), (1024, 4)],
        ),
    }[resolution]
    for name, expected in zip("GD", eighths, strict=True):
        assert seen[name] == [(channels // 8, size) for channels, size in expected]
        assert seen[name + " attention"] == resolution // 2


@pytest.mark.parametrize("resolution", [32, 48])
def test_real_images_have_the_right_range(resolution):
    torch.manual_seed(0)
    generator, trunk = Generator(10, 4, resolution, 1), Trunk(4, resolution, 1)
    images = generator(torch.randn(3, 10) * 5, torch.zeros(3).long())
    assert images.shape == (3, 1, resolution, resolution)
    assert images.abs().max() <= 1 and images.std() > 1e-2
    assert trunk(images).shape == (3, trunk.features)


@pytest.mark.parametrize("width", [1, 3])
def test_every_width_has_channels_everywhere(width):
    images = Generator(5, width, 32, 1)(torch.randn(2, 5), torch.zeros(2).long())
    assert Trunk(width, 32, 1)(images).shape == (2, 1)


@torch.no_grad()
def test_mean_pooling_is_the_sum_over_64_positions():
    torch.manual_seed(0)
    summed, averaged = Trunk(4, 32, 1, "sum"), Trunk(4, 32, 1, "mean")
    averaged.load_state_dict(summed.state_dict())
    images = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(summed(images) / 64, averaged(images))


def generator(conditioning="none", classes=3, **options):
    torch.manual_seed(0)
    return Generator(6, 4, 32, 1, classes, conditioning, **options)


@torch.no_grad()
def test_labels_are_ignored_without_conditioning():
    network, z = generator().eval(), torch.randn(3, 6)
    assert torch.equal(network(z, torch.zeros(3).long()), network(z, torch.arange(3)))


@torch.no_grad()
@pytest.mark.parametrize("conditioning", ["concat", "batch_norm"])
def test_only_the_image_whose_label_changes_changes(conditioning):
    network, z = generator(conditioning).eval(), torch.randn(2, 6)
    for module in network.modules():
        if hasattr(module, "gain"):  # the tables of all classes start equal
            nn.init.normal_(module.gain)
    before, after = network(z, torch.tensor([0, 1])), network(z, torch.tensor([2, 1]))
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_class_conditional_batch_norm_is_in_the_blocks_and_not_at_the_end():
    network = generator("batch_norm")
    tables = [name for name, p in network.named_parameters() if p.dim() == 2 and p.shape[0] == 3]
    assert tables == [f"blocks.{i}.norm{j}.{what}" for i in range(3) for j in (1, 2) for what in ("gain", "bias")]
    assert type(network.norm) is BatchNorm


def test_conditioning_adds_the_published_number_of_parameters():
    """One-hot labels widen the linear layer; class-conditional norms have a row per class instead of one."""
    plain = parameters(generator())
    assert parameters(generator("concat")) - plain == 3 * 16 * 4
    assert parameters(generator("batch_norm")) - plain == (3 - 1) * 2 * 4 * 6


@pytest.mark.parametrize("norm", NORMS)
def test_independent_tells_whether_samples_influence_each_other(norm):
    torch.manual_seed(0)
    trunk = Trunk(4, 32, 1, norm=norm).double()
    images = torch.randn(4, 1, 32, 32, dtype=torch.double)
    assert trunk.independent == torch.allclose(trunk(images)[:2], trunk(images[:2]), atol=1e-10)


def test_spectral_norm_is_on_every_weight_where_asked():
    for network in (generator(attention=True, norm="spectral"), Trunk(4, 32, 1, attention=True)):
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert layers and all(parametrize.is_parametrized(layer, "weight") for layer in layers)
    for network in (generator(), Trunk(4, 32, 1, norm="none")):
        assert not any(parametrize.is_parametrized(module) for module in network.modules())


def test_attention_is_there_only_where_asked():
    for network in (generator(), Trunk(4, 32, 1)):
        assert not any(isinstance(module, SelfAttention) for module in network.modules())


def test_initial_weights_are_glorots_with_a_larger_gain_in_the_residual_paths():
    """Uniform up to gain * sqrt(6 / (fan in + fan out)): gain sqrt 2 for 3x3 convolutions of blocks, 1 elsewhere."""
    torch.manual_seed(0)
    network = Generator(128, 64, 32, 3)
    for layer, limit in (
        (network.linear, (6 / (128 + 1024)) ** 0.5),
        (network.blocks[0].conv1, (2 * 6 / (9 * 128)) ** 0.5),
        (network.blocks[0].shortcut, (6 / 128) ** 0.5),
        (network.to_image, (6 / (9 * 67)) ** 0.5),
    ):
        assert layer.weight.abs().max().item() == pytest.approx(limit, rel=0.01)
        assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize("conditioning", ["none", "concat", "batch_norm"])
def test_gradients_reach_every_parameter_of_the_generator(conditioning):
    # eval: under batch statistics the biases before a batch norm have no gradient by construction
    network = generator(conditioning, attention=True, norm="spectral").double().eval()
    nn.init.constant_(network.attention.gamma, 0.5)  # at its start, 0, the rest of the attention gets none
    network(torch.randn(6, 6, dtype=torch.double), torch.arange(6) % 3).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("wide", [False, True])
def test_gradients_reach_every_parameter_of_the_discriminator(wide):
    torch.manual_seed(0)
    trunk = Trunk(8, 48, 1, attention=True, wide=wide).double()
    nn.init.constant_(trunk.attention.gamma, 0.5)
    trunk(torch.randn(4, 1, 48, 48, dtype=torch.double)).square().sum().backward()
    assert [name for name, p in trunk.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_wrong_input():
    with pytest.raises(InputError, match=r"data.resolution=256.*32, 48, 64, 128"):
        Generator(10, 4, 256, 1)
    with pytest.raises(InputError, match="data.resolution=28"):
        Trunk(4, 28, 1)
    with pytest.raises(InputError, match="model.g_conditioning=batch_norm needs data with labels"):
        Generator(10, 4, 32, 1, 0, "batch_norm")
