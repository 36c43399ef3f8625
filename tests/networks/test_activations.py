"""The nonlinearities by name."""

import pytest
import torch

from saddle.networks.activations import ACTIVATIONS, Gate


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 4, 5)])
def test_a_gate_pairs_neighbouring_channels(shape):
    x = torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    y = Gate()(x)
    assert y.shape == (3, 3, *shape[2:])
    for channel in range(3):
        a, b = x[:, 2 * channel], x[:, 2 * channel + 1]
        torch.testing.assert_close(y[:, channel], b.tanh() / (1 + (-a).exp()))


def test_each_activation_reads_as_many_channels_as_it_says():
    for name, (make, inputs) in ACTIVATIONS.items():
        assert make()(torch.randn(2, 4 * inputs)).shape == (2, 4), name


def test_gates_have_second_derivatives():
    x = torch.randn(2, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(Gate(), x)
