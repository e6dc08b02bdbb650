"""Processes in a potential: what a process declares so that it has an energy, a temperature and Boltzmann's law.

An overdamped process of mobility ``mu`` in a potential moves as

    dx = -mu grad U dt + sqrt(2 mu kT) dW,

and its stationary law is Boltzmann's, ``p(x) = exp(-beta U(x)) / Z`` with ``beta = 1 / kT``.
"""

from __future__ import annotations

__all__ = ["Potential", "check_above_0", "check_potential"]

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import describe
from physinv.processes.parameters import number


@runtime_checkable
class Potential(Protocol):
    """A process with an energy and a temperature: two members that a class of your own adds, nothing to inherit.

    Attributes:
        inverse_temperature: ``beta = 1 / kT``, in units of 1/energy.  Where the parameters leave no Boltzmann law (no
            temperature, nothing that confines the states) it raises a ValueError of one line that names the parameter.
    """

    @property
    def inverse_temperature(self) -> float: ...

    def potential(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the energy ``U(x)`` of each state, differentiable with torch.

        Args:
            x: States, ``(batch, *state)``.

        Returns:
            ``(batch,)``, in units of energy.
        """


def check_potential(process: Any) -> Potential:
    """Return a process that has a potential, or refuse it.

    Args:
        process: The process.

    Raises:
        ValueError: If it declares none, or its parameters leave no Boltzmann law.
    """
    if isinstance(process, type) or not all(hasattr(type(process), n) for n in ("potential", "inverse_temperature")):
        told = describe(process) if isinstance(process, type) else type(process).__name__
        raise ValueError(
            f"{told} has no potential; take a process in one, such as double-well, or give your class "
            "`potential(x)` and `inverse_temperature`."
        )
    process.inverse_temperature  # noqa: B018  raises where there is no Boltzmann law
    found: Potential = process
    return found


def check_above_0(process: Any, *names: str, because: str = "") -> None:
    """Refuse a process of which a parameter that Boltzmann's law needs is not above 0.

    Args:
        process: The process.
        names: Names of the parameters.
        because: What the parameter is needed for, appended to the message.

    Raises:
        ValueError: If one is 0 or less.
    """
    for name in names:
        value = getattr(process, name)
        if not number(value) > 0:
            owner = type(process).__name__
            raise ValueError(f"`{name}` of {owner} must be above 0 for Boltzmann's law, got {value}{because}.")
