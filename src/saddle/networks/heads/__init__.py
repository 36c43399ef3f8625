"""Heads of a discriminator: from the trunk's features (and a label) to one logit, with a loss term of their own.

A head decides how the discriminator is conditioned; any head fits on any trunk. To add one: a subclass of `Head` in a
file of this folder and a yaml in conf/model/head.
"""

from saddle.networks.heads.auxiliary import Auxiliary
from saddle.networks.heads.base import Head
from saddle.networks.heads.contrastive import Contrastive
from saddle.networks.heads.labels import Concat, Linear, Projection
from saddle.networks.heads.reconstruction import Decoder, Reconstruction

__all__ = ["Auxiliary", "Concat", "Contrastive", "Decoder", "Head", "Linear", "Projection", "Reconstruction"]
