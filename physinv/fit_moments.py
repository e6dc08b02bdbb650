"""Fit the reference law of a score model to a trajectory dataset."""

from __future__ import annotations

__all__ = ["fit_moments"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.mixture import cluster
from physinv.moments import LinearMoments, MixtureMoments, Moments, SpectralMoments
from physinv.sde import SDE, Linear
from physinv.trajectories import TrajectoryDataset

_DENSE = 16  # states of more dimensions get one component with a diagonal covariance
_FEW = 4096  # trajectories that suffice for the moments of a mixture


def fit_moments(sde: SDE, data: TrajectoryDataset, *, components: int = 6, seed: int = 0) -> Moments:
    """The reference that suits the state: exact propagation, spectrum, or mixture (see :mod:`physinv.moments`).

    ``components`` bounds the size of a mixture; the number used is chosen by BIC on the initial states.
    Buffers are float32 on the CPU.
    """
    if data.layout.kind == "field":
        if isinstance(sde, Linear) and sde.basis == "fourier":
            mean, power = _spectrum(sde, data.states(0))
            return LinearMoments(sde, mean, power)
        parts = [_spectrum(sde, data.states(i)) for i in range(len(data.times))]
        return SpectralMoments(
            data.times.float(), torch.stack([m for m, _ in parts]), torch.stack([p for _, p in parts])
        )
    return _mixture(sde, data, components, seed)


def _spectrum(sde: SDE, x: Float[Tensor, "n *state"]) -> tuple[Tensor, Tensor]:
    """Mean ``(*state)`` and power ``E|y_k - E y_k|^2`` per orthonormal mode, unbiased, float32."""
    x = torch.cat(sde.images(x))
    mean, space = x.double().mean(0), tuple(range(2, x.ndim))
    total = torch.zeros((), dtype=torch.float64)
    for part in torch.split(x, 1024):
        y = torch.fft.rfftn(part.double() - mean, dim=space, norm="ortho")
        total = total + y.abs().square().sum(0)
    return mean.float(), (total / max(len(x) - 1, 1)).float()


def _mixture(sde: SDE, data: TrajectoryDataset, components: int, seed: int) -> MixtureMoments:
    """Component ``k`` has, at every time, the moments of the trajectories that started in cluster ``k``."""
    dim, few = data.shape[0], min(_FEW, data.n_trajectories)
    start = torch.cat(sde.images(data.states(0, limit=few).double()))
    images, few = len(start) // few, len(start)
    generator = torch.Generator().manual_seed(seed)
    most = min(components, max(1, few // (10 * (dim + 1)))) if dim <= _DENSE else 1
    member = cluster(start, most, generator=generator) if most > 1 else start.new_ones(few, 1)
    share = member.mean(0)
    means, factors, bounds = [], [], []
    for i in range(len(data.times)):
        x = torch.cat(sde.images(data.states(i, limit=few // images).double()))
        mean = member.T @ x / (share * few)[:, None]
        gap = x[None] - mean[:, None]
        cov = torch.einsum("nk,knd,kne->kde", member, gap, gap) / (share * few)[:, None, None]
        if dim > _DENSE:
            cov = torch.diag_embed(cov.diagonal(dim1=-2, dim2=-1))
        scale = x.var(0, unbiased=False).mean().clamp(min=1e-12)
        cov = cov + 1e-6 * scale * torch.eye(dim, dtype=torch.float64)
        means.append(mean)
        bounds.append(torch.stack([x.amin(0), x.amax(0)]))
        factors.append(torch.linalg.cholesky(cov))
    tables = (torch.stack(table).float() for table in (means, factors, bounds))
    return MixtureMoments(sde, data.times.float(), share.float(), *tables)
