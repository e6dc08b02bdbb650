"""Fit the reference law of a score model to a trajectory dataset."""

from __future__ import annotations

__all__ = ["fit_reference", "fit_spectra"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seed, seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE, Linear
from physinv.laws.mixture import cluster
from physinv.models.references.base import LinearReference, ReferenceLaw, SpectralReference
from physinv.models.references.fit_particles import fit_particles
from physinv.models.references.fit_smoother import fit_smoother
from physinv.models.references.low_rank import LowRankReference, factor_analysis
from physinv.models.references.mixture import MixtureReference

_DENSE = 16  # vectors of more dimensions get one Gaussian, of low rank plus diagonal
_RANK = 16  # its largest rank
_FEW = 4096  # trajectories that suffice for the moments of a mixture, or for those of low rank


def fit_reference(sde: SDE, data: TrajectoryDataset, *, components: int = 6, seed: Seed = 0) -> ReferenceLaw:
    """The reference that suits the state (see :mod:`physinv.models.references.base`): a dense mixture for vectors of
    up to 16 numbers, an exchangeable Gaussian for particles, a spectrum for fields under linear physics that is
    diagonal in a basis (carried through it exactly), a smoother for other fields (mode by mode where they are
    periodic), low rank plus diagonal otherwise.

    ``components`` bounds the size of a mixture; the number used is chosen by BIC on the initial states.
    Buffers are float32, on the CPU or (smoother) on the device of the data.
    """
    if data.layout.kind == "particles":
        few = min(_FEW, data.n_trajectories)
        return fit_particles(sde, data.layout, data.times, lambda i: data.states(i, limit=few))
    field = data.layout.kind == "field"
    if field and isinstance(sde, Linear) and sde.basis != "identity":
        mean, power = _spectrum(sde.modes, sde, data.states(0))
        return LinearReference(sde, mean, power)
    if field:
        return fit_smoother(sde, data, "fourier" if data.layout.boundary == "PERIODIC" else "identity")
    if not field and data.shape[0] <= _DENSE:
        return _mixture(sde, data, components, seed)
    return _low_rank(sde, data)


def fit_spectra(sde: SDE, data: TrajectoryDataset) -> SpectralReference:
    """Mean and power spectrum of periodic fields at every stored time: a reference without dynamics, for ``split``."""

    def modes(x: Tensor) -> Tensor:
        y: Tensor = torch.fft.rfftn(x, dim=tuple(range(2, x.ndim)), norm="ortho")
        return y

    parts = [_spectrum(modes, sde, data.states(i)) for i in range(len(data.times))]
    return SpectralReference(data.times.float(), *(torch.stack(table) for table in zip(*parts, strict=True)))


def _spectrum(modes: Callable[[Tensor], Tensor], sde: SDE, x: Float[Tensor, "n *state"]) -> tuple[Tensor, Tensor]:
    """Mean ``(*state)`` and power ``E|y_k - E y_k|^2`` per orthonormal mode, unbiased, float32."""
    x = torch.cat(sde.images(x))
    mean = x.double().mean(0)
    total = torch.zeros((), dtype=torch.float64)
    for part in torch.split(x, 1024):
        y = modes(part.double() - mean)
        total = total + y.abs().square().sum(0)
    return mean.float(), (total / max(len(x) - 1, 1)).float()


def _mixture(sde: SDE, data: TrajectoryDataset, components: int, seed: Seed) -> MixtureReference:
    """Component ``k`` has, at every time, the moments of the trajectories that started in cluster ``k``."""
    dim, few = data.shape[0], min(_FEW, data.n_trajectories)
    start = torch.cat(sde.images(data.states(0, limit=few).double()))
    images, few = len(start) // few, len(start)
    generator = seeds(seed).child("model", "reference").generator()
    most = min(components, max(1, few // (10 * (dim + 1))))
    member = cluster(start, most, generator=generator) if most > 1 else start.new_ones(few, 1)
    share = member.mean(0)
    means, factors, bounds = [], [], []
    for i in range(len(data.times)):
        x = torch.cat(sde.images(data.states(i, limit=few // images).double()))
        mean = member.T @ x / (share * few)[:, None]
        gap = x[None] - mean[:, None]
        cov = torch.einsum("nk,knd,kne->kde", member, gap, gap) / (share * few)[:, None, None]
        scale = x.var(0, unbiased=False).mean().clamp(min=1e-12)
        cov = cov + 1e-6 * scale * torch.eye(dim, dtype=torch.float64)
        means.append(mean)
        bounds.append(torch.stack([x.amin(0), x.amax(0)]))
        factors.append(torch.linalg.cholesky(cov))
    tables = (torch.stack(table).float() for table in (means, factors, bounds))
    return MixtureReference(sde, data.times.float(), share.float(), *tables)


def _low_rank(sde: SDE, data: TrajectoryDataset) -> LowRankReference:
    """Factor analysis of the states at every stored time; of the first alone, carried exactly, if the SDE is linear."""
    linear = sde if isinstance(sde, Linear) and sde.basis == "identity" else None
    few = min(_FEW, data.n_trajectories)
    means: list[Tensor] = []
    factors: list[Tensor] = []
    diagonals: list[Tensor] = []
    bounds: list[Tensor] = []
    for i, t in enumerate(data.times):
        x = torch.cat(sde.images(data.states(i, limit=few).double())).cpu()
        if linear is None or i == 0:
            mean, (U, D) = x.mean(0), factor_analysis(x.flatten(1), _RANK)
            U, D = U.reshape(*data.shape, _RANK), D.reshape(data.shape)
        else:
            decay, q = linear.decay(t[None], x[:1])[0], linear.variance(t[None], x[:1])[0]
            mean, U, D = decay * means[0], decay[..., None] * factors[0], decay**2 * diagonals[0] + q
        means.append(mean)
        factors.append(_aligned(U, factors[-1]) if factors else U)
        diagonals.append(D)
        bounds.append(torch.stack([x.amin(0), x.amax(0)]))
    factor = torch.stack(factors)
    used = max(1, int((factor.flatten(0, -2).abs().amax(0) > 0).sum()))
    tables = (torch.stack(means), factor[..., :used], torch.stack(diagonals), torch.stack(bounds))
    physics = sde if data.layout.kind == "vector" else None
    return LowRankReference(physics, data.times.float(), *(table.float() for table in tables))


def _aligned(U: Float[Tensor, "*state rank"], before: Float[Tensor, "*state rank"]) -> Float[Tensor, "*state rank"]:
    """``U Q`` with the orthogonal ``Q`` that brings it closest to ``before`` (Schoenemann 1966); ``U U^T`` stays."""
    left, _, right = torch.linalg.svd(U.flatten(0, -2).T @ before.flatten(0, -2))
    turned: Tensor = U @ (left @ right)
    return turned
