"""Networks: modules ``(features, t) -> output`` with ``t`` in [0, 1]; any other such module can take their place."""

from physinv.models.networks.build import NETWORKS, build_network
from physinv.models.networks.mlp import MLP
from physinv.models.networks.particles import ParticleNet
from physinv.models.networks.state_space import StateSpaceNet
from physinv.models.networks.tokens import TokenNet
from physinv.models.networks.unet import UNet

__all__ = ["MLP", "NETWORKS", "ParticleNet", "StateSpaceNet", "TokenNet", "UNet", "build_network"]
