"""A discriminator: a trunk that reads the image and a head that gives the logit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saddle.distributed import all_gather
from saddle.heads import Head
from saddle.precision import at_least_float32
from saddle.turn import Verdict


class Discriminator(nn.Module):
    """Trunk (images to features) and head (features and labels to logits).

    Args:
        trunk: a network with attributes `features` (F) and `independent` (samples do not influence each other); it
            reads `packing` times the channels of an image.
        head: made for the trunk's features, and those of `minibatch`.
        packing: images that are judged together, all real or all generated (Lin et al. 2018, PacGAN): so many
            consecutive images are stacked along the channels and get one logit. Above 1 only for a head that reads no
            labels, of which a pack has several.
        minibatch: features that compare the images of a batch, appended to the trunk's.
    """

    def __init__(self, trunk: nn.Module, head: Head, packing: int = 1, minibatch: MinibatchFeatures | None = None):
        super().__init__()
        self.trunk, self.head, self.packing, self.minibatch = trunk, head, packing, minibatch

    @property
    def independent(self) -> bool:
        """Whether samples do not influence each other, as the trunk declares."""
        return bool(self.trunk.independent) and self.minibatch is None

    def forward(self, images: Tensor, labels: Tensor) -> Verdict:
        """Images [B, C, H, W] in [-1, 1] and labels [B] (int64) -> Verdict of B / packing rows."""
        if self.packing > 1:
            images, labels = images.unflatten(0, (-1, self.packing)).flatten(1, 2), labels[:: self.packing]
        features = self.trunk(images)
        if self.minibatch is not None:
            features = torch.cat([features, self.minibatch(features)], 1)
        return Verdict(at_least_float32(self.head(features, labels, images)), features)


class MinibatchFeatures(nn.Module):
    """Minibatch discrimination (Salimans et al. 2016, section 3.2): how close an image's features are to the others'.

    M = T phi is a matrix [kernels, dims] per image; feature b of image i is sum over j != i of
    exp(-||M_ib - M_jb||_1). The batch is the global one.

    Args:
        features: F of the trunk.
        kernels: new features per image.
        dims: length of the vectors that are compared.
    """

    def __init__(self, features: int, kernels: int, dims: int = 5):
        super().__init__()
        self.kernels, self.dims = kernels, dims
        self.tensor = nn.Linear(features, kernels * dims, bias=False)
        nn.init.normal_(self.tensor.weight, 0.0, 0.02)

    def forward(self, features: Tensor) -> Tensor:
        """Features [b, F] of this process's images -> [b, kernels], of the features of all processes."""
        own = at_least_float32(self.tensor(features)).unflatten(1, (self.kernels, self.dims))
        distances = (own[:, None] - all_gather(own)[None]).abs().sum(3)
        # every image is at distance 0 from itself, which adds exactly 1
        return (torch.exp(-distances).sum(1) - 1).to(features.dtype)
