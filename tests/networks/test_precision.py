"""The policy of `saddle.networks` under autocast: which layers give which type, and that nothing overflows."""

import copy

import pytest
import torch
from torch import nn

from saddle.networks import (
    began,
    biggan,
    biggan_deep,
    bottleneck,
    cyclegan,
    dcgan,
    mlp,
    progan,
    r3gan,
    resnet,
    stacked,
    stylegan,
    stylegan2,
)
from saddle.networks.autocast import in_convolution_type, no_autocast
from saddle.networks.norm import NORMS, activation_norm
from saddle.randomness import Draws, Rows, layer_noise_from

ROWS = 4
EQUALISED = {"EqualisedLinear", "Mapping"}
#: Networks, and the types of module whose output is in float32; that of all others is low.
GENERATORS = {
    "mlp": (lambda: mlp.Generator(6, 8, 8, 1, batch_norm=True), {"Generator"}),
    "points": (lambda: mlp.Generator(6, 8, 1, 2, bounded=False), {"Generator"}),
    "dcgan": (lambda: dcgan.Generator(6, 4, 16, 3, 3, "batch_norm"), {"Generator"}),
    "bottleneck": (lambda: bottleneck.Generator(6, 4, 16, 3, 20), {"Generator"}),
    "began": (lambda: began.Generator(6, 4, 16, 3), {"Decoder", "Generator"}),
    "resnet": (lambda: resnet.Generator(6, 4, 32, 3, 3, "batch_norm", attention=True), {"Generator"}),
    "biggan": (lambda: biggan.Generator(20, 4, 32, 3, 3), {"Embedding", "Generator"}),
    "biggan_deep": (lambda: biggan_deep.Generator(6, 4, 32, 3, 3), {"Embedding", "Generator"}),
    "stacked": (lambda: stacked.Generator(6, 2, 3, 8, 8, 4, 3), {"FeatureGenerator", "ImageGenerator", "Generator"}),
    "r3gan": (lambda: r3gan.Generator(6, 16, 16, 3, 2, classes=3), {"Embedding", "Generator"}),
    # the first map, of a linear layer, stays as it is until the first convolution
    "progan": (lambda: progan.Generator(6, 4, 16, 3, 8), {"EqualisedLinear", "Start", "Generator"}),
    # likewise the constant, with its first style
    "stylegan": (
        lambda: stylegan.Generator(6, 4, 16, 3, 8, 8, 2, 3),
        EQUALISED | {"synthesis.blocks.0.style1", "Synthesis", "Generator"},
    ),
    "stylegan2": (
        lambda: stylegan2.Generator(6, 4, 16, 3, 8, 8, 2, 3, clamp=256.0),
        EQUALISED | {"ToImage", "Synthesis", "Generator"},
    ),
}
TRUNKS = {
    "mlp": (lambda norm: mlp.Trunk(20, 16, 3, norm=norm), ()),
    "dcgan": (lambda norm: dcgan.Trunk(4, 16, 3, norm), ()),
    "bottleneck": (lambda norm: bottleneck.Trunk(4, 16, 3, 20, norm), ()),
    "began": (lambda norm: began.Trunk(4, 16, 3, norm), ()),
    "resnet": (
        lambda norm: resnet.Trunk(4, 32, 3, attention=True, norm=norm),
        {"blocks.0.pool"},
    ),  # which pools the image
    "biggan": (lambda norm: biggan.Trunk(4, 32, 3, norm=norm), {"blocks.0.pool"}),
    "biggan_deep": (lambda norm: biggan_deep.Trunk(4, 32, 3, norm=norm), ()),
    "stacked": (lambda norm: stacked.Trunk(4, 3, norm), ()),
    "cyclegan": (lambda norm: cyclegan.Trunk(3, 4, 1, 16, norm), ()),
    "r3gan": (lambda norm: r3gan.Trunk(16, 16, 3, 2), ()),
    "progan": (lambda norm: progan.Trunk(4, 16, 3, 8), {"blocks.0", "blocks.0.4", "blocks.0.5", "Trunk"}),
    "stylegan": (lambda norm: stylegan.Trunk(4, 16, 3, 8), {"blocks.0", "blocks.0.4", "blocks.0.5", "Trunk"}),
    "stylegan2": (lambda norm: stylegan2.Trunk(4, 16, 3, 8, clamp=256.0), {"EqualisedLinear", "Trunk"}),
}


def noise(dtype=torch.float32):
    return layer_noise_from(Draws(0, 0, "noise", Rows(0, ROWS, ROWS), dtype=dtype))


def check_types(network, exceptions, inputs, low):
    """Call a network under autocast and compare what every module of it gives with what the policy says."""
    seen = []

    def watch(name):
        return lambda module, _, output: seen.append((name, type(module).__name__, output.dtype))

    quiet = (nn.ModuleList, nn.Identity, nn.Flatten, nn.Unflatten)  # give what they get
    for name, module in network.named_modules():
        if not isinstance(module, quiet) and type(module).__name__ not in ("Condition", "Conditioned", "Dropout"):
            module.register_forward_hook(watch(name))
    with noise(), torch.autocast("cpu", low):
        output = network(*inputs)
    wrong = [
        (name, kind, dtype)
        for name, kind, dtype in seen
        if "parametrizations" not in name and dtype != (torch.float32 if {name, kind} & set(exceptions) else low)
    ]
    assert seen and not wrong
    output.float().square().mean().backward()
    assert all(
        p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in network.parameters() if p.grad is not None
    )


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", GENERATORS)
def test_activations_of_generators_are_low_and_images_are_not(family, low):
    torch.manual_seed(0)
    make, exceptions = GENERATORS[family]
    latents = torch.randn(ROWS, 20 if family == "biggan" else 6)
    check_types(make(), exceptions, (latents, torch.arange(ROWS) % 3), low)


@pytest.mark.parametrize(("family", "norm"), [
    *((family, norm) for family in TRUNKS for norm in NORMS if family in ("dcgan", "resnet")),
    *((family, "none") for family in TRUNKS if family not in ("dcgan", "resnet")),
])  # fmt: skip
def test_activations_of_trunks_are_low(family, norm):
    torch.manual_seed(0)
    make, exceptions = TRUNKS[family]
    size = {"resnet": 32, "biggan": 32, "biggan_deep": 32}.get(family, 16)
    images = torch.randn(ROWS, 3, 2 * size if family == "cyclegan" else size, size)
    check_types(make(norm), exceptions, (images,), torch.bfloat16)


def test_cyclegans_translations_are_in_float32():
    generator = cyclegan.Generator(3, 4, 1, resolution=16)
    # on a CPU autocast pads in float32
    exceptions = {"ReflectionPad2d", "Translator", "Generator"}
    check_types(generator, exceptions, (torch.randn(ROWS, 3, 32, 16),), torch.bfloat16)


@pytest.mark.parametrize("norm", NORMS)
def test_norms_give_back_the_type_they_get(norm):
    x = torch.randn(4, 6, 3, 3)
    for dtype in (torch.bfloat16, torch.float32):
        assert activation_norm(norm, 6)(x.to(dtype)).dtype == dtype


@pytest.mark.parametrize("family", ["stylegan", "stylegan2", "progan", "r3gan"])
def test_a_low_type_stays_near_float64(family):
    """Three times the errors that were measured, so that a statistic in a low type would be seen."""
    torch.manual_seed(0)
    network = {
        "stylegan": lambda: stylegan.Generator(16, 8, 16, 3, 32, 16, 4),
        "stylegan2": lambda: stylegan2.Generator(16, 8, 16, 3, 32, 16, 4),
        "progan": lambda: progan.Generator(16, 8, 16, 3, 32),
        "r3gan": lambda: r3gan.Generator(16, 32, 16, 3),
    }[family]()
    for name, p in network.named_parameters():
        if name.endswith(("noise", "bias", "convolution3.weight")):
            nn.init.normal_(p, std=0.1)
    latents, labels = torch.randn(ROWS, 16), torch.zeros(ROWS, dtype=torch.long)
    with noise(torch.float64):
        exact = copy.deepcopy(network).double()(latents.double(), labels)
    with noise(), torch.autocast("cpu", torch.bfloat16):
        images = network(latents, labels)
    assert (images - exact).square().mean().sqrt() < 0.03 * exact.std()


# ---- StyleGAN2 in float16


def test_a_layer_does_not_overflow_in_float16():
    """Weights and styles whose products leave float16's range; the first layer reads a float32 constant."""
    torch.manual_seed(0)
    layer = stylegan2.StyledConvolution(8, 4, stylegan2.Layers(5, noise=False))
    layer.weight.data *= 1e4
    x, w = torch.randn(2, 8, 4, 4), 100 * torch.randn(2, 5)
    for given in (x, x.half()):
        with torch.autocast("cpu", torch.float16):
            y = layer(given, w)
        assert y.dtype == torch.float16
        exact = copy.deepcopy(layer).double()(x.double(), w.double())
        torch.testing.assert_close(y.double(), exact, rtol=0.02, atol=0.02)


def test_the_guard_against_overflow_sees_every_layer(monkeypatch):
    """Under autocast to float16 every layer with demodulation scales its styles to at most 1."""
    torch.manual_seed(0)
    generator = stylegan2.Generator(6, 4, 16, 3, 8, 8, 2, clamp=256.0)
    largest = []
    convolve = stylegan2._convolve

    def watched(x, weight, up, groups=1):
        if weight.shape[-1] == 3:
            largest.append((x.dtype, weight.abs().max().item()))
        return convolve(x, weight, up, groups)

    monkeypatch.setattr(stylegan2, "_convolve", watched)
    for low, limit in ((torch.float16, 1.0), (torch.bfloat16, None)):
        largest.clear()
        with noise(), torch.autocast("cpu", low):
            generator(torch.randn(ROWS, 6), torch.zeros(ROWS, dtype=torch.long))
        assert [dtype for dtype, _ in largest] == 5 * [low]
        assert all((value == limit) == (low == torch.float16) for _, value in largest)


# ---- how a layer asks


def test_the_type_of_convolutions_is_autocasts():
    single, double, meta = torch.ones(2), torch.ones(2).double(), torch.ones(2, device="meta")
    assert in_convolution_type(single) is single
    with torch.autocast("cpu", torch.bfloat16):
        assert in_convolution_type(single).dtype == torch.bfloat16
        assert in_convolution_type(double) is double and in_convolution_type(meta) is meta
        with no_autocast(single):
            assert in_convolution_type(single) is single
            assert (torch.eye(2) @ torch.eye(2)).dtype == torch.float32
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.bfloat16
    with no_autocast(meta):
        pass
