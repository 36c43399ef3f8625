"""BEGAN's networks."""

import pytest
import torch
from torch import nn

from saddle.errors import InputError
from saddle.networks.began import Decoder, Generator, Trunk


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def convolutions(*pairs: tuple[int, int]) -> int:
    """Parameters of 3x3 convolutions with a bias."""
    return sum(9 * a * b + b for a, b in pairs)


@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
def test_shapes_are_those_of_the_data(resolution):
    images = Generator(5, 2, resolution, 3)(torch.randn(2, 5), torch.zeros(2).long())
    assert images.shape == (2, 3, resolution, resolution)
    trunk = Trunk(2, resolution, 3, code=7)
    assert trunk(images).shape == (2, 7) and trunk.features == 7


def test_parameters_at_64_pixels():
    """Two convolutions at 8, 16, 32 and 64 pixels in G; in D too, and three that halve the size and a first one."""
    n, h = 64, 64
    linear = (h + 1) * 64 * n
    assert parameters(Generator(h, n, 64, 3)) == linear + convolutions(*[(n, n)] * 8, (n, 3))
    encoder = [(3, n), (n, n), (n, n)]
    for i in (1, 2, 3):
        encoder += [(i * n, i * n), (i * n, (i + 1) * n), ((i + 1) * n, (i + 1) * n)]
    assert parameters(Trunk(n, 64, 3)) == convolutions(*encoder) + (64 * 4 * n + 1) * h


def test_generator_and_decoder_are_one_architecture():
    generator, decoder = Generator(6, 3, 16, 1), Decoder(6, 3, 16, 1)
    decoder.load_state_dict(generator.decoder.state_dict())
    z = torch.randn(4, 6)
    assert torch.equal(generator(z, torch.zeros(4).long()), decoder(z))


def test_output_is_linear_and_no_layer_normalises():
    generator = Generator(6, 3, 16, 1)
    with torch.no_grad():
        generator.decoder.layers[-1].weight.mul_(100)
    assert generator(torch.randn(50, 6), torch.zeros(50).long()).abs().max() > 3
    kinds = {type(m).__name__ for net in (generator, Trunk(3, 16, 1)) for m in net.modules() if not [*m.children()]}
    assert kinds == {"Condition", "Linear", "Unflatten", "Conv2d", "ELU", "Upsample", "Identity", "Flatten"}


def test_labels_beside_the_latent():
    generator, z = Generator(6, 3, 8, 1, classes=4, conditioning="concat"), torch.randn(2, 6)
    a, b = generator(z, torch.tensor([0, 0])), generator(z, torch.tensor([3, 0]))
    assert not torch.allclose(a[0], b[0]) and torch.allclose(a[1], b[1])
    with pytest.raises(InputError, match=r"model\.g_conditioning=concat needs data with labels"):
        Generator(6, 3, 8, 1, conditioning="concat")


@pytest.mark.parametrize("resolution", [4, 12, 28])
@pytest.mark.parametrize("make", [lambda r: Decoder(5, 2, r, 1), lambda r: Trunk(2, r, 1)], ids=["decoder", "trunk"])
def test_other_resolutions_are_refused(make, resolution):
    with pytest.raises(InputError, match=rf"data\.resolution={resolution}"):
        make(resolution)


def test_only_batch_norm_couples_images():
    assert Trunk(2, 8, 1).independent and Trunk(2, 8, 1, "layer").independent
    assert not Trunk(2, 8, 1, "batch").independent
