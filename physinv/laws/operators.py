"""Observation operators by name: the whole state, some points, a coarser grid, block means, long waves, your own."""

from __future__ import annotations

__all__ = ["OPERATORS", "coarse", "every", "everything", "low_pass", "named", "random_mask", "sensors"]

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.inputs import check_function
from physinv.config.registry import Registry
from physinv.config.seeds import seeds
from physinv.config.suggest import did_you_mean
from physinv.equations.fourier import full_fourier, squared_wavenumbers
from physinv.laws.observation import Observation, Operator, shown

OPERATORS: Registry[Operator] = Registry(
    "observation operator", "physinv.operators", callable, "a function of batched states"
)
"""Operators from outside: those of installed packages, those registered in Python, and ``module:function``."""

_KNOWN = ("everything", "sensors", "every", "coarse", "low-pass")
_FORMS = "everything, sensors:FRACTION, every:FACTOR, coarse:FACTOR, low-pass:KMAX, or module:function of your own"


def everything(x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
    """Observe the whole state.

    Args:
        x: States.

    Returns:
        The same states.
    """
    return x


def sensors(mask: Bool[Tensor, "*state"]) -> Operator:
    """Return the operator that observes the components where a mask is true.

    Args:
        mask: One Boolean for each component of a state.

    Returns:
        An operator ``(batch, *state) -> (batch, seen)``.

    Raises:
        ValueError: If no entry is true; later, if states of another shape are observed.

    Example:
        >>> sensors(torch.tensor([True, False, True]))(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[1., 3.]])
    """
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
    """Draw the places of sensors, without replacement.

    Args:
        shape: Shape of one state: ``(dim,)``, or ``(channels, *space)``, where all channels of a grid point are
            observed.
        fraction: Fraction of the components (of the grid points) that are observed; at least one is.
        generator: Source of randomness, on the CPU.

    Returns:
        True where a component is observed, in the shape of a state.

    Raises:
        ValueError: If ``fraction`` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"`fraction` must lie in (0, 1], got {fraction}.")
    space = shape[1:] or shape
    points = math.prod(space)
    mask = torch.zeros(points, dtype=torch.bool)
    mask[torch.randperm(points, generator=generator)[: max(1, round(fraction * points))]] = True
    return mask.reshape(space).expand(shape)


def coarse(factor: int) -> Operator:
    """Return the operator that observes means over blocks of grid points.

    Args:
        factor: Points of a block along each space axis; must divide the grid.

    Returns:
        An operator ``(batch, channels, *space) -> (batch, channels, *space / factor)``.

    Raises:
        ValueError: If ``factor`` is smaller than 1; later, if it does not divide the grid.

    Example:
        >>> coarse(2)(torch.tensor([[[1.0, 3.0, 5.0, 7.0]]]))
        tensor([[[2., 6.]]])
    """
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
    """Return the operator that observes a regular subset of the grid points, from the first on along each axis.

    Args:
        factor: Every ``factor``-th point along each space axis is observed; must divide the grid.

    Returns:
        An operator ``(batch, channels, *space) -> (batch, channels, *space / factor)``.

    Raises:
        ValueError: If ``factor`` is smaller than 1; later, if it does not divide the grid.

    Example:
        >>> every(2)(torch.tensor([[[1.0, 3.0, 5.0, 7.0]]]))
        tensor([[[1., 5.]]])

    References:
        Zheng et al. (2025), InverseBench: their Navier-Stokes problem, with factors 2, 4 and 8.
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
    """Return the operator that observes the real coefficients ``Re - Im`` of all modes with ``|k| <= kmax``.

    These coefficients are orthonormal: white noise on them is white noise on the grid, limited to the same band.

    Args:
        kmax: Largest wave number observed, in waves per box.

    Returns:
        An operator ``(batch, channels, *space) -> (batch, channels, seen)``.

    Raises:
        ValueError: If ``kmax`` is negative.

    References:
        Hartley (1942), A more symmetrical Fourier analysis applied to transmission problems.
    """
    if not kmax >= 0:
        raise ValueError(f"`kmax` must be at least 0, got {kmax}.")

    def operator(x: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels seen"]:
        k2 = squared_wavenumbers(tuple(x.shape[2:]), device=x.device, dtype=x.dtype, full=True)
        modes = full_fourier(x)[:, :, k2 <= kmax**2]
        return modes.real - modes.imag

    return operator


def named(text: str, noise: float, shape: tuple[int, ...], *, seed: int = 0) -> Observation:
    """Return the observation that a text describes.

    Args:
        text: ``"sensors:0.25"`` (fraction of the points), ``"every:4"``, ``"coarse:4"`` (points along each axis),
            ``"low-pass:5"`` (waves per box), ``"everything"``, or a function of your own, ``"module:function"``.
        noise: Standard deviation of the observation noise, in the unit of the state.
        shape: Shape of one state.
        seed: Seed of the places of the sensors.

    Raises:
        ValueError: If the name is unknown, the number does not fit it, an operator of fields is asked for vectors, or
            a function of your own can't be imported or observes no such states.

    Example:
        >>> named("coarse:2", 0.1, (1, 4)).operator(torch.tensor([[[1.0, 3.0, 5.0, 7.0]]]))
        tensor([[[2., 6.]]])
    """
    name, _, number = text.partition(":")
    if name not in _KNOWN:
        return Observation(_own(text, shape), noise)
    try:
        value = float(number or "nan")
    except ValueError:
        value = math.nan
    if (name != "everything") != math.isfinite(value):
        raise ValueError(f"`observe` must be {_FORMS}, got {text!r}.")
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


def _own(text: str, shape: tuple[int, ...]) -> Operator:
    """A function of the user's own, which observes states of this shape."""
    place = text.partition(":")[2]
    if text not in (known := OPERATORS.names()) and not all(part.isidentifier() for part in place.split(".")):
        hint = f"; {did_you_mean(text, known)}" if known else "."
        raise ValueError(f"`observe` must be {_FORMS}, got {text!r}{hint}")
    operator = OPERATORS.find(text)
    told = f"operator `{text}`"
    check_function(operator, told, "(x) -> seen", "give a function of batched states")
    shown(operator, torch.zeros(1, *shape), told)
    return operator
