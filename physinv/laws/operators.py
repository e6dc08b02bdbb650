"""Linear operators that say what is observed of a state: all, some points, a coarser grid, block means, long waves."""

from __future__ import annotations

__all__ = ["coarse", "every", "everything", "low_pass", "named", "random_mask", "sensors"]

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.laws.observation import Observation, Operator


def everything(x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
    """The operator that sees the whole state."""
    return x


def sensors(mask: Bool[Tensor, "*state"]) -> Operator:
    """The components where ``mask``, of the shape of the state, is true: ``(batch, *state) -> (batch, seen)``."""
    if not bool(mask.any()):
        raise ValueError("`mask` must be true somewhere, got no sensor at all.")

    def operator(x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch seen"]:
        if x.shape[1:] != mask.shape:
            raise ValueError(f"`mask` must have the shape {tuple(x.shape[1:])} of the state, got {tuple(mask.shape)}.")
        return x[:, mask.to(x.device)]

    return operator


def random_mask(
    shape: tuple[int, ...], fraction: float, *, generator: torch.Generator | None = None
) -> Bool[Tensor, "*state"]:
    """``fraction`` of the points of a state, drawn without replacement: for fields grid points with all channels."""
    if not 0 < fraction <= 1:
        raise ValueError(f"`fraction` must lie in (0, 1], got {fraction}.")
    space = shape[1:] or shape
    points = math.prod(space)
    mask = torch.zeros(points, dtype=torch.bool)
    mask[torch.randperm(points, generator=generator)[: max(1, round(fraction * points))]] = True
    return mask.reshape(space).expand(shape)


def coarse(factor: int) -> Operator:
    """Means over blocks of ``factor`` points along each space axis: ``(batch, channels, *space / factor)``."""
    if factor < 1:
        raise ValueError(f"`factor` must be at least 1, got {factor}.")

    def operator(x: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels *blocks"]:
        if any(n % factor for n in x.shape[2:]):
            raise ValueError(f"`factor` must divide the grid {tuple(x.shape[2:])}, got {factor}; take a divisor.")
        for axis in range(2, x.ndim):
            x = x.reshape(*x.shape[:axis], -1, factor, *x.shape[axis + 1 :]).mean(axis + 1)
        return x

    return operator


def every(factor: int) -> Operator:
    """Every ``factor``-th grid point along each space axis, from the first on: ``(batch, channels, *space / factor)``.

    So Zheng et al. (2025, InverseBench) observe their Navier-Stokes problem, by factors 2, 4 and 8.
    """
    if factor < 1:
        raise ValueError(f"`factor` must be at least 1, got {factor}.")

    def operator(x: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels *points"]:
        if any(n % factor for n in x.shape[2:]):
            raise ValueError(f"`factor` must divide the grid {tuple(x.shape[2:])}, got {factor}; take a divisor.")
        for axis in range(2, x.ndim):
            x = x.reshape(*x.shape[:axis], -1, factor, *x.shape[axis + 1 :]).select(axis + 1, 0)
        return x

    return operator


def low_pass(kmax: float) -> Operator:
    """Orthonormal real coefficients ``Re - Im`` (Hartley 1942) with ``|k| <= kmax``: ``(batch, channels, seen)``.

    White noise on them is white noise on the grid, band-limited in the same way.  ``k`` counts waves per box.
    """
    if not kmax >= 0:
        raise ValueError(f"`kmax` must be at least 0, got {kmax}.")

    def operator(x: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels seen"]:
        axes = [torch.fft.fftfreq(n, 1 / n, dtype=x.dtype, device=x.device) for n in x.shape[2:]]
        k2 = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)
        modes: Tensor = torch.fft.fftn(x, dim=tuple(range(2, x.ndim)), norm="ortho")[:, :, k2 <= kmax**2]
        return modes.real - modes.imag

    return operator


def named(text: str, noise: float, shape: tuple[int, ...], *, seed: int = 0) -> Observation:
    """``sensors:0.25``, ``every:4``, ``coarse:4``, ``low-pass:5`` or ``everything``, of states of ``shape``.

    ``seed`` places the sensors.  ValueError for another name, a number that does not fit, or a field's operator on a
    vector.
    """
    name, _, number = text.partition(":")
    try:
        value = float(number or "nan")
    except ValueError:
        value = math.nan
    known = ("everything", "sensors", "every", "coarse", "low-pass")
    if name not in known or (name != "everything") != math.isfinite(value):
        raise ValueError(
            "`observe` must be everything, sensors:FRACTION, every:FACTOR, coarse:FACTOR or low-pass:KMAX, "
            f"got {text!r}."
        )
    if name in ("every", "coarse", "low-pass") and len(shape) == 1:
        raise ValueError(f"`observe` {name} needs a field, got vectors of {shape[0]}; take sensors:FRACTION.")
    if name == "everything":
        return Observation(everything, noise)
    if name == "sensors":
        mask = random_mask(shape, value, generator=seeds(seed).child("observation", "sensors").generator())
        return Observation(sensors(mask), noise)
    if name == "low-pass":
        return Observation(low_pass(value), noise)
    if value != int(value):
        raise ValueError(f"`observe` {name} needs a whole number of points, got {number}.")
    operator = every(int(value)) if name == "every" else coarse(int(value))
    operator(torch.zeros(1, *shape))
    return Observation(operator, noise)
