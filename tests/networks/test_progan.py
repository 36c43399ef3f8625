"""ProGAN: published sizes layer by layer, growing, fading, conditioning."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saddle.errors import InputError
from saddle.heads.equalised import EqualisedHead
from saddle.models.ema import EMA
from saddle.networks import stylegan
from saddle.networks.equalised import EqualisedConv2d, EqualisedLinear, pixel_norm
from saddle.networks.progan import Generator, Trunk, enlarge, fade, shrink, sizes, widths_of
from saddle.networks.resample import Blur


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def tiny(resolution=16, seed=0, **options):
    torch.manual_seed(seed)
    generator = Generator(6, 4, resolution, 2, max_width=8, **options)
    trunk = Trunk(4, resolution, 2, max_width=8, group=2)
    return generator.double(), trunk.double()


def near(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def latents(rows=4):
    return torch.randn(rows, 6, dtype=torch.float64), torch.zeros(rows, dtype=torch.long)


# ---- the published networks


def test_parameters_at_1024_are_the_published_ones():
    with torch.device("meta"):
        generator, trunk = Generator(512, 16, 1024, 3), Trunk(16, 1024, 3)
        head = EqualisedHead(trunk.features, 0)
    assert parameters(generator) == 23_079_115
    assert parameters(trunk, head) == 23_087_249


def test_layers_at_1024_are_table_2():
    with torch.device("meta"):
        generator, trunk = Generator(512, 16, 1024, 3), Trunk(16, 1024, 3)
    channels = [512, 512, 512, 512, 256, 128, 64, 32, 16]
    assert sizes(1024) == [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert [layer.weight.shape[1] for layer in generator.to_image] == channels
    assert [block[0].weight.shape[0] for block in trunk.from_image] == channels
    kernels = [m for m in generator.blocks.modules() if isinstance(m, EqualisedConv2d)]
    assert len(kernels) == 17 and all(k.weight.shape[2] == 3 for k in kernels)
    expected = [(512, 512)] + [pair for a, b in zip(channels, channels[1:], strict=False) for pair in ((a, b), (b, b))]
    assert [(k.weight.shape[1], k.weight.shape[0]) for k in kernels] == expected
    # D at stage s: C_s -> C_s, then C_s -> C_(s-1); at 4x4 one channel more, from the minibatch deviation
    for stage in range(1, 9):
        layers = [m.weight.shape[:2] for m in trunk.blocks[stage] if isinstance(m, EqualisedConv2d)]
        assert layers == [(channels[stage],) * 2, (channels[stage - 1], channels[stage])]
    assert trunk.blocks[0][1].weight.shape == (512, 513, 3, 3)
    assert trunk.blocks[0][4].weight.shape == (512, 8192) and trunk.features == 512
    images = generator(torch.empty(4, 512, device="meta"), torch.empty(4, dtype=torch.long, device="meta"))
    assert images.shape == (4, 3, 1024, 1024) and trunk(images).shape == (4, 512)


def test_first_layer_is_a_4x4_convolution_of_one_pixel():
    generator, _ = tiny()
    start, z = generator.blocks[0][0], torch.randn(2, 6, dtype=torch.float64)
    nn.init.normal_(start.bias)
    weight = start.linear.weight.view(8, 4, 4, 6).permute(0, 3, 1, 2).flip(2, 3) * (2 / (6 * 16)) ** 0.5
    y = F.conv2d(z[:, :, None, None], weight, start.bias.flatten(), padding=3)
    near(start(z), pixel_norm(F.leaky_relu(y, 0.2)))


# ---- growing


def generator_by_hand(generator, z, stage, alpha):
    """The image of a stage at full size from the layers' own outputs."""
    x = pixel_norm(z)
    outputs = []
    for block in generator.blocks[: stage + 1]:
        x = block(x)
        outputs.append(x)
    new = generator.to_image[stage](outputs[stage])
    if stage:
        old = generator.to_image[stage - 1](outputs[stage - 1])
        new = (1 - alpha) * old.repeat_interleave(2, 2).repeat_interleave(2, 3) + alpha * new
    times = generator.resolution // new.shape[-1]
    return new.repeat_interleave(times, 2).repeat_interleave(times, 3)


def trunk_by_hand(trunk, images, stage, alpha):
    size = 4 * 2**stage
    native = F.adaptive_avg_pool2d(images, size)
    x = trunk.from_image[stage](native)
    for index in range(stage, 0, -1):
        x = trunk.blocks[index](x)
        if index == stage:
            x = (1 - alpha) * trunk.from_image[stage - 1](F.adaptive_avg_pool2d(native, size // 2)) + alpha * x
    return trunk.blocks[0](x)


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_fading(stage, alpha):
    generator, trunk = tiny()
    z, labels = latents()
    for network in (generator, trunk):
        network.grow(stage, alpha)
    images = generator(z, labels)
    assert images.shape == (4, 2, 16, 16)
    near(images, generator_by_hand(generator, z, stage, alpha))
    near(trunk(images), trunk_by_hand(trunk, images, stage, alpha))
    near(trunk(shrink(images, 4 * 2**stage)), trunk(images))  # D takes small images as they are


def test_growing_is_continuous():
    """A stage that begins to fade in changes nothing: alpha 0 is the stage before."""
    generator, trunk = tiny()
    z, labels = latents()
    images = torch.randn(4, 2, 16, 16, dtype=torch.float64)
    for stage in (1, 2):
        results = []
        for state in ((stage - 1, 1.0), (stage, 0.0)):
            generator.grow(*state), trunk.grow(*state)
            results.append((generator(z, labels), trunk(images)))
        near(results[0][0], results[1][0]), near(results[0][1], results[1][1])


def test_networks_start_fully_grown_and_refuse_nonsense():
    generator, trunk = tiny()
    assert generator.grown == trunk.grown == (2, 1.0)
    generator.grow(0, 0.4)
    assert generator.grown == (0, 1.0)  # nothing to fade from
    for state in ((3, 1.0), (-1, 1.0), (1, 1.5)):
        with pytest.raises(ValueError, match="stage"):
            generator.grow(*state)
    with pytest.raises(InputError, match="data.resolution=24"):
        Generator(6, 4, 24, 1)


def test_stage_and_alpha_are_plain_numbers_in_the_state_dict(tmp_path):
    pair, fresh = tiny(), tiny(seed=1)
    for network, other in zip(pair, fresh, strict=True):
        assert not list(network.buffers())  # nothing on the device that a forward pass would wait for
        network.grow(1, 1 / 3)
        state = network.state_dict()
        assert all(isinstance(value, torch.Tensor) for value in state.values())
        torch.save(state, tmp_path / "state.pt")
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert other.grown == (1, 1 / 3)
        del state["_extra_state"]
        with pytest.raises(RuntimeError, match="_extra_state"):
            other.load_state_dict(state)


def test_the_average_of_a_network_can_be_at_another_stage():
    """A moving average copies buffers; the stage is none, so whoever grows a network grows its average."""
    generator, _ = tiny()
    average = EMA(generator, 0.9)
    generator.grow(1, 0.25)
    average.update(generator, 100, images=8)
    assert (generator.grown, average.module.grown) == ((1, 0.25), (2, 1.0))


def test_a_compiled_network_fades_without_a_compilation_per_alpha():
    generator, _ = tiny()
    compilations = []

    def backend(graph, inputs):
        compilations.append(graph)
        return graph.forward

    compiled, (z, labels) = torch.compile(generator, backend=backend), latents()
    for alpha in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        generator.grow(1, alpha)
        near(compiled(z, labels), generator_by_hand(generator, z, 1, alpha))
    assert len(compilations) <= 2  # of one number, then of any


@pytest.mark.parametrize(("stage", "alpha"), [(0, 1.0), (1, 0.5), (2, 0.5), (2, 1.0)])
def test_only_the_layers_of_the_stage_learn(stage, alpha):
    generator, trunk = tiny()
    generator.grow(stage, alpha), trunk.grow(stage, alpha)
    trunk(generator(*latents())).square().sum().backward()
    images = {stage, stage - 1} if alpha < 1 else {stage}
    for network, name in ((generator, "to_image"), (trunk, "from_image")):
        for key, p in network.named_parameters():
            part, index, *_ = key.split(".")
            used = int(index) in images if part == name else int(index) <= stage
            assert (p.grad is not None and bool(p.grad.any())) == used, key


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_real_images_lose_the_detail_that_the_stage_lacks(alpha):
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    for i in range(8):
        for j in range(8):
            square = images[:, :, i // 2 * 2 : i // 2 * 2 + 2, j // 2 * 2 : j // 2 * 2 + 2].mean((2, 3))
            near(fade(images, 0, alpha)[:, :, i, j], square)
    near(fade(images, 1, alpha), alpha * images + (1 - alpha) * fade(images, 0, 1.0))
    near(shrink(enlarge(images, 16), 8), images)


# ---- the rest


def test_labels_condition_the_generator_only_where_asked():
    plain, conditional = tiny()[0], tiny(classes=3)[0]
    z, _ = latents()
    first, second = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 2, 1])
    near(plain(z, first), plain(z, second))
    changed = (conditional(z, first) != conditional(z, second)).flatten(1).any(1)
    assert changed.tolist() == [False, False, False, True]


def test_latents_are_put_on_a_sphere():
    generator, _ = tiny()
    z, labels = latents()
    torch.testing.assert_close(generator(z, labels), generator(7 * z, labels), rtol=1e-6, atol=1e-6)


def test_small_widths_and_blur():
    assert widths_of(32, 16, 512) == [128, 64, 32, 16] and widths_of(32, 16, 48) == [48, 48, 32, 16]
    assert [Trunk(16, 32, 1, most).features for most in (512, 128, 48)] == [256, 128, 48]
    plain, blurred = Trunk(4, 16, 1), stylegan.Trunk(4, 16, 1)
    assert parameters(plain) == parameters(blurred)
    assert [sum(isinstance(m, Blur) for m in t.modules()) for t in (plain, blurred)] == [0, 2]
    assert not plain.independent


def test_penalties_can_differentiate_twice():
    _, trunk = tiny()
    trunk.grow(2, 0.5)
    images = torch.randn(2, 2, 16, 16, dtype=torch.float64, requires_grad=True)
    weights = [copy.deepcopy(trunk.state_dict())]

    def penalty():
        (gradient,) = torch.autograd.grad(trunk(images).sum(), images, create_graph=True)
        return gradient.square().sum()

    weight = next(m for m in trunk.modules() if isinstance(m, EqualisedLinear)).weight
    (slope,) = torch.autograd.grad(penalty(), weight)
    direction = torch.randn_like(weight)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight += step * direction
        values.append(penalty().item())
        trunk.load_state_dict(weights[0])
    assert (slope * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)
