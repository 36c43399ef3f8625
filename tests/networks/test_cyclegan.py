"""CycleGAN's networks: published sizes, the patches that D judges, and how two domains share a tensor."""

import pytest
import torch
from torch import nn

from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads.cyclegan import Patches
from saddle.networks.cyclegan import (
    Generator,
    PatchGAN,
    ResidualBlock,
    Translator,
    Trunk,
    stack,
    unstack,
)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_published_networks_have_their_published_sizes():
    with torch.device("meta"):
        generator, trunk = Generator(3, 64, 9), Trunk(3, 64, 3, 256)
        six = Translator(3, 64, 6)
    # the authors' code prints 11.378 M and 2.765 M; a residual block is two 3x3 convolutions of 256 channels
    assert parameters(generator.a_to_b) == parameters(generator.b_to_a) == 11_378_179
    assert parameters(trunk.a) == parameters(trunk.b) == 2_764_737
    assert parameters(six) == 11_378_179 - 3 * 2 * (256 * 256 * 9 + 256)
    assert trunk.features == 2 * 30 * 30


def test_the_published_networks_run_at_full_size_on_the_meta_device():
    with torch.device("meta"):
        images = torch.empty(1, 3, 512, 256)
        assert Generator(3, 64, 9)(images).shape == images.shape
        assert Trunk(3, 64, 3, 256)(images).shape == (1, 1800)


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_a_patch(layers: int, patch: int):
    network = PatchGAN(1, 1, layers, norm="none").double()
    for p in network.parameters():  # positive, so that nothing cancels or dies
        p.data.fill_(0.1)
    image = torch.ones(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    logits = network(image)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], image)
    for axis in (2, 3):
        seen = gradient.abs().sum(5 - axis).flatten().nonzero()
        assert seen.max() - seen.min() + 1 == patch


@pytest.mark.parametrize(("resolution", "layers"), [(8, 1), (16, 2), (32, 2), (32, 3), (64, 3)])
def test_the_number_of_patches_is_known_before(resolution: int, layers: int):
    trunk, side = Trunk(1, 1, layers, resolution), resolution // 2**layers - 2
    assert trunk.features == 2 * side**2
    assert trunk(numbers(2, 1, 2 * resolution, resolution).float()).shape == (2, trunk.features)
    assert PatchGAN(1, 1, layers)(torch.zeros(1, 1, resolution, resolution)).shape[-1] == side


def test_each_domain_has_its_own_networks():
    a, b, other = numbers(2, 1, 8, 8), numbers(2, 1, 8, 8, seed=1), numbers(2, 1, 8, 8, seed=2)
    generator, trunk = Generator(1, 2, 1, resolution=8).double(), Trunk(1, 2, 1, 8).double()
    made_a, made_b = unstack(generator(stack(a, b)))
    assert torch.equal(made_a, generator.b_to_a(b)) and torch.equal(made_b, generator.a_to_b(a))
    assert torch.equal(unstack(generator(stack(a, other)))[1], made_b)
    logits = trunk(stack(a, b))
    half = trunk.features // 2
    assert torch.equal(logits[:, :half], trunk.a(a).flatten(1)) and torch.equal(logits[:, half:], trunk.b(b).flatten(1))


def test_the_head_passes_the_logits_on_image_by_image():
    trunk = Trunk(1, 2, 1, 8).double()
    images = numbers(3, 1, 16, 8)
    discriminator = Discriminator(trunk, Patches(trunk.features))
    verdict = discriminator(images, torch.zeros(3).long())
    assert torch.equal(verdict.logits.view(3, -1), verdict.features) and verdict.features.shape == (3, 8)
    assert not list(discriminator.head.parameters()) and discriminator.independent
    assert not Discriminator(Trunk(1, 2, 1, 8, norm="batch"), Patches(8)).independent


def test_borders_are_mirrored():
    block = ResidualBlock(2, "none").double()
    out = block(torch.ones(1, 2, 5, 5, dtype=torch.float64))
    assert (out - out[:, :, :1, :1]).abs().max() < 1e-12  # zeros around would show at the borders


def test_the_residual_block_adds_to_its_input():
    block, x = ResidualBlock(2, "instance").double(), numbers(1, 2, 6, 6)
    layers = [layer for layer in block.layers if isinstance(layer, nn.Conv2d)]

    def convolved(image, layer):
        padded = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect")
        rows = [
            [(padded[0, :, i : i + 3, j : j + 3] * layer.weight).sum((1, 2, 3)) for j in range(6)] for i in range(6)
        ]
        image = torch.stack([torch.stack(row, 1) for row in rows], 1)[None] + layer.bias.view(1, -1, 1, 1)
        centred = image - image.mean((2, 3), keepdim=True)
        return centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()

    expected = x + convolved(convolved(x, layers[0]).relu(), layers[1])
    assert torch.allclose(block(x), expected, atol=1e-9)


def test_weights_are_small_normal_numbers_and_biases_zero():
    torch.manual_seed(0)
    network = Translator(3, 16, 2)
    weights = torch.cat([p.flatten() for p in network.parameters() if p.dim() > 1])
    assert abs(weights.mean()) < 1e-3 and abs(weights.std() - 0.02) < 1e-3
    assert all(not p.any() for p in network.parameters() if p.dim() == 1)


def test_other_norms_and_misfits():
    for norm in ("batch", "layer", "spectral", "none"):
        assert Generator(1, 2, 1, norm, resolution=8)(torch.zeros(2, 1, 16, 8)).isfinite().all()
        assert Trunk(1, 2, 1, 8, norm)(torch.zeros(2, 1, 16, 8)).isfinite().all()
    with pytest.raises(InputError, match="data.resolution=10"):
        Generator(1, 2, 1, resolution=10)
    with pytest.raises(InputError, match="model.trunk.layers=3"):
        Trunk(1, 2, 3, 16)
