"""The network that suits a state, for all learned baselines, and how it is run in parts."""

from __future__ import annotations

__all__ = ["build_backbone", "chunked", "load_parts", "part_tensors"]

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.equations.broadcast import default_batch
from physinv.methods.learned.coordinates import TargetCoordinates
from physinv.methods.saving import Setup, below, prefixed
from physinv.models.networks.build import build_network


def build_backbone(
    coordinates: TargetCoordinates,
    settings: Settings,
    *,
    groups: int,
    heads: int = 1,
    dropout: float = 0.0,
    seed: Seed = 0,
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
    stream = seeds(seed).child("model", "network")
    layout, m = coordinates.layout, coordinates.components
    numbers = (heads - 1) * m // coordinates.dimension
    inputs, unit = layout.positions + groups * m + len(coordinates.fixed), float(coordinates.length)
    return build_network(
        layout, inputs, m + numbers, settings, seed=stream, dropout=dropout, numbers=numbers, unit=unit
    )


def part_tensors(coordinates: TargetCoordinates, network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a model of coordinates and a network.

    Args:
        coordinates: The coordinates in which it estimates.
        network: The trained network.

    Returns:
        Tensors by name.
    """
    return prefixed("coordinates", coordinates.tensors()) | prefixed("network", network.state_dict())


def load_parts(
    setup: Setup, tensors: Mapping[str, Tensor], *, groups: int, heads: int = 1, dropout: float = 0.0
) -> tuple[TargetCoordinates, nn.Module]:
    """Make coordinates and network again from the tensors of :func:`part_tensors`.

    Args:
        setup: What the run knows.
        tensors: The tensors.
        groups: Number of groups of features that the network was built for.
        heads: Number of its heads.
        dropout: Probability that a channel is dropped.

    Returns:
        Coordinates and network, on the device of the run.
    """
    coordinates = TargetCoordinates.from_tensors(setup.layout, below("coordinates", tensors))
    network = build_backbone(coordinates, setup.settings, groups=groups, heads=heads, dropout=dropout, seed=setup.seed)
    network.load_state_dict(below("network", tensors))
    return coordinates.to(setup.device), network.to(setup.device)


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
