"""DCGAN's networks."""

import pytest
import torch
from torch import nn

from saddle.errors import InputError
from saddle.networks.dcgan import Generator, Trunk
from saddle.networks.norm import NORMS, BatchNorm


@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_range(resolution, channels):
    generator, trunk = Generator(10, 2, resolution, channels), Trunk(3, resolution, channels)
    images = generator(torch.randn(4, 10), torch.zeros(4, dtype=torch.long))
    assert images.shape == (4, channels, resolution, resolution)
    assert images.abs().max() <= 1
    features = trunk(images)
    assert features.shape == (4, trunk.features)
    # halvings down to 4x4, each but the first doubles the width
    assert trunk.features == 16 * 3 * resolution // 8


def test_parameters_at_64_pixels_are_those_of_the_64_64_pair():
    """Latent 100, 64 channels, three colours; D with its linear layer is the usual 4x4 convolution to one logit."""
    generator, trunk = Generator(100, 64, 64, 3), Trunk(64, 64, 3)
    kernels = [100 * 512, 512 * 256, 256 * 128, 128 * 64, 64 * 3]
    assert sum(p.numel() for p in generator.parameters()) == 16 * sum(kernels) + 2 * (512 + 256 + 128 + 64) + 3
    kernels = [3 * 64, 64 * 128, 128 * 256, 256 * 512]
    assert sum(p.numel() for p in trunk.parameters()) == 16 * sum(kernels) + 64 + 2 * (128 + 256 + 512)
    assert trunk.features == 512 * 16


def test_widths_double_as_the_resolution_halves():
    generator = Generator(10, 8, 32, 1)
    assert generator.layers[0].out_features == 32 * 4 * 4
    assert [m.out_channels for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)] == [16, 8, 1]
    assert [m.out_channels for m in Trunk(8, 32, 1).modules() if isinstance(m, nn.Conv2d)] == [8, 16, 32]


@pytest.mark.parametrize("norm", NORMS)
def test_independent_says_whether_samples_influence_each_other(norm):
    torch.manual_seed(0)
    trunk = Trunk(2, 16, 1, norm, init="orthogonal")
    images = torch.randn(4, 1, 16, 16)
    alone = torch.cat([trunk(images[:2]), trunk(images[2:])])
    assert torch.allclose(trunk(images), alone, atol=1e-5) is trunk.independent
    assert trunk.independent is (norm != "batch")


def test_the_first_layer_of_the_trunk_has_no_activation_norm():
    kinds = [type(m) for m in Trunk(2, 16, 1, "batch").layers]
    assert kinds[:2] == [nn.Conv2d, nn.LeakyReLU] and kinds[3] is BatchNorm


def test_initial_weights_are_the_papers():
    torch.manual_seed(0)
    weights = [p.flatten() for m in Generator(100, 16, 32, 3).modules() for n, p in m.named_parameters(recurse=False)
               if n == "weight" and p.dim() == 4]  # fmt: skip
    assert torch.cat(weights).std().item() == pytest.approx(0.02, rel=0.02)


def test_labels_are_ignored():
    generator = Generator(10, 2, 8, 1).eval()
    z = torch.randn(3, 10)
    assert torch.equal(generator(z, torch.zeros(3).long()), generator(z, torch.arange(3)))


def convolutions(network):
    return [(m.in_channels, m.out_channels) for m in network.modules() if isinstance(m, nn.ConvTranspose2d | nn.Conv2d)]


def test_constant_filters():
    generator = Generator(10, 8, 32, 1, constant=True)
    assert convolutions(generator) == [(8, 8), (8, 8), (8, 1)] and generator.layers[0].out_features == 8 * 16


def test_gates_read_twice_as_many_channels():
    generator, trunk = Generator(10, 8, 32, 1, activation="gated"), Trunk(8, 32, 1, activation="gated")
    assert convolutions(generator) == [(32, 32), (16, 16), (8, 1)] and generator.layers[0].out_features == 64 * 16
    assert convolutions(trunk) == [(1, 16), (8, 32), (16, 64)] and trunk.features == 16 * 32


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "gated"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_gradients_reach_every_parameter_with_any_activation(activation, batch_norm):
    torch.manual_seed(0)
    options = {"init": "xavier", "activation": activation}
    generator = Generator(5, 2, 16, 1, batch_norm=batch_norm, **options).double()
    trunk = Trunk(2, 16, 1, "batch" if batch_norm else "none", **options).double()
    trunk(generator(torch.randn(8, 5).double(), torch.zeros(8).long())).sin().sum().backward()
    for network in (generator, trunk):
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert any(isinstance(m, BatchNorm) for m in generator.modules()) is batch_norm


def test_without_batch_norm_there_are_biases():
    linear, *rest = (m for m in Generator(10, 8, 32, 1, batch_norm=False).modules() if hasattr(m, "bias"))
    assert linear.bias is not None and all(m.bias is not None for m in rest)


def test_conditioning_by_a_batch_norm_that_is_not_there():
    with pytest.raises(InputError, match=r"g_conditioning=batch_norm needs model.generator.batch_norm=true"):
        Generator(10, 8, 32, 1, 3, "batch_norm", batch_norm=False)
