"""The network that suits a state, for all learned baselines, and how it is run in parts."""

from __future__ import annotations

__all__ = ["build_backbone", "chunked", "source"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.settings import Settings
from physinv.methods.learned.coordinates import TargetCoordinates
from physinv.models.networks import MLP, ParticleNet, UNet
from physinv.posterior.posterior import default_batch

_ALL_PAIRS, _NEAREST = 64, 32  # particles up to which each sees every other one; else so many nearest ones


def build_backbone(
    coordinates: TargetCoordinates,
    settings: Settings,
    *,
    groups: int,
    heads: int = 1,
    dropout: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """Build a network of the size of the score model's, ``(features, t (batch)) -> output``.

    Args:
        coordinates: The coordinates in which it estimates.
        settings: Width and depth.
        groups: Number of groups of features (:meth:`~physinv.methods.learned.coordinates.TargetCoordinates.features`).
        heads: 2 for a second number per component
            (:meth:`~physinv.methods.learned.coordinates.TargetCoordinates.split_heads`).
        dropout: Probability that a channel is dropped.
        seed: Seed of the weights.

    Returns:
        The untrained network.
    """
    layout, m, static = coordinates.layout, coordinates.components, len(coordinates.fixed)
    inputs, outputs = groups * m + static, heads * m
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch's layers take no generator; the global state is restored
        if coordinates.particles:
            d = coordinates.dimension
            return ParticleNet(
                d,
                groups * m // d,
                static,
                width=settings.width or 32,
                depth=settings.depth or 2,
                box=layout.box / float(coordinates.length),
                absolute=not layout.isotropic,
                neighbours=None if layout.shape[0] <= _ALL_PAIRS else _NEAREST,
                dropout=dropout,
                outputs=m // d,
                numbers=(heads - 1) * m // d,
            )
        if layout.kind == "vector":
            return MLP(inputs, outputs, width=settings.width or 64, depth=settings.depth or 3, dropout=dropout)
        return UNet(
            inputs,
            outputs,
            dimension=len(layout.axes),
            width=settings.width or 16,
            levels=settings.depth or 2,
            periodic=layout.boundary == "PERIODIC",
            dropout=dropout,
        )


@torch.no_grad()
def chunked(work: Callable[[Tensor], Tensor], x: Float[Tensor, "batch *state"], at_once: int | None = None) -> Tensor:
    """Apply a function to a few states at a time, in float32, the precision of the networks.

    Args:
        work: The function, of a batch of states.
        x: The states.
        at_once: States at a time; None: as many as suit the device.

    Returns:
        The results, joined along the batch, in the dtype of ``x``.
    """
    parts = [work(part.float()) for part in torch.split(x, at_once or default_batch(x))]
    return torch.cat(parts).to(x.dtype)


def source(generator: torch.Generator | None, device: torch.device) -> torch.Generator:
    """Return a generator: the given one, or a new one seeded by torch's global state.

    Args:
        generator: The given one, or None.
        device: Device of a new one.

    Returns:
        The generator.
    """
    return generator or torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))
