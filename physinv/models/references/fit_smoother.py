"""Fit the smoother of nonlinear physics to a trajectory dataset: one linear regression for every mode and interval."""

from __future__ import annotations

__all__ = ["fit_smoother"]

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.references.smoother import Basis, SmootherReference, Tables, boxed, from_modes, taken_back, to_modes

_FEW = 1024  # trajectories that suffice: a gain is then known to 3 % of what it leaves open
_FLOOR = 1e-9  # of the mean power per channel: modes with less hold rounding errors
_PART = 128  # states in work at once
_FAR = 1e15  # a reach that limits nothing, whose square is finite
_REACH = 2.0  # times the largest modulus seen is as far as any mode may go


class Explained(NamedTuple):
    """Mean of states, variance and reach of their modes, and the gain at which these explain the states before."""

    mean: Tensor
    power: Tensor
    reach: Tensor
    gain: Tensor


@torch.no_grad()
def fit_smoother(sde: SDE, data: TrajectoryDataset, basis: Basis) -> SmootherReference:
    """The reference of :mod:`~physinv.models.references.smoother`; buffers are float32 on the device of the data.

    Static channels come back as they are, also where they differ from all that was seen.
    """
    few = min(_FEW, data.n_trajectories)
    before = data.states(0, limit=few)
    times = data.times.float().to(before.device)
    states, steps = [_regression(basis, sde, before, before, before)[0]], []
    for i in range(1, len(times)):
        x = data.states(i, limit=few)
        t, dt = times[i].expand(few), (times[i] - times[i - 1]).expand(few)
        parts = zip(*(torch.split(v, _PART) for v in (x, t, dt)), strict=True)
        back = torch.cat([taken_back(sde, *part) for part in parts])
        own, step = _interval(basis, sde, before, x, back, states[-1].power)
        states.append(own)
        steps.append(step)
        before = x
    mean, power, reach, _ = (torch.stack(column) for column in zip(*states, strict=True))
    back_mean, back_power, back_reach, gain, trusted, box = (torch.stack(c) for c in zip(*steps, strict=True))
    left = torch.ones_like(gain)
    tables = Tables(times, mean, power, reach, back_mean, back_power, back_reach, box, gain, trusted, left)
    for channel, name in enumerate(data.layout.names):
        if name in data.layout.static:
            _hold(tables, basis, channel)
    return SmootherReference(sde, basis, tables)


def _hold(tables: Tables, basis: Basis, channel: int) -> None:
    """Let a static ``channel`` come back as it is: a gain of 1, from the state itself, without limits."""
    mean, power = tables.mean[:, channel], tables.power[:, channel]
    if basis == "identity":  # what never varied in the data may do so elsewhere: all components in one unit
        power[:] = power.flatten(1).mean(1).reshape(-1, *[1] * (power.ndim - 1))
    tables.back_mean[:, channel], tables.back_power[:, channel] = mean[:-1], power[:-1]
    tables.gain[:, channel], tables.trusted[:, channel] = 1, False
    tables.reach[:, channel] = tables.back_reach[:, channel] = _FAR


def _interval(
    basis: Basis,
    sde: SDE,
    before: Float[Tensor, "n *state"],
    x: Float[Tensor, "n *state"],
    back: Float[Tensor, "n *state"],
    power: Tensor,
) -> tuple[Explained, tuple[Tensor, ...]]:
    """``x`` by itself; and mean, variance, reach and gain of ``b``, where it is the physics, and the box of the latter.

    ``back`` is cut to the range of the states ``before``, of variance ``power``, if it then tells more about them, be
    it little: where one interval lets an explosion through, the next ones start from states that never occur.
    """
    seen = _range(sde, before)
    own, free = _regression(basis, sde, before, x, back)
    _, cut = _regression(basis, sde, before, x, boxed(back, seen))
    free_step, cut_step = (_better(basis, own, physics) for physics in (free, cut))
    if _unexplained(cut_step, power) < _unexplained(free_step, power):
        return own, (*cut_step, seen)
    far = torch.full_like(seen[0], _FAR)
    return own, (*free_step, torch.stack([-far, far]))


def _unexplained(step: tuple[Tensor, ...], power: Tensor) -> float:
    """Mean logarithm, over all modes, of the share of the variance ``power`` that ``b`` leaves unexplained."""
    _, back_power, _, gain, *_ = step
    return float((1 - gain**2 * back_power / power).clamp(min=_FLOOR).log().mean())


def _range(sde: SDE, x: Float[Tensor, "n *state"]) -> Float[Tensor, "two channels *one"]:
    """Lowest and highest value of each channel of ``x`` and its images."""
    values = torch.cat(sde.images(x)).movedim(1, 0).flatten(1)
    return torch.stack([values.amin(1), values.amax(1)]).reshape(2, -1, *[1] * (x.ndim - 2))


def _regression(
    basis: Basis,
    sde: SDE,
    before: Float[Tensor, "n *state"],
    x: Float[Tensor, "n *state"],
    back: Float[Tensor, "n *state"],
) -> tuple[Explained, Explained]:
    """How ``x``, and how ``back``, explain the states ``before``, over all images under the symmetries of the process.

    The same images for every moment: the mean of a step is then exactly that of its start.
    """
    means = [_mean(sde, v) for v in (before, x, back)]
    square = [torch.zeros((), dtype=torch.float64)] * 2
    product, largest = list(square), [torch.zeros(())] * 2
    count = len(x) * len(sde.images(x[:1]))
    for parts in zip(*(torch.split(v, _PART) for v in (before, x, back)), strict=True):
        start, *ends = (to_modes(basis, torch.cat(sde.images(v)) - m) for v, m in zip(parts, means, strict=True))
        for j, y in enumerate(ends):
            squares = _product(y, y)
            square[j] = square[j] + squares.sum(0, dtype=torch.float64) / count
            product[j] = product[j] + _product(start, y).sum(0, dtype=torch.float64) / count
            largest[j] = torch.maximum(largest[j], squares.amax(0))
    own, physics = (
        Explained(mean, power, _REACH * top.sqrt(), common.to(x) / power)
        for mean, power, top, common in zip(
            means[1:], (_floored(v.to(x)) for v in square), largest, product, strict=True
        )
    )
    return own, physics


def _better(basis: Basis, own: Explained, physics: Explained) -> tuple[Tensor, ...]:
    """Mean, variance, reach and gain of ``b``, and where it is the physics: there that explains more."""
    trusted = physics.gain**2 * physics.power > own.gain**2 * own.power
    a, b = (to_modes(basis, v.mean[None]) for v in (own, physics))
    mean = from_modes(basis, torch.where(trusted, b, a), tuple(own.mean.shape[1:]))[0]
    power, reach, gain = (torch.where(trusted, b, a) for a, b in zip(own[1:], physics[1:], strict=True))
    return mean, power, reach, gain, trusted


def _mean(sde: SDE, x: Float[Tensor, "n *state"]) -> Float[Tensor, "*state"]:
    """Mean of the states and their images; symmetries are linear, so it is that of the mean's images."""
    return torch.cat(sde.images(x.double().mean(0, keepdim=True).to(x))).mean(0)


def _product(y: Tensor, z: Tensor) -> Tensor:
    """``Re y z*``."""
    return (y * z.conj()).real if y.is_complex() else y * z


def _floored(power: Tensor) -> Tensor:
    least = _FLOOR * power.mean(dim=tuple(range(1, power.ndim)), keepdim=True).clamp(min=1e-12)
    return torch.maximum(power, least)
