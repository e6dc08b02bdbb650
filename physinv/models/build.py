"""Put a score model together: the reference law that suits the state, a network that suits the reference."""

from __future__ import annotations

__all__ = ["build_model", "clock", "load_reference", "score_network", "symmetries"]

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE, Linear
from physinv.models.networks.build import build_network
from physinv.models.references.base import LinearReference, ReferenceLaw, SpectralReference
from physinv.models.references.fit import fit_reference
from physinv.models.references.low_rank import LowRankReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.references.particles import ParticleReference
from physinv.models.references.smoother import Basis, SmootherReference, Tables
from physinv.models.score import ScoreModel
from physinv.processes.layout import StateLayout


def build_model(
    sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: int = 0, mixed: bool = False
) -> ScoreModel:
    """Fit the reference law to ``data`` and put a network that suits the state around it."""
    reference = fit_reference(sde, data, components=settings.components, seed=seed)
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


def load_reference(kind: str, sde: SDE, tensors: Mapping[str, Tensor]) -> ReferenceLaw:
    """The reference law of class ``kind`` out of the ``state_dict`` of the score model around it."""
    part = {k.removeprefix("reference."): v for k, v in tensors.items() if k.startswith("reference.")}
    if kind == "LinearReference" and isinstance(sde, Linear):
        return LinearReference(sde, part["mean0"], part["power0"])
    if kind == "SpectralReference":
        return SpectralReference(part["times"], part["mean"], part["power"])
    if kind == "SmootherReference":
        basis: Basis = "identity" if part["power"].shape == part["mean"].shape else "fourier"
        return SmootherReference(sde, basis, Tables(*(part[name] for name in Tables._fields)))
    if kind == "ParticleReference":
        names = ("times", "mean", "within", "centre", "unit", "period", "isotropic")
        return ParticleReference(sde, *(part[name] for name in names))
    if kind == "LowRankReference":
        physics = sde if part["mean"].ndim == 2 else None
        return LowRankReference(physics, part["times"], part["mean"], part["factor"], part["diagonal"], part["bounds"])
    return MixtureReference(sde, part["times"], part["weights"], part["means"], part["factors"], part["bounds"])
