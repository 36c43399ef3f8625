"""StyleGAN: published sizes, the style layer by hand, mixing, truncation, growing, noise."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saddle.heads.equalised import EqualisedHead
from saddle.networks import stylegan
from saddle.networks.equalised import pixel_norm
from saddle.networks.progan import Growing
from saddle.networks.stylegan import Generator, Mapping, Style, Trunk
from saddle.randomness import Draws, Rows, layer_noise_from


class Shapes:
    """Stands for a stream of four rows on the meta device."""

    def normal(self, *shape):
        return torch.empty(4, *shape, device="meta")


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def tiny(**options):
    torch.manual_seed(0)
    generator = Generator(6, 4, 16, 2, max_width=8, w_dim=10, mapping_layers=3, **options).double()
    for name, parameter in generator.named_parameters():
        if name.endswith(("noise", "bias")):
            nn.init.normal_(parameter)  # where the start, 0, would hide a mistake
    return generator


def stream(start=0, stop=4, total=4, iteration=0):
    return Draws(0, iteration, "noise", Rows(start, stop, total), dtype=torch.float64)


def draw(rows=4, seed=1):
    torch.manual_seed(seed)
    return torch.randn(rows, 6, dtype=torch.float64), torch.zeros(rows, dtype=torch.long)


def near(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_parameters_at_1024_are_the_published_ones():
    with torch.device("meta"):
        generator, trunk = Generator(512, 16, 1024, 3), Trunk(16, 1024, 3)
        head = EqualisedHead(trunk.features, 0)
    assert parameters(generator) == 26_219_627
    assert parameters(generator.mapping) == 8 * (512 * 512 + 512)
    assert parameters(trunk, head) == 23_087_249  # the blurs have none: as ProGAN's
    assert generator.layers == 18
    z, labels = torch.empty(4, 512, device="meta"), torch.empty(4, dtype=torch.long, device="meta")
    with layer_noise_from(Shapes()):
        images = generator(z, labels)
    assert images.shape == (4, 3, 1024, 1024) and trunk(images).shape == (4, 512)


def test_style_layer_by_hand():
    torch.manual_seed(0)
    layer, x, w = Style(3, 5).double(), torch.randn(4, 3, 4, 4).double(), torch.randn(4, 5).double()
    for p in layer.parameters():
        nn.init.normal_(p)
    with layer_noise_from(stream()):
        y = layer(x, w)
    noise = stream().normal(1, 4, 4)
    style = w @ layer.affine.weight.T / 5**0.5 + layer.affine.bias
    for b in range(4):
        for c in range(3):
            h = F.leaky_relu(x[b, c] + layer.noise[c, 0, 0] * noise[b, 0] + layer.bias[c, 0, 0], 0.2)
            h = (h - h.mean()) / (((h - h.mean()) ** 2).mean() + 1e-8).sqrt()
            near(y[b, c], (1 + style[b, c]) * h + style[b, 3 + c])


def test_mapping_by_hand():
    torch.manual_seed(0)
    mapping = Mapping(6, 10, 3, classes=4).double()
    z, labels = torch.randn(5, 6).double(), torch.tensor([0, 3, 1, 2, 2])
    x = pixel_norm(torch.cat([z, mapping.embedding[labels]], 1))
    for layer in mapping.layers:
        x = F.leaky_relu(x @ layer.weight.T * (0.01 * (2 / x.shape[1]) ** 0.5) + 0.01 * layer.bias, 0.2)
    near(mapping(z, labels), x)
    assert mapping.layers[1].weight.std().item() == pytest.approx(100, rel=0.2)
    assert parameters(Mapping(6, 10, 3)) == 6 * 10 + 10 + 2 * 110


def test_starts_from_a_constant_and_ends_without_tanh():
    generator = tiny()
    assert generator.synthesis.blocks[0].constant.shape == (8, 4, 4)
    assert torch.equal(Generator(6, 4, 16, 2).synthesis.blocks[0].constant, torch.ones(16, 4, 4))
    nn.init.constant_(generator.synthesis.to_image[-1].bias, 50.0)
    with layer_noise_from(stream()):
        assert generator(*draw()).min() > 1


def test_noise_comes_from_the_stream_alone():
    generator, (z, labels) = tiny(), draw()
    with pytest.raises(RuntimeError, match="layer_noise_from"):
        generator(z, labels)

    def render(rows, *numbers):
        with layer_noise_from(stream(*numbers)):
            return generator(z[rows], labels[rows])

    whole = render(slice(0, 4))
    near(torch.cat([render(slice(0, 2), 0, 2), render(slice(2, 4), 2, 4)]), whole)  # on two processes
    assert (whole - render(slice(0, 4), 0, 4, 4, 1)).abs().max() > 1e-3
    quiet = tiny(noise=False)
    assert quiet(z, labels).shape == whole.shape and not any(n.endswith("noise") for n, _ in quiet.named_parameters())


def layer_inputs(generator, ws):
    """What each style layer is given as w."""
    seen = []
    layers = [m for m in generator.synthesis.modules() if isinstance(m, Style)]
    hooks = [layer.register_forward_hook(lambda m, i, o: seen.append(i[1])) for layer in layers]
    with layer_noise_from(stream(0, len(ws), len(ws))):
        generator.synthesis(ws)
    for hook in hooks:
        hook.remove()
    return seen


def test_every_layer_reads_its_own_w():
    generator = tiny()
    assert generator.layers == 6
    ws = torch.randn(4, 6, 10).double()
    seen = layer_inputs(generator, ws)
    assert len(seen) == 6 and all(torch.equal(w, ws[:, i]) for i, w in enumerate(seen))


def test_mixing_crosses_over_at_a_layer():
    generator, (z, labels), (other, _) = tiny().eval(), draw(), draw(seed=2)
    w, mixed = generator.mapping(z, labels), generator.mapping(other, labels)
    ws = generator.styles(z, labels, other, 2)
    near(ws, torch.cat([w[:, None].expand(-1, 2, -1), mixed[:, None].expand(-1, 4, -1)], 1))
    each = generator.styles(z, labels, other, torch.tensor([1, 6, 3, 0]))
    for row, start in enumerate([1, 6, 3, 0]):
        for layer in range(6):
            near(each[row, layer], (w if layer < start else mixed)[row])
    with pytest.raises(ValueError, match="crossover"):
        generator.styles(z, labels, other)


def test_truncation_pulls_towards_the_average():
    generator, (z, labels) = tiny().eval(), draw()
    nn.init.normal_(generator.w_avg)
    w, centre = generator.mapping(z, labels)[:, None], generator.w_avg
    near(generator.styles(z, labels, truncation=0.7), (centre + 0.7 * (w - centre)).expand(-1, 6, -1))
    ws = generator.styles(z, labels, truncation=0.5, cutoff=2)
    near(ws[:, :2], (centre + 0.5 * (w - centre)).expand(-1, 2, -1))
    near(ws[:, 2:], w.expand(-1, 4, -1))
    near(generator.styles(z, labels, truncation=0.0), centre.expand(4, 6, 10))
    with layer_noise_from(stream()):
        images = generator(z, labels, truncation=0.0)
    assert images.shape == (4, 2, 16, 16)


def test_average_of_w_follows_in_training_only(monkeypatch):
    generator, (z, labels) = tiny(), draw()
    w = generator.mapping(z, labels).detach()
    generator.train().styles(z, labels)
    near(generator.w_avg, 0.005 * w.mean(0))
    generator.styles(z, labels)
    near(generator.w_avg, (1 - 0.995**2) * w.mean(0))
    generator.eval().styles(z, labels)
    near(generator.w_avg, (1 - 0.995**2) * w.mean(0))
    # on several processes it is the mean of all rows
    other = tiny()
    monkeypatch.setattr(stylegan, "all_reduce", lambda mean: mean + 3 * torch.ones(10).double())
    monkeypatch.setattr(stylegan, "world_size", lambda: 2)
    other.train().styles(z, labels)
    near(other.w_avg, 0.005 * (w.mean(0) + 3) / 2)


@pytest.mark.parametrize(("stage", "alpha"), [(0, 1.0), (1, 0.3), (2, 0.0), (2, 0.6)])
def test_growing(stage, alpha):
    generator, (z, labels) = tiny(), draw()
    images = {}
    for state in ((stage, alpha), (stage, 1.0), (max(stage - 1, 0), 1.0)):
        generator.grow(*state)
        with layer_noise_from(stream()):
            images[state] = generator(z, labels)
    old, new = images[(max(stage - 1, 0), 1.0)], images[(stage, 1.0)]
    near(images[(stage, alpha)], (1 - alpha) * old + alpha * new)
    assert isinstance(generator.synthesis, Growing) and old.shape == (4, 2, 16, 16)


def test_labels_condition_only_where_asked():
    (z, _), first, second = draw(), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 2, 1])
    for classes in (0, 3):
        generator = tiny(classes=classes, noise=False)
        changed = (generator(z, first) != generator(z, second)).flatten(1).any(1)
        assert changed.tolist() == [False, False, False, bool(classes)]


def test_gradients_reach_every_parameter_in_use():
    generator, trunk = tiny(classes=3), Trunk(4, 16, 2, max_width=8).double()
    z, _ = draw()
    with layer_noise_from(stream()):
        images = generator(z, torch.tensor([0, 1, 2, 0]))
    trunk(images).square().sum().backward()
    idle = {n for m in (generator, trunk) for n, p in m.named_parameters() if p.grad is None or not p.grad.any()}
    # only the last stage's image layers are in use; the biases before the instance norm of a constant shift nothing
    assert all("to_image" in name or "from_image" in name for name in idle), idle
    assert len(idle) == 8


def test_trunk_is_progans_with_a_blur():
    torch.manual_seed(0)
    trunk = Trunk(4, 8, 1, max_width=8, group=2).double()
    x = torch.randn(2, 1, 8, 8).double()
    h = trunk.from_image[1](x)
    conv, act, _, down, _ = trunk.blocks[1]
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).double() / 16
    h = F.conv2d(act(conv(h)), kernel.expand(4, 1, 3, 3), padding=1, groups=4)
    h = F.leaky_relu(F.avg_pool2d(F.conv2d(h, down.weight * down.scale, down.bias, padding=1), 2), 0.2)
    near(trunk(x), trunk.blocks[0](h))
