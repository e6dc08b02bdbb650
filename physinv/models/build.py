"""Build a score model: the reference law that suits the state, and a network that suits the reference law."""

from __future__ import annotations

__all__ = ["build_model", "build_network", "clock", "symmetries"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.networks import MLP, ParticleNet, UNet
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.particles import ParticleReference
from physinv.models.references.registry import fit_reference
from physinv.models.score import ScoreModel

_ALL_PAIRS = 64  # particles up to which each of them hears from every other


def build_model(
    sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: int = 0, mixed: bool = False
) -> ScoreModel:
    """Fit the reference law to data, and build a score model around it.

    Args:
        sde: The physics.
        data: Training trajectories.
        settings: Training settings; those of the reference law and of the network are read.
        seed: Seed of the fit and of the network's initial weights.
        mixed: Whether the network runs in bfloat16.

    Returns:
        The score model, before training.
    """
    reference = fit_reference(sde, data, settings, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch's layers take no generator; the global state is restored
        network = build_network(reference, data.shape, settings, periodic=data.layout.boundary == "PERIODIC")
    return ScoreModel(reference, network, clock(data.times), images=symmetries(sde, data.shape), mixed=mixed)


def build_network(
    reference: ReferenceLaw, shape: tuple[int, ...], settings: Settings, *, periodic: bool = True
) -> nn.Module:
    """An MLP for vectors ``(dim,)``, a U-Net for fields ``(channels, *space)``, ``periodic`` or with walls, or one for
    particles."""
    if isinstance(reference, ParticleReference):
        return ParticleNet(
            reference.dimension,
            reference.vectors,
            reference.scalars,
            width=settings.width or 32,
            depth=settings.depth or 2,
            box=float(reference.period[0] / reference.unit),
            absolute=not bool(reference.isotropic),
            neighbours=None if shape[0] <= _ALL_PAIRS else 32,
        )
    if len(shape) == 1:
        width, depth = settings.width or 64, settings.depth or 3
        return MLP(reference.channels_in, reference.channels_out, width=width, depth=depth)
    levels = settings.depth or 2
    if any(n % 2**levels for n in shape[1:]):
        raise ValueError(
            f"setting `depth` = {levels} needs grid sides divisible by {2**levels}, "
            f"got {'x'.join(map(str, shape[1:]))}; "
            f"choose a smaller `depth` or another grid."
        )
    return UNet(
        reference.channels_in,
        reference.channels_out,
        dimension=len(shape) - 1,
        width=settings.width or 16,
        levels=levels,
        periodic=periodic,
    )


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
