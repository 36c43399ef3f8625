"""The Stacked GAN's networks: published layers, how a latent is shared out, and D's logit of class logits."""

import math

import pytest
import torch
from torch import nn

from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads.stacked import Level
from saddle.losses import Minimax
from saddle.networks.stacked import Encoder, FeatureDiscriminator, Generator, Trunk
from saddle.randomness import SampleDraws, layer_noise_from


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_published_layers_for_cifar10():
    with torch.device("meta"):
        generator = Generator(66, 16, 10, 256, 512, 128, 3)
        encoder, trunk = Encoder(3, 32, 64, 256, 10), Trunk(96, 3)
    norms = 2 * 512 + 2 * 512  # gains and biases
    assert parameters(generator.upper) == 60 * 512 + 512 * 512 + norms + (512 + 1) * 256
    kernels = 25 * (256 * 256 + 256 * 128 + 128 * 128 + 128 * 3) + 3
    assert parameters(generator.lower) == 272 * 6400 + kernels + 2 * (256 + 256 + 128 + 128)
    pixels = 8 * 8 * 128
    assert parameters(encoder) == 25 * (3 * 64 + 64 * 128) + 64 + 128 + (pixels + 1) * 256 + 257 * 10
    convolutions = [
        (m.out_channels, m.kernel_size[0], m.stride[0]) for m in trunk.modules() if isinstance(m, nn.Conv2d)
    ]
    assert convolutions == [(96, 3, 1), (96, 3, 2), (192, 3, 1), (192, 3, 2), (192, 3, 1), (192, 1, 1)]
    assert trunk.features == 192


def test_the_maps_of_the_image_generator():
    generator, sides = Generator(6, 2, 3, 5, 4, 2, 1).eval(), []
    for layer in generator.lower.layers:
        if isinstance(layer, nn.ConvTranspose2d | nn.Unflatten):
            layer.register_forward_hook(lambda layer, inputs, output: sides.append(output.shape[-1]))
    images = generator(numbers(2, 6), torch.tensor([0, 2]))
    assert sides == [5, 10, 14, 28, 32] and images.shape == (2, 1, 32, 32) and images.abs().max() <= 1


def test_the_features_read_the_first_noise_and_the_label_and_the_image_the_last_noise():
    generator = Generator(6, 2, 3, 5, 4, 2, 1).eval()
    z, labels = numbers(2, 6), torch.tensor([0, 2])
    first, last = generator.split(z)
    assert torch.equal(first, z[:, :4]) and torch.equal(last, z[:, 4:])
    features = generator.upper(labels, first)
    assert features.shape == (2, 5) and features.min() >= 0
    assert torch.equal(generator(z, labels), generator.lower(features, last))
    for changed in (generator.upper(labels.flip(0), first), generator.upper(labels, first + 1)):
        assert not torch.equal(changed, features)
    assert not torch.equal(generator.lower(features, last + 1), generator.lower(features, last))


def test_the_encoder_is_its_two_levels():
    encoder, images = Encoder(1, 8, 2, 5, 3), numbers(4, 1, 8, 8)
    features = encoder.features(images)
    assert features.shape == (4, 5) and features.min() >= 0 and encoder(images).shape == (4, 3)
    assert torch.equal(encoder(images), features @ encoder.upper.weight.T + encoder.upper.bias)


def test_noise_blurs_the_features_that_d_sees():
    network, features = FeatureDiscriminator(3, 2, 4, blur=0.2), torch.zeros(20000, 3)
    seen = []
    network.layers[0].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    with layer_noise_from(SampleDraws(0, "blur", 0, 20000)):
        logits, guesses, _ = network(features)
    assert logits.shape == (20000,) and guesses.shape == (20000, 2)
    assert abs(seen[0].std() - 0.2) < 0.003 and abs(seen[0].mean()) < 0.003
    network.blur = 0.0
    assert torch.equal(network(features)[0], network(features)[0])  # and asks for no noise


def test_class_logits_give_the_loss_of_the_authors_code():
    torch.manual_seed(0)
    head = Level(6, 4, noise=2, class_logits=True)
    nn.init.normal_(head.linear.weight)
    real, fake = numbers(5, 6), numbers(5, 6, seed=1)
    labels, images = torch.zeros(5).long(), torch.zeros(5, 1, 1, 1)
    logits = [head(features, labels, images) for features in (real, fake)]

    def sums(features):
        rows = (features @ head.linear.weight.T + head.linear.bias).tolist()
        return [math.log(sum(math.exp(logit) for logit in row)) for row in rows]

    assert logits[0].tolist() == pytest.approx(sums(real), rel=1e-5)
    softplus = [[math.log1p(math.exp(x)) for x in sums(features)] for features in (real, fake)]
    d_loss = 0.5 * sum(s - x for x, s in zip(sums(real), softplus[0], strict=True)) / 5 + 0.5 * sum(softplus[1]) / 5
    assert Minimax().discriminator(*logits).item() / 2 == pytest.approx(d_loss, rel=1e-5)
    assert Minimax().generator(logits[1]).item() == pytest.approx(-sum(softplus[1]) / 5, rel=1e-5)


def test_the_trunk_is_a_mean_over_the_last_map():
    trunk, images = Trunk(2, 1), numbers(3, 1, 8, 8)
    assert torch.allclose(trunk(images), trunk.layers(images).flatten(2).mean(2)) and trunk(images).shape == (3, 4)
    discriminator = Discriminator(trunk, Level(4, 3, noise=2))
    assert discriminator(images, torch.zeros(3).long()).logits.shape == (3,)
    assert trunk.independent and not Trunk(2, 1, norm="batch").independent


def test_misfits_are_refused():
    with pytest.raises(InputError, match="data.resolution=64"):
        Generator(6, 2, 3, 5, 4, 2, 1, resolution=64)
    with pytest.raises(InputError, match="labels"):
        Generator(6, 2, 0, 5, 4, 2, 1)
    with pytest.raises(InputError, match="image_noise=6"):
        Generator(6, 6, 3, 5, 4, 2, 1)
    with pytest.raises(InputError, match="class_logits"):
        Level(4, 0, noise=2, class_logits=True)
