"""The least precise type in which numbers that matter are computed."""

import pytest
import torch

from saddle.precision import at_least_float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_at_least_float32(dtype):
    x = torch.ones(3, dtype=dtype)
    y = at_least_float32(x)
    assert y.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (y is x) == (dtype in (torch.float32, torch.float64))
