"""FIR resampling against scipy and a slow loop, in float64, and its second derivatives."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from saddle.networks.resample import SMOOTH, TENT, Blur, Downsample, Upsample, fir, taps, upsample

LONG = (0.1, -0.3, 0.7, 1.2, 0.5, 0.2, -0.1, 0.4)  # neither symmetric nor short: two passes of vectors


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def near(a, b):
    torch.testing.assert_close(a, torch.as_tensor(b), rtol=1e-12, atol=1e-12)


def each(x, act):
    """`act` on each channel of each image, as numpy arrays."""
    return np.stack([[act(channel.numpy()) for channel in image] for image in x])


def vector(weights):
    return taps(weights).double()


def downsample(x, f):
    """The layer with the taps f."""
    layer = Downsample(SMOOTH)
    layer.taps = f
    return layer(x)


@pytest.mark.parametrize("weights", [TENT, SMOOTH, LONG, (1, 2)])
@pytest.mark.parametrize("pad", [0, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_filter_is_a_two_dimensional_convolution(weights, pad, flip):
    f, x = vector(weights), torch.randn(2, 3, 9, 11)
    kernel = np.outer(*2 * [(f.flip(0) if flip else f).numpy()])
    full = each(x, lambda image: convolve2d(np.pad(image, pad), kernel, "valid"))
    near(fir(x, f, pad, flip=flip), full)
    near(fir(x, f, pad, stride=2, gain=3, flip=flip), 3 * full[..., ::2, ::2])


def upfirdn(image, kernel, up, down, before, after):
    """Zeros between the pixels, a border of zeros, a convolution, every `down`-th pixel: by loops."""
    height, width = (up * n for n in image.shape)
    large = np.zeros((height + before + after, width + before + after))
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            large[before + up * i, before + up * j] = image[i, j]
    k = len(kernel)
    rows, columns = range(0, len(large) - k + 1, down), range(0, large.shape[1] - k + 1, down)
    out = np.zeros((len(rows), len(columns)))
    for a, i in enumerate(rows):
        for b, j in enumerate(columns):
            for p in range(k):
                for q in range(k):
                    out[a, b] += kernel[p, q] * large[i + k - 1 - p, j + k - 1 - q]
    return out


@pytest.mark.parametrize(
    "weights", [SMOOTH, LONG, (1, 1), tuple(range(1, 7)), tuple(range(1, 11)), tuple(range(1, 13))]
)
def test_up_and_down_against_loops(weights):
    f, x, k = vector(weights), torch.randn(2, 2, 4, 6), len(weights)
    kernel = np.outer(f, f)
    near(upsample(x, f), each(x, lambda i: upfirdn(i, 4 * kernel, 2, 1, k // 2, k // 2 - 1)))
    near(downsample(x, f), each(x, lambda i: upfirdn(i, kernel, 1, 2, k // 2 - 1, k // 2 - 1)))


def test_constants_and_ramps_keep_their_values_inside():
    """Resampling keeps the place of things: a ramp over pixel centres stays one, at twice or half the sampling."""
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    small, large = downsample(ramp, vector(SMOOTH)), upsample(ramp, vector(SMOOTH))
    near(small[0, 0, 4, 2:-2], 2 * torch.arange(8.0)[2:-2] + 0.5)
    near(large[0, 0, 8, 4:-4], (torch.arange(32.0)[4:-4] - 0.5) / 2)
    near(Blur(TENT).double()(ramp)[0, 0, 8, 1:-1], ramp[0, 0, 8, 1:-1])


def test_box_of_two_is_average_pooling_and_nearest_upsampling():
    x, f = torch.randn(2, 3, 6, 6), vector((1, 1))
    near(downsample(x, f), torch.nn.functional.avg_pool2d(x, 2))
    near(upsample(x, f), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("weights", [SMOOTH, LONG])
def test_second_derivatives(weights):
    f, x = vector(weights), torch.randn(1, 2, 4, 4, requires_grad=True)
    for act in (upsample, downsample, lambda v, f: fir(v, f, 2)):
        assert torch.autograd.gradcheck(lambda v, act=act: act(v, f).pow(3), x)
        assert torch.autograd.gradgradcheck(lambda v, act=act: act(v, f).pow(3).sum(), x)


def test_modules_hold_their_taps_outside_the_checkpoint():
    x = torch.randn(1, 2, 4, 4)
    for module, act in ((Upsample(SMOOTH), upsample), (Downsample(SMOOTH), downsample)):
        near(module.double()(x), act(x, vector(SMOOTH)))
        assert module.state_dict() == {} and module.taps.dtype == torch.float64
