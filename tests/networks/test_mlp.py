"""Networks of linear layers: published sizes, points, maxout, dropout from the run's own random numbers."""

import pytest
import torch
from torch import nn

from saddle.discriminator import Discriminator
from saddle.errors import InputError
from saddle.heads import LinearHead
from saddle.networks.mlp import Dropout, Generator, Maxout, Trunk
from saddle.networks.norm import BatchNorm
from saddle.randomness import Draws, Rows, layer_noise_from

LABELS = torch.zeros(4, dtype=torch.long)


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def draws(start=0, stop=4, total=4, iteration=0):
    return Draws(0, iteration, "layers", Rows(start, stop, total))


def test_parameters_of_the_first_gan_on_mnist():
    """100 - 1200 - 1200 - 784, and 784 - 240 maxout units of 5 pieces, twice, - 1."""
    with torch.device("meta"):
        generator, trunk = Generator(100, 1200, 28, 1), Trunk(1200, 28, 1)
        head = LinearHead(trunk.features, 0)
    assert parameters(generator) == 101 * 1200 + 1201 * 1200 + 1201 * 784
    assert trunk.features == 240
    assert parameters(trunk, head) == 785 * 1200 + 241 * 1200 + 241


@pytest.mark.parametrize(("resolution", "channels"), [(28, 1), (32, 3), (1, 2), (7, 1)])
def test_any_shape(resolution, channels):
    generator, trunk = Generator(5, 6, resolution, channels), Trunk(6, resolution, channels)
    images = generator(torch.randn(4, 5), LABELS)
    assert images.shape == (4, channels, resolution, resolution)
    assert trunk(images).shape == (4, trunk.features)


def linears(module):
    return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, nn.Linear)]


def kinds(module):
    return [type(m).__name__ for m in module.modules() if not list(m.children())]


@pytest.mark.parametrize(
    ("generator", "trunk", "g_layers", "d_layers", "kind"),
    [
        # the unrolled GAN's: 2x128 tanh
        (
            dict(latent_dim=256, width=128, activation="tanh"),
            dict(width=128, ratio=1.0, activation="tanh"),
            [(256, 128), (128, 128), (128, 2)],
            [(2, 128), (128, 128)],
            "Tanh",
        ),
        # WGAN-GP's: 3x512 ReLU
        (
            dict(latent_dim=2, width=512, layers=3),
            dict(width=512, ratio=1.0, layers=3, activation="relu"),
            [(2, 512), (512, 512), (512, 512), (512, 2)],
            [(2, 512), (512, 512), (512, 512)],
            "ReLU",
        ),
        # PacGAN's: 2x400 ReLU with batch norm, and 3x200 maxout units
        (
            dict(latent_dim=2, width=400, batch_norm=True),
            dict(width=400, ratio=0.5, layers=3),
            [(2, 400), (400, 400), (400, 2)],
            [(2, 1000), (200, 1000), (200, 1000)],
            "Maxout",
        ),
    ],
)
def test_the_published_networks_for_points(generator, trunk, g_layers, d_layers, kind):
    generator = Generator(resolution=1, channels=2, bounded=False, **generator)
    trunk = Trunk(resolution=1, channels=2, **trunk)
    assert linears(generator) == g_layers and linears(trunk) == d_layers
    assert kinds(trunk).count(kind) == len(d_layers)
    if kind == "Maxout":
        assert kinds(generator).count("BatchNorm") == 2
        assert trunk.features == 200


@torch.no_grad()
def test_bounded_images_are_in_range_and_points_are_anywhere():
    torch.manual_seed(0)
    bounded, linear = Generator(5, 8, 2, 1), Generator(5, 8, 2, 1, bounded=False)
    linear.load_state_dict(bounded.state_dict())
    z = 50 * torch.randn(4, 5)
    assert bounded(z, LABELS).abs().max() <= 1 < linear(z, LABELS).abs().max()
    torch.testing.assert_close(bounded(z, LABELS), linear(z, LABELS).tanh())


def test_maxout_by_hand():
    x = torch.tensor([[1.0, 5.0, 2.0, -3.0, -1.0, -2.0]])
    assert Maxout(3)(x).tolist() == [[5.0, -1.0]]
    assert Maxout(2)(x).tolist() == [[5.0, 2.0, -1.0]]
    assert Maxout(1)(x).tolist() == x.tolist()


@torch.no_grad()
def test_concat_appends_a_one_hot_label_to_the_latent():
    generator = Generator(5, 6, 2, 1, classes=3, conditioning="concat").eval()
    z, labels = torch.randn(4, 5), torch.tensor([0, 2, 1, 2])
    assert linears(generator)[0] == (8, 6)
    expected = generator.end(generator.layers(torch.cat([z, torch.eye(3)[labels]], 1), labels))
    assert torch.equal(generator(z, labels), expected)
    assert not torch.equal(generator(z, labels), generator(z, labels.flip(0)))
    plain = Generator(5, 6, 2, 1, classes=3)
    assert torch.equal(plain(z, labels), plain(z, labels.flip(0)))


def test_dropout_drops_its_share_and_keeps_the_mean():
    x = torch.ones(400, 500)
    layer = Dropout(0.3).train()
    with layer_noise_from(draws(0, 400, 400)):
        y = layer(x)
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / 0.7))
    assert torch.equal(layer.eval()(x), x)


def test_dropout_leaves_torchs_generator_alone_and_follows_the_iteration():
    layer, x = Dropout(0.5).train(), torch.ones(4, 50)
    state = torch.get_rng_state()
    outputs = []
    for iteration in (0, 0, 1):
        with layer_noise_from(draws(iteration=iteration)):
            outputs.append(layer(x))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
    assert all(not torch.equal(outputs[0][0], row) for row in outputs[0][1:])


def test_dropout_of_two_processes_is_that_of_one():
    torch.manual_seed(0)
    trunk, images = Trunk(20, 2, 1, dropout=0.5, input_dropout=0.2).train(), torch.randn(4, 1, 2, 2)
    with layer_noise_from(draws()):
        whole = trunk(images)
    halves = []
    for start in (0, 2):
        with layer_noise_from(draws(start, start + 2)):
            halves.append(trunk(images[start : start + 2]))
    torch.testing.assert_close(torch.cat(halves), whole)
    assert not torch.allclose(whole, trunk.eval()(images))


@pytest.mark.parametrize("packing", [1, 2])
def test_dropout_of_packed_images(packing):
    torch.manual_seed(0)
    trunk = Trunk(20, 2, packing, dropout=0.5, input_dropout=0.2)
    discriminator = Discriminator(trunk, LinearHead(trunk.features, 0), packing).train()
    images = torch.randn(4, 1, 2, 2)
    with layer_noise_from(draws()):
        whole = discriminator(images, LABELS).logits
    assert whole.shape == (4 // packing,)
    with layer_noise_from(draws(2, 4)):
        second = discriminator(images[2:], LABELS[2:]).logits
    torch.testing.assert_close(second, whole[2 // packing :])


def test_without_dropout_no_numbers_are_drawn():
    Trunk(20, 2, 1).train()(torch.randn(4, 1, 2, 2))  # outside `layer_noise_from`, where drawing raises
    with pytest.raises(RuntimeError, match="layer_noise_from"):
        Trunk(20, 2, 1, dropout=0.5).train()(torch.randn(4, 1, 2, 2))


@pytest.mark.parametrize("norm", ["batch", "layer", "spectral", "none"])
@pytest.mark.parametrize("activation", ["maxout", "relu", "leaky_relu", "tanh", "gated"])
def test_independent_tells_whether_samples_influence_each_other(norm, activation):
    torch.manual_seed(0)
    trunk = Trunk(40, 2, 1, norm=norm, activation=activation).double()
    images = torch.randn(4, 1, 2, 2, dtype=torch.double)
    assert trunk.independent == torch.allclose(trunk(images)[:2], trunk(images[:2]), atol=1e-10)


def test_an_activation_norm_replaces_the_biases():
    for norm, biased in (("batch", False), ("layer", False), ("spectral", True), ("none", True)):
        trunk = Trunk(10, 2, 1, norm=norm)
        assert all((m.bias is not None) is biased for m in trunk.modules() if isinstance(m, nn.Linear)), norm
    generator = Generator(3, 4, 2, 1, batch_norm=True)
    with_bias = [m.bias is not None for m in generator.modules() if isinstance(m, nn.Linear)]
    assert with_bias == [False, False, True]
    assert [m.running_mean.numel() for m in generator.modules() if isinstance(m, BatchNorm)] == [4, 4]


@pytest.mark.parametrize("options", [{}, {"norm": "layer"}, {"activation": "tanh", "norm": "spectral"}])
def test_gradients_reach_every_parameter(options):
    torch.manual_seed(0)
    generator, trunk = Generator(5, 8, 2, 1).double(), Trunk(20, 2, 1, **options).double()
    trunk(generator(torch.randn(40, 5, dtype=torch.double), torch.zeros(40).long())).square().sum().backward()
    for network in (generator, trunk):
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_second_derivatives_of_the_maxout_trunk():
    torch.manual_seed(0)
    trunk = Trunk(20, 2, 1, activation="maxout", norm="layer").double()
    images = torch.randn(3, 1, 2, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(trunk, images)


def test_no_hidden_layers_is_a_linear_model():
    generator, trunk = Generator(5, 8, 2, 1, layers=0, bounded=False), Trunk(8, 2, 1, layers=0)
    assert linears(generator) == [(5, 4)] and linears(trunk) == []
    assert trunk.features == 4 and trunk(torch.randn(3, 1, 2, 2)).shape == (3, 4)


def test_wrong_input():
    with pytest.raises(InputError, match=r"model.d_norm=instance.*choose layer, spectral or none"):
        Trunk(8, 2, 1, norm="instance")
    with pytest.raises(InputError, match="model.g_conditioning=concat needs data with labels"):
        Generator(5, 8, 2, 1, conditioning="concat")
