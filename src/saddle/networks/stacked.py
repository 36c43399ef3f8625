"""The networks of the Stacked GAN of Huang, Li, Poursaeed, Hopcroft and Belongie 2017 (SGAN, arXiv:1612.04357).

It is not StackGAN (Zhang et al. 2017), which draws images from text in two resolutions. Here an encoder, a classifier
of real images, defines two levels, and the generator inverts them one by one:

    encoder     images x      --E0-->  features h  --E1-->  label y
    generator   label y, z1   --G1-->  features h^ --G0(z0)-->  images x^

There is a discriminator D and a guess Q of the noise z at each level; Q shares D's layers. Features have the length F,
and there are K classes; the networks of features have two hidden layers of `hidden` units, 512 in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saddle.errors import InputError
from saddle.networks.base import Condition, LayeredTrunk, bounded_image
from saddle.networks.init import initialise
from saddle.networks.norm import BatchNorm, activation_norm, weight_norm
from saddle.precision import at_least_float32
from saddle.randomness import layer_noise

RESOLUTION = 32  # of the image generator, whose maps have 5, 10, 14, 28 and 32 pixels a side


class Encoder(nn.Module):
    """A classifier in two levels: E0 from images to features, E1 from features to class logits.

    c5 w, pool, c5 2w, pool, linear to the features, linear to the logits; ReLU after all but the last, so that features
    are at least 0. For CIFAR-10 the paper has w = 64 and 256 features.

    Args (see `saddle.networks` for the others):
        resolution: a multiple of 4.
        width: w.
        features: F.
        classes: at least 1.
    """

    def __init__(self, channels: int, resolution: int, width: int, features: int, classes: int, init: str = "xavier"):
        super().__init__()
        pixels = (resolution // 4) ** 2
        self.lower = nn.Sequential(
            nn.Conv2d(channels, width, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * pixels, features),
            nn.ReLU(inplace=True),
        )
        self.upper = nn.Linear(features, classes)
        initialise(self, init)

    def features(self, images: Tensor) -> Tensor:
        """E0: images [B, C, H, W] to features [B, F], float32 at least."""
        return at_least_float32(self.lower(images))

    def classify(self, features: Tensor) -> Tensor:
        """E1: features [B, F] to logits [B, K], float32 at least."""
        return at_least_float32(self.upper(features))

    def forward(self, images: Tensor) -> Tensor:
        """E1 of E0: the class logits [B, K] of images."""
        return self.classify(self.features(images))


class FeatureGenerator(nn.Module):
    """G1: labels [B] and noise z1 [B, noise] to features [B, features], at least 0 like the encoder's."""

    def __init__(self, noise: int, classes: int, hidden: int, features: int):
        super().__init__()
        self.condition = Condition("concat", classes)
        layers: list[nn.Module] = []
        for inputs in (noise + classes, hidden):
            layers += [nn.Linear(inputs, hidden, bias=False), BatchNorm(hidden), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, features), nn.ReLU(inplace=True))

    def forward(self, labels: Tensor, noise: Tensor) -> Tensor:
        """Features of labels under noise, float32 at least."""
        return at_least_float32(self.layers(self.condition(noise, labels)))


class ImageGenerator(nn.Module):
    """G0: features [B, features] and noise z0 [B, noise] to images [B, channels, 32, 32] in [-1, 1].

    Linear to 5x5, then 5x5 transposed convolutions to 10, 14, 28 and 32 pixels, of stride 2, 1, 2, 1; batch norm and
    ReLU between, tanh at the end. `width` is the number of channels of the last hidden layers, 128 in the paper.
    """

    def __init__(self, features: int, noise: int, width: int, channels: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(features + noise, 2 * width * 25, bias=False)]
        layers += [nn.Unflatten(1, (2 * width, 5, 5)), BatchNorm(2 * width), nn.ReLU(inplace=True)]
        for inputs, outputs, stride in ((2 * width, 2 * width, 2), (2 * width, width, 1), (width, width, 2)):
            padding, extra = (2, 1) if stride == 2 else (0, 0)
            layers.append(nn.ConvTranspose2d(inputs, outputs, 5, stride, padding, extra, bias=False))
            layers += [BatchNorm(outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 5))

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Images of features under noise, in at least float32."""
        return bounded_image(self.layers(torch.cat([features.to(noise), noise], 1)))


class Generator(nn.Module):
    """Both generators. A latent is the noise z1 of the features, then the noise z0 of the image.

    Args (see `saddle.networks` for the others):
        latent_dim: length of both noises together; 66 in the paper's recipe for CIFAR-10.
        image_noise: length of z0; 16 there.
        features: F; 256 there.
        hidden: units of the hidden layers of G1.
        width: channels of the last hidden layers of G0.
        resolution: 32.

    Raises:
        InputError: for data without labels, or noises that do not fit into a latent.
    """

    def __init__(
        self,
        latent_dim: int,
        image_noise: int,
        classes: int,
        features: int,
        hidden: int,
        width: int,
        channels: int,
        resolution: int = RESOLUTION,
        init: str = "normal02",
    ):
        super().__init__()
        if resolution != RESOLUTION:
            raise InputError(f"data.resolution={resolution}: the Stacked GAN's networks draw {RESOLUTION} pixels")
        if classes < 1:
            raise InputError("model=stacked_gan draws features of labels; choose data with labels")
        if not 0 < image_noise < latent_dim:
            raise InputError(
                f"model.generator.image_noise={image_noise}: model.latent_dim={latent_dim} holds the noise of both "
                f"levels; choose 1 to {latent_dim - 1}"
            )
        self.latent_dim, self.image_noise = latent_dim, image_noise
        self.upper = FeatureGenerator(latent_dim - image_noise, classes, hidden, features)
        self.lower = ImageGenerator(features, image_noise, width, channels)
        initialise(self, init)

    def split(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """z1 [B, latent_dim - image_noise] and z0 [B, image_noise] of latents."""
        feature_noise, image_noise = latents.tensor_split([self.latent_dim - self.image_noise], 1)
        return feature_noise, image_noise

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images of labels: G0 of G1."""
        feature_noise, image_noise = self.split(latents)
        return self.lower(self.upper(labels, feature_noise), image_noise)


class FeatureDiscriminator(nn.Module):
    """D1 and Q1: features [B, features] to logits [B] and guesses of the noise [B, noise] that they were made with.

    Args (see `saddle.networks` for the others):
        blur: standard deviation of normal numbers that are added to the features, 0.2 in the paper's code; 0 for none.
        classes: how many class logits D has, of which its logit is log sum exp, as in `saddle.heads.stacked.Level`; 0
            for one plain logit.
    """

    def __init__(self, features: int, noise: int, hidden: int, blur: float, classes: int = 0, init: str = "xavier"):
        super().__init__()
        self.blur = blur
        self.layers = nn.Sequential(
            nn.Linear(features, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2)
        )
        self.logit, self.guess = nn.Linear(hidden, classes or 1), nn.Linear(hidden, noise)
        initialise(self, init)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B], guesses [B, noise], and what the logits are made of, [B, classes or 1]; float32 at least."""
        if self.blur:
            features = features + self.blur * layer_noise(features, features.shape[1])
        hidden = self.layers(features)
        scores = at_least_float32(self.logit(hidden))
        return scores.logsumexp(1), at_least_float32(self.guess(hidden)), scores


class Trunk(LayeredTrunk):
    """D0's layers for CIFAR-10, for images of any size: the 2 w features are the mean over the last map.

    c3 w, c3 w of stride 2, c3 2w, c3 2w of stride 2, c3 2w, c1 2w; LeakyReLU 0.2. The paper's w is 96.

    Args (see `saddle.networks` for the others):
        width: w.
        norm: of the hidden layers but the first.
    """

    def __init__(self, width: int, channels: int, norm: str = "none", init: str = "normal02"):
        layers: list[nn.Module] = []
        before = channels
        for after, kernel, stride in ((1, 3, 1), (1, 3, 2), (2, 3, 1), (2, 3, 2), (2, 3, 1), (2, 1, 1)):
            convolution = nn.Conv2d(before, after * width, kernel, stride, kernel // 2)
            layers.append(weight_norm(norm, convolution))
            if len(layers) > 1:
                layers.append(activation_norm(norm, after * width))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            before = after * width
        super().__init__(layers, 2 * width, norm, init)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] -> features [B, F]."""
        return super().forward(images).mean((2, 3))
