"""The tables behind the smoother: one linear regression for every mode and stored interval, and physics run
backward."""

from __future__ import annotations

__all__ = ["Basis", "Tables", "boxed", "fit_smoother_tables", "from_modes", "limited", "physics_backward", "to_modes"]

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE

Basis = Literal["fourier", "identity"]

_FEW = 1024  # trajectories that suffice: a gain is then known to 3 % of what it leaves open
_FLOOR = 1e-9  # of the mean power per channel: modes with less hold rounding errors
_PART = 128  # states in work at once
_FAR = 1e15  # a reach that limits nothing, whose square is finite
_HUGE = 1e15  # physics that got this far backward has blown up: squares and sums are to stay finite
_REACH = 2.0  # times the largest modulus seen is as far as any mode may go


class Tables(NamedTuple):
    """What :func:`~physinv.models.references.fit_smoother.fit_smoother` reads off the data, per stored time or per
    interval.

    ``mean (time, *state)``, ``power (time, *modes)``, ``reach (time, *modes)``: mean, variance and twice the largest
    modulus of the states' modes; the same of ``b``, ``(interval, ...)``; ``box (interval, 2, channels, *1)``: what the
    physics' values are cut to; ``gain``: K; ``trusted``: 1 where ``b`` is the physics, 0 where it is ``x``;
    ``noise_scale``: factor on the noise variance ``C sigma^2`` of a step (1 before calibration, see
    :func:`~physinv.reversal.smoother_noise.calibrate_noise`).
    """

    times: Tensor
    mean: Tensor
    power: Tensor
    reach: Tensor
    back_mean: Tensor
    back_power: Tensor
    back_reach: Tensor
    box: Tensor
    gain: Tensor
    trusted: Tensor
    noise_scale: Tensor


class Explained(NamedTuple):
    """Mean of states, variance and reach of their modes, and the gain at which these explain the states before."""

    mean: Tensor
    power: Tensor
    reach: Tensor
    gain: Tensor


@torch.no_grad()
def fit_smoother_tables(sde: SDE, data: TrajectoryDataset, basis: Basis) -> Tables:
    """Regress the states at each stored time on those at the next, mode by mode, with and without the physics.

    Args:
        sde: The physics, whose symmetries multiply the data.
        data: Trajectories; at most 1024 of them are used.
        basis: ``"fourier"`` for periodic fields, ``"identity"`` where modes are components.

    Returns:
        float32 tables on the device of the data.  Static channels come back as they are, also where they differ
        from everything in the data.
    """
    few = min(_FEW, data.n_trajectories)
    before = data.states(0, limit=few)
    times = data.times.float().to(before.device)
    states, steps = [_regression(basis, sde, before, before, before)[0]], []
    for i in range(1, len(times)):
        x = data.states(i, limit=few)
        t, dt = times[i].expand(few), (times[i] - times[i - 1]).expand(few)
        parts = zip(*(torch.split(v, _PART) for v in (x, t, dt)), strict=True)
        back = torch.cat([physics_backward(sde, *part) for part in parts])
        own, step = _interval(basis, sde, before, x, back, states[-1].power)
        states.append(own)
        steps.append(step)
        before = x
    mean, power, reach, _ = (torch.stack(column) for column in zip(*states, strict=True))
    back_mean, back_power, back_reach, gain, trusted, box = (torch.stack(c) for c in zip(*steps, strict=True))
    noise_scale = torch.ones_like(gain)
    tables = Tables(times, mean, power, reach, back_mean, back_power, back_reach, box, gain, trusted, noise_scale)
    for channel, name in enumerate(data.layout.names):
        if name in data.layout.static:
            _hold(tables, basis, channel)
    return tables


def physics_backward(
    sde: SDE, x: Float[Tensor, "batch *state"], t: Tensor, dt: Tensor
) -> Float[Tensor, "batch *state"]:
    """``dx/dt = f`` from ``t`` back to ``t - dt``, in ``sde.substeps`` steps; 0 where that came near infinity."""
    n = sde.substeps
    for j in range(n):
        x = sde.drift_flow(x, t - dt * (j / n), t - dt * ((j + 1) / n))
    return torch.where(x.abs() < _HUGE, x, torch.zeros_like(x))


def limited(y: Tensor, reach: Tensor) -> Tensor:
    """``y`` with every modulus cut to ``reach``, finite."""
    least = reach.clamp(min=torch.finfo(reach.dtype).tiny)
    return y * (reach / torch.maximum(y.abs(), least))


def boxed(x: Float[Tensor, "batch *state"], box: Tensor) -> Float[Tensor, "batch *state"]:
    """``x`` with every value cut to ``box ([batch], 2, channels, *1)``, lowest and highest."""
    low, high = box.unbind(-x.ndim)
    return x.clamp(low, high)


def to_modes(basis: Basis, x: Float[Tensor, "batch *state"]) -> Tensor:
    """Orthonormal coefficients of ``x (batch, channels, *space)``: of the real FFT over space, or ``x`` itself."""
    return x if basis == "identity" else torch.fft.rfftn(x, dim=tuple(range(2, x.ndim)), norm="ortho")


def from_modes(basis: Basis, y: Tensor, space: tuple[int, ...]) -> Float[Tensor, "batch *state"]:
    """Inverse of :func:`to_modes` for states over a grid of sides ``space``."""
    if basis == "identity":
        return y
    x: Tensor = torch.fft.irfftn(y, s=space, dim=tuple(range(2, y.ndim)), norm="ortho")
    return x


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
