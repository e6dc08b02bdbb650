"""Put a score model together: the reference law that suits the state, a network that suits the reference."""

from __future__ import annotations

__all__ = ["build_model", "clock", "score_network", "symmetries"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.networks.build import build_network
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.registry import fit_reference
from physinv.models.score import ScoreModel
from physinv.processes.layout import StateLayout


def build_model(
    sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: int = 0, mixed: bool = False
) -> ScoreModel:
    """Fit the reference law to ``data`` and put a network that suits the state around it."""
    reference = fit_reference(sde, data, settings, seed=seed)
    network = score_network(reference, data.layout, settings, seed=seed)
    return ScoreModel(reference, network, clock(data.times), images=symmetries(sde, data.shape), mixed=mixed)


def score_network(reference: ReferenceLaw, layout: StateLayout, settings: Settings, *, seed: int) -> nn.Module:
    """Build the network of a score model: as many channels as the reference law gives and takes.

    Args:
        reference: The reference law around which the network learns the remainder.
        layout: Layout of the states.
        settings: Of which ``network``, ``width`` and ``depth`` count here.
        seed: Seed of the initial weights.
    """
    inputs, outputs = reference.channels_in, reference.channels_out
    return build_network(layout, inputs, outputs, settings, seed=seed, unit=reference.length)


def symmetries(sde: SDE, shape: tuple[int, ...]) -> Callable[[Tensor], list[Tensor]] | None:
    """What a score of states of ``shape`` is averaged over: vectors only, whose networks cost next to nothing."""
    return sde.images if len(shape) == 1 and len(sde.images(torch.zeros(1, *shape))) > 1 else None


def clock(times: Float[Tensor, " time"]) -> tuple[float, float]:
    """First and last stored time after 0, which set the network's sense of time."""
    return float(times[1]), float(times[-1])
