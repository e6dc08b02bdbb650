"""Put a score model together: the reference law that suits the state, a network that suits the reference."""

from __future__ import annotations

__all__ = ["build_model", "load_reference", "build_network", "clock", "symmetries"]

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE, Linear
from physinv.models.networks import MLP, ParticleNet, UNet
from physinv.models.references.base import LinearReference, ReferenceLaw, SpectralReference
from physinv.models.references.fit import fit_reference
from physinv.models.references.low_rank import LowRankReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.references.particles import ParticleReference
from physinv.models.references.smoother import Basis, SmootherReference, Tables
from physinv.models.score import ScoreModel

_ALL_PAIRS = 64  # particles up to which each of them hears from every other


def build_model(
    sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: Seed = 0, mixed: bool = False
) -> ScoreModel:
    """Fit the reference law to ``data`` and put a network that suits the state around it."""
    reference = fit_reference(sde, data, components=settings.components, seed=seed)
    with seeds(seed).child("model", "network").as_global():
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
    """What a score of states of ``shape`` is averaged over: vectors only, whose networks cost next to nothing."""
    return sde.images if len(shape) == 1 and len(sde.images(torch.zeros(1, *shape))) > 1 else None


def clock(times: Float[Tensor, " time"]) -> tuple[float, float]:
    """First and last stored time after 0, which set the network's sense of time."""
    return float(times[1]), float(times[-1])


def load_reference(name: str, sde: SDE, tensors: Mapping[str, Tensor]) -> ReferenceLaw:
    """The reference law called ``name`` out of the ``state_dict`` of the score model around it."""
    part = {k.removeprefix("reference."): v for k, v in tensors.items() if k.startswith("reference.")}
    if name == LinearReference.name and isinstance(sde, Linear):
        return LinearReference(sde, part["mean0"], part["power0"])
    if name == SpectralReference.name:
        return SpectralReference(part["times"], part["mean"], part["power"])
    if name == SmootherReference.name:
        basis: Basis = "identity" if part["power"].shape == part["mean"].shape else "fourier"
        return SmootherReference(sde, basis, Tables(*(part[name] for name in Tables._fields)))
    if name == ParticleReference.name:
        names = ("times", "mean", "within", "centre", "unit", "period", "isotropic")
        return ParticleReference(sde, *(part[name] for name in names))
    if name == LowRankReference.name:
        physics = sde if part["mean"].ndim == 2 else None
        return LowRankReference(physics, part["times"], part["mean"], part["factor"], part["diagonal"], part["bounds"])
    return MixtureReference(sde, part["times"], part["weights"], part["means"], part["factors"], part["bounds"])
