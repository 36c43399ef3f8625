"""Heads of a discriminator: from the trunk's features (and a label) to one logit, with a loss term of their own.

A head decides how the discriminator is conditioned; any head fits on any trunk. To add one: a subclass of `Head` in a
file of this folder and a yaml in conf/model/head.
"""

from saddle.heads.base import Head, LinearHead

__all__ = ["Head", "LinearHead"]
