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
_PART = 128  # states in work at once
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
        before = x
    mean, power, reach = (torch.stack(column) for column in zip(*states, strict=True))
    back_mean, back_power, back_reach, gain, trusted = (torch.stack(column) for column in zip(*steps, strict=True))
    left = torch.ones_like(gain)
    tables = Tables(times, mean, power, reach, back_mean, back_power, back_reach, gain, trusted, left)
    return SmootherMoments(sde, basis, tables)


def _mean(sde: SDE, x: Float[Tensor, "n *state"]) -> Float[Tensor, "*state"]:
    """Mean over the states and their images; symmetries are linear, so that of the mean's images."""
    return torch.cat(sde.images(x.double().mean(0, keepdim=True).to(x))).mean(0)


def _moments(basis: Basis, sde: SDE, x: Float[Tensor, "n *state"]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the states, variance and reach of their modes, over all images under the symmetries of the process."""
    mean = _mean(sde, x)
    total, largest = torch.zeros((), dtype=torch.float64), torch.zeros(())
    for part in torch.split(x, _PART):
        squares = _product(*[to_modes(basis, torch.cat(sde.images(part)) - mean)] * 2)
        total = total + squares.sum(0, dtype=torch.float64)
        largest = torch.maximum(largest, squares.amax(0))
    return mean, _floored((total / _count(sde, x)).to(x)), _REACH * largest.sqrt()


def _regression(
    basis: Basis, sde: SDE, before: Float[Tensor, "n *state"], x: Float[Tensor, "n *state"], t: Tensor, dt: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, variance and reach of ``b``, K, and where ``b`` is the physics: there it correlates better with the start.

    ``before``: the states one interval earlier.  All images count, as they do in the moments of the states: the mean
    of a step is then that of its start exactly, and what it leaves never negative.
    """
    back = [taken_back(sde, part, t.expand(len(part)), dt.expand(len(part))) for part in torch.split(x, _PART)]
    start, found = _mean(sde, before), []
    for y in (x, torch.cat(back)):
        mean, power, reach = _moments(basis, sde, y)
        total = torch.zeros((), dtype=torch.float64)
        for one, other in zip(torch.split(before, _PART), torch.split(y, _PART), strict=True):
            ends = (torch.cat(sde.images(v)) - m for v, m in ((one, start), (other, mean)))
            total = total + _product(*(to_modes(basis, v) for v in ends)).sum(0, dtype=torch.float64)
        found.append((mean, power, reach, (total / _count(sde, x)).to(x) / power))
    (own_mean, *own), (back_mean, *physics) = found
    explained = [gain**2 * power for power, _, gain in (own, physics)]
    trusted = (explained[1] > explained[0]) & explained[1].isfinite()
    power, reach, gain = (torch.where(trusted, b, a) for a, b in zip(own, physics, strict=True))
    mean = torch.where(trusted, *(to_modes(basis, m[None])[0] for m in (back_mean, own_mean)))
    return from_modes(basis, mean[None], tuple(x.shape[2:]))[0], power, reach, gain, trusted


def _product(y: Tensor, z: Tensor) -> Tensor:
    """``Re y z*``."""
    return (y * z.conj()).real if y.is_complex() else y * z


def _count(sde: SDE, x: Float[Tensor, "n *state"]) -> int:
    return len(x) * len(sde.images(x[:1]))


def _floored(power: Tensor) -> Tensor:
    least = _FLOOR * power.mean(dim=tuple(range(1, power.ndim)), keepdim=True).clamp(min=1e-12)
    return torch.maximum(power, least)
