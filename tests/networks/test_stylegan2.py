"""StyleGAN2: published sizes, modulated convolution against a loop over samples, conditioning, second derivatives."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.signal import correlate2d
from torch import nn

from saddle.errors import InputError
from saddle.heads.equalised import EqualisedHead, MappedProjection
from saddle.networks.equalised import pixel_norm
from saddle.networks.resample import SMOOTH, taps
from saddle.networks.stylegan2 import (
    Block,
    Generator,
    Layers,
    Mapping,
    StyledConvolution,
    ToImage,
    Trunk,
    activate,
    modulated_convolution,
)
from saddle.randomness import Draws, Rows, layer_noise_from

FIR = taps(SMOOTH).double()


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


class Shapes:
    """Stands for a stream of four rows on the meta device."""

    def normal(self, *shape):
        return torch.empty(4, *shape, device="meta")


def near(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def stream(rows=4, start=0, total=None):
    return Draws(0, 0, "noise", Rows(start, start + rows, total or rows), dtype=torch.float64)


# ---- the published networks


def networks(resolution, width, classes=0, mapping_layers=8, **trunk_options):
    with torch.device("meta"):
        generator = Generator(512, width, resolution, 3, mapping_layers=mapping_layers, classes=classes)
        trunk = Trunk(width, resolution, 3, **trunk_options)
        head = MappedProjection(512, classes) if classes else EqualisedHead(512, 0)
    return generator, trunk, head


def test_parameters_of_config_f_at_1024():
    generator, trunk, head = networks(1024, 32)
    assert parameters(generator) == 30_370_060
    assert parameters(trunk, head) == 29_012_513
    assert generator.layers == 18 and parameters(generator.mapping) == 8 * (512 * 512 + 512)


def test_parameters_of_the_settings_for_cifar10():
    generator, trunk, head = networks(32, 512, 10, 2, group=32, architecture="plain")
    assert parameters(generator) / 1e6 == pytest.approx(20.2, rel=0.01)
    assert parameters(trunk, head) / 1e6 == pytest.approx(23.1, rel=0.01)
    assert [layer.weight.shape[1] for layer in generator.synthesis.to_image] == [512] * 4


@pytest.mark.parametrize(("resolution", "width"), [(1024, 32), (256, 64), (32, 512)])
def test_shapes_at_full_size(resolution, width):
    generator, trunk, _ = networks(resolution, width)
    z = torch.empty(4, 512, device="meta")
    with layer_noise_from(Shapes()):
        images = generator(z, torch.empty(4, dtype=torch.long, device="meta"))
    assert images.shape == (4, 3, resolution, resolution) and trunk(images).shape == (4, 512)


# ---- modulated convolution


def modulated_by_loops(x, weight, styles, demodulate, up):
    """One sample, one output, one input channel at a time, with scipy."""
    outputs = []
    for b in range(len(x)):
        own = weight * styles[b][None, :, None, None]
        maps = []
        for o in range(len(weight)):
            norm = math.sqrt((own[o] ** 2).sum().item() + 1e-8) if demodulate else 1.0
            total = 0.0
            for i in range(x.shape[1]):
                image, kernel = x[b, i].numpy(), own[o, i].numpy() / norm
                if up:  # zeros between the pixels, the kernel as a true convolution, then the filter, gain 4
                    large = torch.zeros(2 * image.shape[0] - 1, 2 * image.shape[1] - 1)
                    large[::2, ::2] = torch.as_tensor(image)
                    full = correlate2d(large.numpy(), kernel[::-1, ::-1], "full")
                    smooth = correlate2d(full, 4 * torch.outer(FIR, FIR).numpy(), "full")
                    total = total + smooth[2:-2, 2:-2]
                else:
                    total = total + correlate2d(image, kernel, "same")
            maps.append(torch.as_tensor(total))
        outputs.append(torch.stack(maps))
    return torch.stack(outputs)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution_against_loops(grouped, up, demodulate):
    x, weight, styles = torch.randn(3, 2, 4, 5), torch.randn(4, 2, 3, 3), torch.randn(3, 2)
    y = modulated_convolution(x, weight, styles, demodulate=demodulate, up=FIR if up else None, grouped=grouped)
    assert y.shape == ((3, 4, 8, 10) if up else (3, 4, 4, 5))
    near(y, modulated_by_loops(x, weight, styles, demodulate, up))


def test_demodulation_keeps_unit_variance_and_forgets_scales():
    x, weight, styles = torch.randn(16, 32, 16, 16), torch.randn(8, 32, 3, 3), torch.rand(16, 32) + 0.1
    y = modulated_convolution(x, weight, styles)
    assert y[:, :, 1:-1, 1:-1].var().item() == pytest.approx(1, rel=0.05)
    near(modulated_convolution(x, 3 * weight, 5 * styles, eps=0.0), modulated_convolution(x, weight, styles, eps=0.0))


def test_half_precision_does_not_overflow():
    x, weight, styles = torch.randn(2, 8, 4, 4).half(), 100 * torch.randn(4, 8, 3, 3), 1e4 * torch.rand(2, 8)
    y = modulated_convolution(x, weight, styles)
    exact = modulated_convolution(x.double(), weight, styles)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.double(), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("up", [False, True])
def test_second_derivatives_of_modulated_convolution(grouped, up):
    inputs = [torch.randn(s, requires_grad=True) for s in ((2, 2, 2, 3), (2, 2, 3, 3), (2, 2))]

    def value(x, weight, styles):
        return modulated_convolution(x, weight, styles, up=FIR if up else None, grouped=grouped).pow(2).sum()

    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)


# ---- layers


def test_activation_gain_and_clamp():
    x = torch.randn(100000)
    assert activate(x).square().mean().item() == pytest.approx(1.04, rel=0.02)  # (1 + 0.2^2) / 2 * 2
    near(activate(torch.tensor([-10.0, 1.0, 300.0]), 0.5, 256), torch.tensor([-math.sqrt(2), math.sqrt(0.5), 128.0]))


@pytest.mark.parametrize("up", [False, True])
def test_styled_convolution_by_hand(up):
    layer = StyledConvolution(2, 3, Layers(5, clamp=1.0), up).double()
    nn.init.normal_(layer.bias), nn.init.constant_(layer.noise, 0.5)
    x, w = torch.randn(4, 2, 4, 4), torch.randn(4, 5)
    with layer_noise_from(stream()):
        y = layer(x, w)
    size = 8 if up else 4
    styles = w @ layer.affine.weight.T / math.sqrt(5) + 1
    h = modulated_by_loops(x, layer.weight.detach(), styles.detach(), True, up)
    h = h + 0.5 * stream().normal(1, size, size) + layer.bias
    near(y, (math.sqrt(2) * F.leaky_relu(h, 0.2)).clamp(-1, 1))


def test_to_image_has_no_demodulation_and_no_activation():
    layer = ToImage(2, 3, Layers(5, clamp=2.0))
    nn.init.normal_(layer.bias)
    x, w = 5 * torch.randn(4, 2, 4, 4), torch.randn(4, 5)
    styles = (w @ layer.affine.weight.T / math.sqrt(5) + 1) / math.sqrt(2)
    h = modulated_by_loops(x, layer.weight.detach(), styles.detach(), False, False) + layer.bias
    near(layer(x, w), h.clamp(-2, 2))


@pytest.mark.parametrize("residual", [False, True])
def test_discriminator_block_by_hand(residual):
    block, x = Block(2, 3, residual).double(), torch.randn(2, 2, 6, 6)
    kernel = torch.outer(FIR, FIR).expand(2, 1, 4, 4)
    first, second = block.convolution1, block.convolution2
    h = F.conv2d(x, first.weight / math.sqrt(18), padding=1)
    h = F.conv2d(F.pad(math.sqrt(2) * F.leaky_relu(h, 0.2), [2] * 4), kernel, groups=2)
    h = math.sqrt(2) * F.leaky_relu(F.conv2d(h, second.weight / math.sqrt(18), stride=2), 0.2)
    if residual:
        shortcut = F.conv2d(F.pad(x, [1] * 4), kernel, groups=2)[..., ::2, ::2]
        h = (h + F.conv2d(shortcut, block.shortcut.weight / math.sqrt(2))) / math.sqrt(2)
    near(block(x), h)


def test_mapping_by_hand():
    mapping = Mapping(6, 10, 3, classes=4)
    nn.init.normal_(mapping.embedding.bias)
    z, labels = torch.randn(5, 6), torch.tensor([0, 3, 1, 2, 2])
    embedded = mapping.embedding.weight.T[labels] / 2 + mapping.embedding.bias
    x = torch.cat([pixel_norm(z), pixel_norm(embedded)], 1)
    for layer in mapping.layers:
        x = math.sqrt(2) * F.leaky_relu(0.01 * x @ layer.weight.T / math.sqrt(x.shape[1]) + 0.01 * layer.bias, 0.2)
    near(mapping(z, labels), x)
    assert mapping.layers[0].weight.std().item() == pytest.approx(100, rel=0.2)


# ---- whole networks


def tiny(**options):
    torch.manual_seed(0)
    generator = Generator(6, 4, 16, 2, max_width=8, w_dim=10, mapping_layers=2, **options).double()
    for name, parameter in generator.named_parameters():
        if name.endswith(("noise", "bias")):
            nn.init.normal_(parameter)
    return generator


def test_image_is_the_sum_over_sizes_and_layers_read_their_own_w():
    generator = tiny(noise=False)
    synthesis, ws = generator.synthesis, torch.randn(4, 6, 10)
    assert generator.layers == 6
    x, images = synthesis.constant.expand(4, -1, -1, -1), 0
    kernel = 4 * torch.outer(FIR, FIR)[None, None]
    for index, layer in enumerate([0, 1, 3]):  # the first layer of 4, 8 and 16 pixels
        for k in range(1 if index == 0 else 2):
            x = synthesis.convolutions[layer + k](x, ws[:, layer + k])
        last = layer if index == 0 else layer + 1
        if index:
            images = F.conv_transpose2d(images.flatten(0, 1)[:, None], kernel, stride=2, padding=1)
            images = images[:, 0].unflatten(0, (4, 2))
        images = images + synthesis.to_image[index](x, ws[:, last + 1])
    near(synthesis(ws), images)


def test_both_ways_of_modulation_give_the_same_images():
    one, two = tiny(), tiny(grouped=True)
    z, labels = torch.randn(4, 6), torch.zeros(4).long()
    with layer_noise_from(stream()):
        first = one(z, labels)
    with layer_noise_from(stream()):
        near(two(z, labels), first)
    with layer_noise_from(stream(2, 2, 4)):  # a second process
        near(one(z[2:], labels[2:]), first[2:])


def test_labels_condition_both_networks():
    z, first, second = torch.randn(4, 6), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 2, 1])
    for classes in (0, 3):
        generator = tiny(classes=classes, noise=False)
        changed = (generator(z, first) != generator(z, second)).flatten(1).any(1)
        assert changed.tolist() == [False, False, False, bool(classes)]
    head, features = MappedProjection(8, 3, mapping_layers=2), torch.randn(4, 8)
    directions = head.mapping(None, first)
    near(head(features, first, z), (head.linear(features) * directions).sum(1) / math.sqrt(8))
    assert (head(features, first, z) != head(features, second, z)).tolist() == [False, False, False, True]
    with pytest.raises(InputError, match="labels"):
        MappedProjection(8, 0)


def test_path_length_differentiates_twice_through_the_whole_generator():
    generator, labels = tiny().eval(), torch.zeros(2).long()
    weights = list(generator.synthesis.parameters())
    w = generator.styles(torch.randn(2, 6), labels).detach().requires_grad_()
    y = torch.randn(2, 2, 16, 16)

    def length():
        with layer_noise_from(stream(2)):
            images = generator.synthesis(w)
        (gradient,) = torch.autograd.grad((images * y).sum(), w, create_graph=True)
        return gradient.square().sum(2).mean(1).sqrt().mean()

    slopes = torch.autograd.grad(length(), weights, allow_unused=True)
    directions = [torch.randn_like(p) for p in weights]
    expected = sum((s * d).sum().item() for s, d in zip(slopes, directions, strict=True) if s is not None)
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for p, d in zip(weights, directions, strict=True):
                p += step * d
        values.append(length().item())
    assert expected == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


@pytest.mark.parametrize("architecture", ["residual", "plain"])
def test_gradients_reach_every_parameter(architecture):
    generator, trunk = tiny(classes=3), Trunk(4, 16, 2, 8, 2, architecture, clamp=256.0)
    with layer_noise_from(stream()):
        images = generator(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))
    trunk(images).square().sum().backward()
    for network in (generator, trunk):
        assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert not trunk.independent


def test_unknown_architecture_is_refused():
    with pytest.raises(InputError, match="architecture=skip.*residual, plain"):
        Trunk(4, 16, 2, architecture="skip")
