"""The regression behind the smoother: its tables, the physics run backward, and how states and modes are limited.

The symbols are those of :mod:`physinv.models.references.smoother`.
"""

from __future__ import annotations

__all__ = [
    "Basis",
    "Tables",
    "clamp_modulus",
    "clamp_values",
    "fit_smoother_tables",
    "from_modes",
    "physics_backward",
    "to_modes",
]

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import match
from physinv.equations.fourier import fourier, inverse_fourier
from physinv.equations.sde import SDE

Basis = Literal["fourier", "identity"]

_MAX_TRAJECTORIES = 1024  # a gain is then known to 3 % of the square root of what it leaves unexplained
_POWER_FLOOR = 1e-9  # of the mean power of a channel: modes with less hold rounding errors
_POINT_MASS = 1e-12  # of the power of a channel at the first or last time: that of states which do not vary
_CHUNK = 128  # states computed at the same time
_UNLIMITED = 1e18  # a limit that no finite physics meets, and whose square is finite in float32
_DIVERGED = 1e15  # times the largest value of a state: beyond, the physics backward has diverged
_REACH_FACTOR = 2.0  # largest modulus allowed of a mode, over the largest in the data


class Tables(NamedTuple):
    """The fitted regression: one table per quantity, over the stored times or the intervals between them.

    Args:
        times: Stored times, ``(time,)``.
        mean: Mean ``m_s`` of the states, ``(time, *state)``.
        power: Variance ``S_s`` of their modes, ``(time, *modes)``.
        reach: Largest modulus allowed of a mode minus that of the mean, twice the largest in the data, ``(time,
            *modes)``.
        back_mean: Mean ``m_b`` of ``b``, ``(interval, *state)``.
        back_power: Variance ``S_b`` of its modes, ``(interval, *modes)``.
        back_reach: Largest modulus allowed of its modes minus those of its mean, ``(interval, *modes)``.
        box: Lowest and highest values to which the physics backward is clamped, ``(interval, 2, channels, *1)``.
        gain: Regression coefficient ``K``, ``(interval, *modes)``.
        trusted: Whether ``b`` is the physics backward (True) or the state itself (False), ``(interval, *modes)``.
        noise_scale: Factor ``L`` of the noise variance ``C sigma^2`` of a step, ``(interval, *modes)``; 1 until
            :func:`~physinv.reversal.smoother_noise.calibrate_noise` fits it.
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


class _Predictor(NamedTuple):
    """States as a predictor of earlier ones: their mean, variance and reach of their modes, and the gain."""

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
    n = min(_MAX_TRAJECTORIES, data.n_trajectories)
    before = data.states(0, limit=n)
    times = data.times.float().to(before.device)
    least = _least_power(sde, before, data.states(-1, limit=n))

    # One regression for each stored interval, of the states at its start on those at its end.
    states, steps = [_regression(basis, sde, before, before, before, least)[0]], []
    for i in range(1, len(times)):
        x = data.states(i, limit=n)
        t, dt = times[i].expand(n), (times[i] - times[i - 1]).expand(n)
        parts = zip(*(torch.split(v, _CHUNK) for v in (x, t, dt)), strict=True)
        back = torch.cat([physics_backward(sde, *part) for part in parts])
        own, step = _interval(basis, sde, before, x, back, states[-1].power, least)
        states.append(own)
        steps.append(step)
        before = x

    # One table for each quantity; before calibration the noise of a step is taken as it was regressed.
    mean, power, reach, _ = (torch.stack(column) for column in zip(*states, strict=True))
    back_mean, back_power, back_reach, gain, trusted, box = (torch.stack(c) for c in zip(*steps, strict=True))
    noise_scale = torch.ones_like(gain)
    tables = Tables(times, mean, power, reach, back_mean, back_power, back_reach, box, gain, trusted, noise_scale)
    tables = Tables(*(table.to(before) if table.is_floating_point() else table for table in tables))

    # What never changes in time must come back exactly, also where it differs from everything in the data.
    for channel, name in enumerate(data.layout.names):
        if name in data.layout.static:
            _hold(tables, basis, channel)
    return tables


def physics_backward(
    sde: SDE, x: Float[Tensor, "batch *state"], t: Tensor, dt: Tensor
) -> Float[Tensor, "batch *state"]:
    """Solve ``dx/dt = f`` from ``t`` back to ``t - dt``, in as many steps as ``sde.substeps_in`` says.

    Args:
        sde: The physics.
        x: States at ``t``.
        t: Times, ``(batch,)``.
        dt: Lengths of the intervals, ``(batch,)``; a state takes the steps that its own interval asks for.

    Returns:
        States at ``t - dt``; 0 at points where the solution has diverged.
    """
    size = x.abs().flatten(1).amax(1)
    limit = _DIVERGED * torch.where(size > 0, size, torch.ones_like(size))
    lengths: list[float] = dt.tolist()
    counts = {length: sde.substeps_in(length) for length in set(lengths)}
    different = sorted(set(counts.values()))
    if len(different) == 1:
        x = _backward(sde, x, t, dt, different[0])
    else:
        steps = torch.tensor([counts[length] for length in lengths], device=x.device)
        rows = [torch.nonzero(steps == n).flatten() for n in different]
        parts = [_backward(sde, x[i], t[i], dt[i], n) for i, n in zip(rows, different, strict=True)]
        x = torch.cat(parts)[torch.cat(rows).argsort()]
    return torch.where(x.abs() < match(limit.clamp(max=_UNLIMITED), x), x, torch.zeros_like(x))


def clamp_modulus(y: Tensor, reach: Tensor) -> Tensor:
    """Limit the modulus of every coefficient.

    Args:
        y: Coefficients, real or complex.
        reach: Largest modulus allowed, broadcastable against ``y``.

    Returns:
        Coefficients with the same phase.

    Example:
        >>> clamp_modulus(torch.tensor([3 + 4j, 0.1]), torch.tensor(1.0))
        tensor([0.6000+0.8000j, 0.1000+0.0000j])
    """
    least = reach.clamp(min=torch.finfo(reach.dtype).tiny)
    return y * (reach / torch.maximum(y.abs(), least))


def clamp_values(x: Float[Tensor, "batch *state"], box: Tensor) -> Float[Tensor, "batch *state"]:
    """Limit every value of a state to the range of its channel.

    Args:
        x: States.
        box: Lowest and highest value, ``(2, channels, *1)`` or ``(batch, 2, channels, *1)``.

    Returns:
        States within the box.
    """
    low, high = box.unbind(-x.ndim)
    return x.clamp(low, high)


def to_modes(basis: Basis, x: Float[Tensor, "batch *state"]) -> Tensor:
    """Return orthonormal coefficients of states: of the real FFT over space, or the states themselves.

    Args:
        basis: ``"fourier"`` or ``"identity"``.
        x: States; fields ``(batch, channels, *space)`` for ``"fourier"``.
    """
    return x if basis == "identity" else fourier(x)


def from_modes(basis: Basis, y: Tensor, space: tuple[int, ...]) -> Float[Tensor, "batch *state"]:
    """Return the states with given coefficients: the inverse of :func:`to_modes`.

    Args:
        basis: ``"fourier"`` or ``"identity"``.
        y: Coefficients, ``(batch, *modes)``.
        space: Grid points along each space axis.
    """
    return y if basis == "identity" else inverse_fourier(y, space)


def _backward(sde: SDE, x: Float[Tensor, "batch *state"], t: Tensor, dt: Tensor, n: int) -> Tensor:
    """The states at ``t - dt`` in ``n`` steps."""
    for j in range(n):
        x = sde.drift_flow(x, t - dt * (j / n), t - dt * ((j + 1) / n))
    return x


def _hold(tables: Tables, basis: Basis, channel: int) -> None:
    """Make the step return a static ``channel`` unchanged: a gain of 1, from the state itself, without limits."""
    mean, power = tables.mean[:, channel], tables.power[:, channel]
    if basis == "identity":  # constant in the data, but maybe not elsewhere: all components get one unit
        power[:] = power.flatten(1).mean(1).reshape(-1, *[1] * (power.ndim - 1))
    tables.back_mean[:, channel], tables.back_power[:, channel] = mean[:-1], power[:-1]
    tables.gain[:, channel], tables.trusted[:, channel] = 1, False
    tables.reach[:, channel] = tables.back_reach[:, channel] = _UNLIMITED


def _interval(
    basis: Basis,
    sde: SDE,
    before: Float[Tensor, "n *state"],
    x: Float[Tensor, "n *state"],
    back: Float[Tensor, "n *state"],
    power: Tensor,
    least: Tensor,
) -> tuple[_Predictor, tuple[Tensor, ...]]:
    """Fit one interval: the predictor ``x`` alone, and mean, variance, reach, gain, ``trusted`` and ``box`` of ``b``.

    ``back`` is clamped to the range of the states ``before`` (of variance ``power``) if it then explains more of them,
    however little more: where the physics diverges in one interval, the next ones start from states that never occur.
    """
    seen = _range(sde, before)
    own, free = _regression(basis, sde, before, x, back, least)
    _, cut = _regression(basis, sde, before, x, clamp_values(back, seen), least)
    free_step, cut_step = (_better(basis, own, physics) for physics in (free, cut))
    if _unexplained(cut_step, power) < _unexplained(free_step, power):
        return own, (*cut_step, seen)
    far = torch.full_like(seen[0], _UNLIMITED)
    return own, (*free_step, torch.stack([-far, far]))


def _unexplained(step: tuple[Tensor, ...], power: Tensor) -> float:
    """Mean logarithm, over all modes, of the share of the variance ``power`` that ``b`` leaves unexplained."""
    _, back_power, _, gain, *_ = step
    return float((1 - gain**2 * back_power / power).clamp(min=_POWER_FLOOR).log().mean())


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
    least: Tensor,
) -> tuple[_Predictor, _Predictor]:
    """Regress the states ``before`` on ``x``, and on ``back``, over all images under the symmetries of the process.

    All moments are taken over the same images, so that the mean of a step is exactly the mean of the earlier states.
    """
    means = [_mean(sde, v) for v in (before, x, back)]
    square = [torch.zeros((), dtype=torch.float64)] * 2
    product, largest = list(square), list(square)
    count = len(x) * len(sde.images(x[:1]))
    for parts in zip(*(torch.split(v, _CHUNK) for v in (before, x, back)), strict=True):
        start, *ends = (_wide(to_modes(basis, torch.cat(sde.images(v)) - m)) for v, m in zip(parts, means, strict=True))
        for j, y in enumerate(ends):
            squares = _product(y, y)
            square[j] = square[j] + squares.sum(0) / count
            product[j] = product[j] + _product(start, y).sum(0) / count
            largest[j] = torch.maximum(largest[j], squares.amax(0))
    own, physics = (
        _Predictor(mean, power, _REACH_FACTOR * top.sqrt(), common / power)
        for mean, power, top, common in zip(
            means[1:], (_floored(v, least) for v in square), largest, product, strict=True
        )
    )
    return own, physics


def _better(basis: Basis, own: _Predictor, physics: _Predictor) -> tuple[Tensor, ...]:
    """Mean, variance, reach and gain of ``b``, and ``trusted``: the modes in which the physics explains more."""
    trusted = physics.gain**2 * physics.power > own.gain**2 * own.power
    a, b = (to_modes(basis, v.mean[None]) for v in (own, physics))
    mean = from_modes(basis, torch.where(trusted, b, a), tuple(own.mean.shape[1:]))[0]
    power, reach, gain = (torch.where(trusted, b, a) for a, b in zip(own[1:], physics[1:], strict=True))
    return mean, power, reach, gain, trusted


def _mean(sde: SDE, x: Float[Tensor, "n *state"]) -> Float[Tensor, "*state"]:
    """Mean of the states and their images; since symmetries are linear, the mean of the images of the mean."""
    return torch.cat(sde.images(x.double().mean(0, keepdim=True).to(x))).mean(0)


def _wide(y: Tensor) -> Tensor:
    """Coefficients in double precision: squares of small ones must not underflow, whatever the unit."""
    return y.to(torch.complex128 if y.is_complex() else torch.float64)


def _product(y: Tensor, z: Tensor) -> Tensor:
    """``Re y z*``."""
    return (y * z.conj()).real if y.is_complex() else y * z


def _channel_mean(power: Tensor) -> Tensor:
    """Mean over all modes, or points, of each channel of a field, or over all components of a vector."""
    return power.mean(dim=tuple(range(1, power.ndim)), keepdim=True)


def _least_power(sde: SDE, first: Float[Tensor, "n *state"], last: Float[Tensor, "n *state"]) -> Tensor:
    """The mean power of each channel below which its states do not vary; a channel that never varies has the unit 1."""
    powers = [_channel_mean((x - _mean(sde, x)).double().square().mean(0)) for x in (first, last)]
    size = torch.maximum(*powers)
    return _POINT_MASS * torch.where(size > 0, size, torch.ones_like(size))


def _floored(power: Tensor, least: Tensor) -> Tensor:
    """``power``, raised to the floor of its channel where it is below."""
    return torch.maximum(power, _POWER_FLOOR * torch.maximum(_channel_mean(power), least))
