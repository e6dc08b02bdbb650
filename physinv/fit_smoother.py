"""Fit the smoother of nonlinear physics to a trajectory dataset: one linear regression for every mode and interval."""

from __future__ import annotations

__all__ = ["fit_smoother"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.sde import SDE
from physinv.smoother_moments import Basis, SmootherMoments, Tables, from_modes, taken_back, to_modes
from physinv.trajectories import TrajectoryDataset

_FEW = 1024  # trajectories that suffice: a gain is then known to 3 % of what it leaves open
_FLOOR = 1e-9  # of the mean power per channel: modes with less hold rounding errors
_REACH = 2.0  # times the largest modulus seen is as far as any mode may go


@torch.no_grad()
def fit_smoother(sde: SDE, data: TrajectoryDataset, basis: Basis) -> SmootherMoments:
    """The reference of :mod:`~physinv.smoother_moments`; buffers are float32 on the CPU."""
    few = min(_FEW, data.n_trajectories)
    times = data.times.float()
    states: list[tuple[Tensor, ...]] = []
    steps: list[tuple[Tensor, ...]] = []
    before = torch.zeros(())
    for i in range(len(times)):
        x = data.states(i, limit=few).cpu()
        states.append(_moments(basis, sde, x))
        if i:
            steps.append(_regression(basis, sde, before, x, times[i], times[i] - times[i - 1]))
        before = to_modes(basis, x)
    mean, power, reach = (torch.stack(column) for column in zip(*states, strict=True))
    back_mean, back_power, back_reach, gain, trusted = (torch.stack(column) for column in zip(*steps, strict=True))
    left = torch.ones_like(gain)
    tables = Tables(times, mean, power, reach, back_mean, back_power, back_reach, gain, trusted, left)
    return SmootherMoments(sde, basis, tables)


def _moments(basis: Basis, sde: SDE, x: Float[Tensor, "n *state"]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the states, variance and reach of their modes."""
    x = torch.cat(sde.images(x))
    mean = x.mean(0)
    size = to_modes(basis, x - mean).abs()
    return mean, _floored(size.square().mean(0)), _REACH * size.amax(0)


def _regression(
    basis: Basis, sde: SDE, before: Tensor, x: Float[Tensor, "n *state"], t: Tensor, dt: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, variance and reach of ``b``, K, and where ``b`` is the physics: there it correlates better with the start.

    ``before``: modes of the states one interval earlier.
    """
    physics = torch.cat([taken_back(sde, part, t.expand(len(part)), dt.expand(len(part))) for part in torch.split(x, 128)])
    start = before - before.mean(0)
    found = []
    for y in (to_modes(basis, x), to_modes(basis, physics)):
        mean = y.mean(0)
        size = (y - mean).abs()
        power = _floored(size.square().mean(0))
        found.append((mean, power, _REACH * size.amax(0), (start * (y - mean).conj()).mean(0).real / power))
    own, back = found
    explained = [gain**2 * power for _, power, _, gain in found]
    trusted = (explained[1] > explained[0]) & explained[1].isfinite()
    mean, power, reach, gain = (torch.where(trusted, b, a) for a, b in zip(own, back, strict=True))
    return from_modes(basis, mean[None], tuple(x.shape[2:]))[0], power, reach, gain, trusted


def _floored(power: Tensor) -> Tensor:
    least = _FLOOR * power.mean(dim=tuple(range(1, power.ndim)), keepdim=True).clamp(min=1e-12)
    return torch.maximum(power, least)
