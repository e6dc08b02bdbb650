"""Reduced energies ``u(x) = beta U(x)``, in nats: all that moves and estimators know of a law ``exp(-u) / Z``."""

from __future__ import annotations

__all__ = ["Energy", "Path", "along", "geometric", "reduced", "slope"]

import dataclasses
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import check_function, describe
from physinv.config.suggest import did_you_mean
from physinv.processes.parameters import check_value
from physinv.processes.potential import check_potential
from physinv.processes.simulator import Simulator

Energy = Callable[[Tensor], Tensor]
"""``(batch, *state) -> (batch,)``: minus the log of a density up to a constant, differentiable with torch."""

Path = Callable[[float], Energy]
"""Share of the way, from 0 to 1, to the energy there."""


def reduced(process: Simulator) -> Energy:
    """Return the reduced energy ``u(x) = beta U(x)`` of a process in a potential.

    Args:
        process: The process.

    Raises:
        ValueError: If it has no potential, or no Boltzmann law with its parameters.
    """
    known = check_potential(process)
    beta = known.inverse_temperature
    return lambda x: beta * known.potential(x)


def slope(energy: Energy, x: Float[Tensor, "batch *state"]) -> tuple[Tensor, Tensor]:
    """Return an energy and its gradient, by automatic differentiation.

    Args:
        energy: The energy.
        x: States.

    Returns:
        Energies ``(batch,)`` and gradients ``(batch, *state)``.

    Example:
        >>> u, g = slope(lambda x: x.square().sum(1) / 2, torch.tensor([[3.0, 4.0]]))
        >>> u.item(), g.tolist()
        (12.5, [[3.0, 4.0]])
    """
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        u = energy(y)
        (g,) = torch.autograd.grad(u.sum(), y)
    return u.detach(), g


def geometric(first: Energy, last: Energy) -> Path:
    """Return the path ``(1 - s) u_0 + s u_1``, whose laws are geometric means ``p_0^(1 - s) p_1^s``.

    Annealing along it is right only if ``p_0 > 0`` wherever ``p_1 > 0``: what the first law never visits is missing
    from the estimate of the second.  Reversed runs need the converse.

    Args:
        first: Energy ``u_0`` at 0.
        last: Energy ``u_1`` at 1.

    Raises:
        ValueError: If one of them is no function of states.

    Example:
        >>> path = geometric(lambda x: 0 * x[:, 0], lambda x: 4 * x[:, 0])
        >>> path(0.25)(torch.ones(1, 1)).item()
        1.0
    """
    for name, energy in (("first", first), ("last", last)):
        check_function(energy, name, "(x) -> u")
    # At the ends the other energy must not count, not even where it is infinite.
    return lambda s: first if s == 0 else last if s == 1 else lambda x: (1 - s) * first(x) + s * last(x)


def along(process: Simulator, name: str, first: float, last: float) -> Callable[[float], Simulator]:
    """Return the process with one parameter changed in proportion to the share of the way.

    Args:
        process: A process in a potential.
        name: The parameter, a real number.
        first: Its value at 0.
        last: Its value at 1.

    Returns:
        Share of the way, from 0 to 1, to the process there.

    Raises:
        ValueError: If there is no such parameter, it is no real number, or a value is not allowed.
    """
    check_potential(process)
    fields, owner = {f.name: f for f in dataclasses.fields(process)}, type(process).__name__
    if name not in fields:
        raise ValueError(f"{owner} has no parameter `{name}`; {did_you_mean(name, fields, owner='it has')}")
    for end in (first, last):
        if not isinstance(end, Real):
            raise ValueError(f"`{name}` of {owner} must be a real number at both ends, got {describe(end)}.")
    field, first, last = fields[name], float(first), float(last)
    if not isinstance(field.default, float):
        raise ValueError(f"`{name}` of {owner} is no real number, and can't be changed bit by bit; take another one.")
    for value in (first, last):
        check_value(owner, field, value)

    def at(s: float) -> Simulator:
        # Rounding must not lead beyond the ends, which may be bounds.
        value = min(max((1 - s) * first + s * last, min(first, last)), max(first, last))
        changed: dict[str, Any] = {name: value}
        return dataclasses.replace(process, **changed)

    for end in (0.0, 1.0):
        check_potential(at(end))
    return at
