"""The resizers against the libraries that define them: torch-fidelity's bilinear one, and PIL's bicubic one."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from saddle.metrics.resizers import clean, legacy

SIZES = [(8, 29), (32, 29), (37, 29), (29, 29), (1, 5)]


def pixels(size: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, size, size + 1), dtype=torch.uint8, generator=draws).float()


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_legacy_is_torch_fidelitys_to_the_bit(old, new):
    theirs = interpolate_bilinear_2d_like_tensorflow1x(pixels(old), size=(new, new), align_corners=False)
    assert torch.equal(legacy(pixels(old), new), theirs)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_clean_is_pils(old, new):
    found = clean(pixels(old), new).numpy()
    for image, resized in zip(pixels(old).numpy(), found, strict=True):
        for channel, result in zip(image, resized, strict=True):
            theirs = Image.fromarray(channel, mode="F").resize((new, new), Image.Resampling.BICUBIC)
            np.testing.assert_allclose(result, np.asarray(theirs).clip(0, 255), atol=2e-3)


def test_legacy_aliases_and_clean_does_not():
    """Stripes of one pixel, shrunk to a third: legacy reads every third column, clean their mean."""
    stripes = torch.zeros(1, 1, 30, 30)
    stripes[..., ::3] = 255.0
    assert torch.equal(legacy(stripes, 10), torch.full((1, 1, 10, 10), 255.0))
    middle = clean(stripes, 10)[..., 2:-2, 2:-2]
    torch.testing.assert_close(middle, torch.full_like(middle, 85.0), atol=1.0, rtol=0)
