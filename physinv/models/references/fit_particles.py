"""Fit the exchangeable Gaussian of :mod:`physinv.models.references.particles` to the states of particles."""

from __future__ import annotations

__all__ = ["fit_particles", "fit_tables"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE
from physinv.models.references.particles import ParticleReference
from physinv.processes.layout import StateLayout

_FEW = 256  # states that tell how close particles are


def fit_particles(
    sde: SDE, layout: StateLayout, times: Float[Tensor, " time"], states: Callable[[int], Tensor]
) -> ParticleReference:
    """The reference law of particles; ``states(i)`` gives those at ``times[i]``.  Buffers are float32 on the CPU."""
    tables = [fit_tables(torch.cat(sde.images(states(i).double())).cpu()) for i in range(len(times))]
    mean, within, centre = (torch.stack(table).float() for table in zip(*tables, strict=True))
    d = len(layout.coordinates[1])
    last = states(len(times) - 1)[:_FEW, :, :d].cpu()
    unit = _nearest(last, layout.box).median() if last.shape[1] > 1 else last.std()
    period, isotropic = torch.full((d,), layout.box), torch.tensor(layout.isotropic)
    unit = unit.float().clamp(min=1e-6)
    return ParticleReference(sde, times.float(), mean, within, centre, unit, period, isotropic)


def fit_tables(x: Float[Tensor, "m n c"]) -> tuple[Tensor, Tensor, Tensor]:
    """``M (S, k)``, ``W (S, k, k)`` and ``B (S k, S k)`` of states that all have the same species in the same places.

    A species of one particle has no deviations; its ``W``, which then only sets a scale, is the variance of its mean.
    """
    y, first = x[..., :-1], x[0, :, -1] > 0
    groups = [y[:, g] for g in (first, ~first) if bool(g.any())]
    means = torch.stack([g.mean(1) for g in groups], dim=1)  # (m, S, k)
    flat = (means - means.mean(0)).flatten(1)
    centre = flat.T @ flat / max(len(x) - 1, 1)
    within = []
    for i, g in enumerate(groups):
        e = g - means[:, i, None] if g.shape[1] > 1 else g - g.mean(0)
        within.append(torch.einsum("mnk,mnl->kl", e, e) / max(len(x) * max(g.shape[1] - 1, 1), 1))
    return means.mean(0), _regular(torch.stack(within)), _regular(centre)


def _regular(C: Float[Tensor, "*batch k k"]) -> Float[Tensor, "*batch k k"]:
    """A millionth of the mean variance added, so that point clouds have a score too."""
    scale = C.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].clamp(min=1e-12)
    return C + 1e-6 * scale * torch.eye(C.shape[-1], dtype=C.dtype)


def _nearest(q: Float[Tensor, "m n d"], box: float) -> Float[Tensor, "m n"]:
    """Distance of each particle to the nearest other one."""
    gaps = q[:, :, None] - q[:, None]
    gaps = gaps - box * (gaps / box).round() if box else gaps
    return (gaps.square().sum(-1) + torch.diag(torch.full((q.shape[1],), torch.inf))).amin(-1).sqrt()
