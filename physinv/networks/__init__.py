"""Backbones: modules ``(features, t) -> output`` with ``t`` in [0, 1]; any other such module will do."""

from physinv.networks.mlp import MLP
from physinv.networks.particles import ParticleNet
from physinv.networks.unet import UNet

__all__ = ["MLP", "ParticleNet", "UNet"]
