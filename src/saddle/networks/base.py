"""Frames that several families fill: networks that are one list of layers, networks of residual blocks, labels of G."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.blocks import SelfAttention
from saddle.networks.init import initialise
from saddle.networks.norm import BatchNorm, Conditioned, weight_norm
from saddle.precision import at_least_float32


def bounded_image(x: Tensor) -> Tensor:
    """The image in [-1, 1], by tanh in at least float32."""
    return torch.tanh(at_least_float32(x))


class Condition(nn.Module):
    """How a generator reads labels.

    Args:
        how: "none" ignores them, "concat" appends a one-hot vector to the latent (Mirza and Osindero 2014),
            "batch_norm" leaves them to batch norms with a gain and a bias per class.
        classes: number of classes; 0 without labels.

    Attributes:
        length: of what is appended to a latent.
        classes_in_norm: number of classes for `class_norm`; 0 for plain batch norms.

    Raises:
        InputError: for a way to read labels without classes.
    """

    def __init__(self, how: str, classes: int):
        super().__init__()
        if how != "none" and classes < 1:
            raise InputError(f"model.g_conditioning={how} needs data with labels; choose such data, or none")
        self.length = classes if how == "concat" else 0
        self.classes_in_norm = classes if how == "batch_norm" else 0

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, L] and labels [B] (int64) -> what the first layer reads, [B, L + length]."""
        if not self.length:
            return latents
        return torch.cat([latents, F.one_hot(labels, self.length).to(latents)], 1)


class LayeredGenerator(nn.Module):
    """Layers one after the other, in front of which the latent meets the label.

    Args:
        condition: how labels are read.
        layers: from what `condition` gives to the image before `end`; class-conditional batch norms read labels too.
        init: of their weights.
        end: makes the last layer's output an image, in at least float32.
    """

    def __init__(
        self, condition: Condition, layers: list[nn.Module], init: str, end: Callable[[Tensor], Tensor] = bounded_image
    ):
        super().__init__()
        self.condition, self.end = condition, end
        self.layers = initialise(Conditioned(*layers), init)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [B, latent_dim] and labels [B] (int64) -> images [B, C, H, W]."""
        return self.end(self.layers(self.condition(latents, labels), labels))


class LayeredTrunk(nn.Module):
    """Layers one after the other.

    Args:
        layers: from images to features.
        features: F.
        norm: of the layers.
        init: of their weights.
    """

    def __init__(self, layers: list[nn.Module], features: int, norm: str, init: str):
        super().__init__()
        self.features, self.independent = features, norm != "batch"
        self.layers = initialise(nn.Sequential(*layers), init)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] -> features [B, F]."""
        return self.layers(images)


class Blocks(NamedTuple):
    """The residual blocks of a network.

    Attributes:
        widths: channels into the first block, then out of each.
        make: makes the block of a number (from 0), channels in and channels out.
        attention: number of the block behind which self-attention stands; None for none.
        norm: of the network.
    """

    widths: Sequence[int]
    make: Callable[[int, int, int], nn.Module]
    attention: int | None
    norm: str


class ResidualNetwork(nn.Module):
    """Residual blocks one after the other, with self-attention behind one of them where the plan has it."""

    attention: nn.Module

    def add_blocks(self, plan: Blocks) -> None:
        """Make the blocks and the attention, in this order."""
        pairs = enumerate(itertools.pairwise(plan.widths))
        self.blocks = nn.ModuleList(plan.make(index, inputs, outputs) for index, (inputs, outputs) in pairs)
        self.attend_after, self.attention = plan.attention, nn.Identity()
        if plan.attention is not None:
            self.attention = SelfAttention(plan.widths[plan.attention + 1], plan.norm)

    def through_blocks(self, x: Tensor, conditions: Sequence[Tensor] | None = None) -> Tensor:
        """What the last block makes of x [B, C, H, W]; in a generator each block reads a condition of its own."""
        for index, block in enumerate(self.blocks):
            x = block(x) if conditions is None else block(x, conditions[index])
            if index == self.attend_after:
                x = self.attention(x)
        return x


class ResidualGenerator(ResidualNetwork):
    """A linear layer to the first map, blocks, batch norm, ReLU, a 3x3 convolution and tanh.

    Args:
        inputs: numbers that the linear layer reads.
        blocks: the plan of the blocks.
        channels: of the image.
        init: of the weights.
        start: side of the first map.
        embedding: of the labels, for a subclass that reads them so.
    """

    def __init__(
        self,
        inputs: int,
        blocks: Blocks,
        channels: int,
        init: str,
        start: int = 4,
        embedding: nn.Embedding | None = None,
    ):
        super().__init__()
        self.start, self.embedding = start, embedding
        self.linear = weight_norm(blocks.norm, nn.Linear(inputs, start**2 * blocks.widths[0]))
        self.add_blocks(blocks)
        self.norm = BatchNorm(blocks.widths[-1])
        self.to_image = weight_norm(blocks.norm, nn.Conv2d(blocks.widths[-1], channels, 3, padding=1))
        initialise(self, init)

    def draw(self, first: Tensor, conditions: Sequence[Tensor]) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] of what the linear layer reads, [B, inputs], and of each block's condition."""
        x = self.linear(first).unflatten(1, (-1, self.start, self.start))
        x = self.through_blocks(x, conditions)
        return bounded_image(self.to_image(F.relu(self.norm(x))))


class ResidualTrunk(ResidualNetwork):
    """[A first convolution,] blocks, ReLU, and a sum or mean over positions.

    Args:
        blocks: the plan of the blocks.
        init: of the weights.
        from_image: the first convolution; None where the first block reads the image.
        pooling: "sum" or "mean".
    """

    def __init__(self, blocks: Blocks, init: str, from_image: nn.Module | None = None, pooling: str = "sum"):
        super().__init__()
        self.features, self.independent, self.pooling = blocks.widths[-1], blocks.norm != "batch", pooling
        self.from_image = nn.Identity() if from_image is None else from_image
        self.add_blocks(blocks)
        initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] -> features [B, F]."""
        x = F.relu(self.through_blocks(self.from_image(images)))
        return x.sum((2, 3)) if self.pooling == "sum" else x.mean((2, 3))
