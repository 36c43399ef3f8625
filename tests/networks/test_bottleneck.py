"""The networks of 101 layers: their published plan, shapes on the way, and gradients to every parameter."""

import pytest
import torch
from torch import nn

from saddle.errors import InputError
from saddle.networks.bottleneck import Bottleneck, Generator, Trunk, plan
from saddle.networks.norm import NORMS, BatchNorm

LABELS = torch.zeros(4, dtype=torch.long)


def weighted(network):
    """The convolutions and linear layers that are no shortcut."""
    return [m for name, m in network.named_modules()
            if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and "shortcut" not in name]  # fmt: skip


def test_the_plan_at_64_pixels_is_the_published_one():
    assert plan(101, 64, 64) == [(512, 6), (256, 6), (128, 6), (64, 6), (32, 5)]


@pytest.mark.parametrize("layers", [11, 14, 32, 101])
@pytest.mark.parametrize("resolution", [8, 32])
def test_there_are_as_many_layers_as_asked_for(layers, resolution):
    with torch.device("meta"):
        generator, trunk = Generator(10, 4, resolution, 1, layers), Trunk(4, resolution, 1, layers)
    assert len(weighted(generator)) == layers
    assert len(weighted(trunk)) == layers - 1  # the last one is the head's


@pytest.mark.parametrize("resolution", [8, 32])
def test_shapes_and_range(resolution):
    torch.manual_seed(0)
    generator, trunk = Generator(10, 4, resolution, 3, 17), Trunk(4, resolution, 3, 17)
    maps = []
    for block in [m for m in generator.modules() if isinstance(m, Bottleneck)]:
        block.register_forward_hook(lambda m, i, o: maps.append((o.shape[1], o.shape[2])))
    images = generator(torch.randn(4, 10), LABELS)
    assert images.shape == (4, 3, resolution, resolution) and images.abs().max() <= 1
    assert list(dict.fromkeys(maps)) == [
        (16 * 4 // size * resolution // 32, size) for size in (4, 8, 16, 32) if size <= resolution
    ]
    features = trunk(images)
    assert features.shape == (4, trunk.features) and trunk.features == 16 * maps[0][0]


def test_a_block_is_its_equation():
    torch.manual_seed(0)
    block, x = Bottleneck(4, 4, norm="none"), torch.randn(2, 4, 5, 5)
    y = block.expand(torch.relu(block.middle(torch.relu(block.squeeze(torch.relu(x))))))
    torch.testing.assert_close(block(x), x + 0.3 * y)
    assert [m.out_channels for m in (block.squeeze, block.middle, block.expand)] == [2, 2, 4]
    assert Bottleneck(4, 2, "up")(x).shape == (2, 2, 10, 10)
    assert Bottleneck(4, 8, "down")(torch.randn(2, 4, 6, 6)).shape == (2, 8, 3, 3)


@pytest.mark.parametrize("norm", NORMS)
def test_independent_tells_whether_samples_influence_each_other(norm):
    torch.manual_seed(0)
    trunk, images = Trunk(4, 8, 1, 8, norm).double(), torch.randn(4, 1, 8, 8, dtype=torch.double)
    assert trunk.independent == torch.allclose(trunk(images)[:2], trunk(images[:2]), atol=1e-10)


@pytest.mark.parametrize("options", [{}, {"batch_norm": False}, {"batch_norm": False, "norm": "spectral"}])
def test_gradients_reach_every_parameter_of_the_generator(options):
    torch.manual_seed(0)
    network = Generator(6, 4, 8, 1, 11, classes=3, conditioning="concat", **options).double().eval()
    network(torch.randn(40, 6, dtype=torch.double), torch.arange(40) % 3).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert any(isinstance(m, BatchNorm) for m in network.modules()) == (not options)


def test_gradients_reach_every_parameter_of_the_trunk_twice():
    torch.manual_seed(0)
    trunk, images = (
        Trunk(4, 8, 1, 11, "layer").double(),
        torch.randn(4, 1, 8, 8, dtype=torch.double, requires_grad=True),
    )
    (slope,) = torch.autograd.grad(trunk(images).square().sum(), images, create_graph=True)
    slope.square().sum().backward()
    assert [name for name, p in trunk.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    "make", [lambda **k: Generator(5, k.pop("width", 4), 32, 1, **k), lambda **k: Trunk(k.pop("width", 4), 32, 1, **k)]
)
def test_wrong_input(make):
    with pytest.raises(InputError, match="layers=100: a network of bottlenecks has 11, 14, 17"):
        make(layers=100)
    with pytest.raises(InputError, match="layers=8"):
        make(layers=8)
    with pytest.raises(InputError, match="model.width=3: .* even"):
        make(width=3)


def test_wrong_input_of_the_generator():
    with pytest.raises(InputError, match="model.g_conditioning=concat needs data with labels"):
        Generator(5, 4, 32, 1, conditioning="concat")
    with pytest.raises(InputError, match="model.g_norm=spectral: give model.generator.batch_norm=false too"):
        Generator(5, 4, 32, 1, norm="spectral")
