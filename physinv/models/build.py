"""Build a score model: the reference law that suits the state, and a network that suits the reference law."""

from __future__ import annotations

__all__ = ["build_model", "clock", "score_network", "symmetries"]

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.inputs import check_instance
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings, as_settings
from physinv.data.checks import check_trajectories
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.networks.build import build_network
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.registry import fit_reference
from physinv.models.score import ScoreModel
from physinv.processes.layout import StateLayout


def build_model(
    sde: SDE,
    data: TrajectoryDataset,
    settings: Settings | Mapping[str, Any] | None = None,
    *,
    seed: Seed = 0,
    mixed: bool = False,
) -> ScoreModel:
    """Fit the reference law to data, and build a score model around it.

    Args:
        sde: The physics.
        data: Training trajectories.
        settings: Training settings, or their values by name; those of the reference law and of the network are read.
        seed: Seed of the fit and of the network's initial weights.
        mixed: Whether the network runs in bfloat16.

    Returns:
        The score model, before training.

    Raises:
        ValueError: If an argument is of another kind, data and physics do not fit each other, or a setting is unknown.
    """
    check_instance(sde, SDE, "sde", "give build_model(sde, data, settings)")
    check_trajectories(data, "data", sde)
    settings = as_settings(settings)
    stream = seeds(seed).child("model")
    reference = fit_reference(sde, data, settings, seed=stream.child("reference"))
    network = score_network(reference, data.layout, settings, seed=stream.child("network"))
    images = symmetries(sde, data.shape)
    return ScoreModel(reference, network, clock(data.times), images=images, mixed=mixed, shape=data.shape, physics=sde)


def score_network(reference: ReferenceLaw, layout: StateLayout, settings: Settings, *, seed: Seed) -> nn.Module:
    """Build the network of a score model, with the channels of the reference law's features and lift.

    Args:
        reference: The reference law around which the network learns the remainder.
        layout: Layout of the states.
        settings: Training settings; ``network``, ``width`` and ``depth`` are read.
        seed: Seed of the initial weights.

    Returns:
        The network.
    """
    inputs, outputs = reference.channels_in, reference.channels_out
    return build_network(layout, inputs, outputs, settings, seed=seed, unit=reference.length)


def symmetries(sde: SDE, shape: tuple[int, ...]) -> Callable[[Tensor], list[Tensor]] | None:
    """Return the symmetries that a score is averaged over, or None.

    Scores of vectors are averaged, since their networks cost little; scores of fields and particles are not.

    Args:
        sde: The physics.
        shape: Shape of one state.
    """
    return sde.images if len(shape) == 1 and len(sde.images(torch.zeros(1, *shape))) > 1 else None


def clock(times: Float[Tensor, " time"]) -> tuple[float, float]:
    """Return the first stored time after 0 and the last stored time, which set the network's time scale.

    Args:
        times: Stored times, from 0 on.
    """
    return float(times[1]), float(times[-1])
