"""The noising processes :class:`VE`, :class:`VP` and :class:`SubVP` on any schedule (Song et al. 2021, appendix B)."""

from __future__ import annotations

__all__ = ["VE", "VP", "Noising", "RotatedVP", "SubVP"]

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import as_tensor, check_instance, describe
from physinv.equations.broadcast import match
from physinv.equations.noising.schedules import Geometric, LinearRate, Schedule
from physinv.equations.sde import Linear

_ORTHONORMAL = 1e-3  # of products of columns: rounding of float32 adds up to 1e-4 for a thousand numbers


@dataclass(frozen=True)
class Noising(Linear):
    """A noising process: every number of a state for itself, all in the same way.

    Args:
        schedule: Rate as a function of time.
        basis: ``"identity"``, or ``"fourier"`` for periodic fields: the process is the same, and a
            :class:`~physinv.models.references.linear.LinearReference` then knows the spectrum of the data.
    """

    schedule: Schedule = field(default_factory=LinearRate)
    basis: str = "identity"  # type: ignore[misc]  # a class attribute of Linear

    noise: ClassVar[float] = 1.0  # type: ignore[misc]
    steady: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_instance(self.schedule, Schedule, "schedule", "give LinearRate(), for example")
        if self.basis not in ("identity", "fourier"):
            raise ValueError(f"`basis` must be identity or fourier, got {self.basis!r}.")

    @property
    def horizon(self) -> float:
        """Last time ``T`` of the schedule."""
        return self.schedule.horizon

    @property
    def kinks(self) -> tuple[float, ...]:
        """Times at which the rate jumps, of schedules that are chains."""
        return tuple(getattr(self.schedule, "kinks", ()))

    @property
    @abstractmethod
    def pull(self) -> float:
        """The rate ``r`` of decay in units of ``beta``: -1/2, or 0."""

    def rates(self, like: Float[Tensor, "batch *state"]) -> Tensor:
        return self.pull * like.new_ones((1,) * like.ndim)

    def elapsed(self, t0: Tensor | float, t1: Tensor) -> Tensor:
        return self.schedule.integral(t0, t1)

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.pull * match(self.schedule.rate(t), x) * x

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.schedule.rate(t).sqrt()


@dataclass(frozen=True)
class VE(Noising):
    """The variance-exploding process ``dx = beta^(1/2) dW``, of which SMLD is a discretisation.

    Args:
        schedule: Rate as a function of time.
        basis: ``"identity"``, or ``"fourier"`` for periodic fields, whose spectrum is then known.

    Example:
        >>> process = VE(Geometric(0.5, 2.0))
        >>> process.variance(0.0, torch.ones(1), torch.zeros(1, 3))
        tensor([[3.7500]])
    """

    schedule: Schedule = field(default_factory=Geometric)

    @property
    def pull(self) -> float:
        """No decay."""
        return 0.0


@dataclass(frozen=True)
class VP(Noising):
    """The variance-preserving process ``dx = -beta/2 x dt + beta^(1/2) dW``, of which DDPM is a discretisation.

    Args:
        schedule: Rate as a function of time.
        basis: ``"identity"``, or ``"fourier"`` for periodic fields, whose spectrum is then known.

    Example:
        >>> process, like = VP(LinearRate(0.1, 20.0)), torch.zeros(1, 3)
        >>> a, v = process.decay(0.0, torch.ones(1), like), process.variance(0.0, torch.ones(1), like)
        >>> round((a**2 + v).item(), 6)  # data of variance 1 keep it
        1.0
    """

    @property
    def pull(self) -> float:
        """Half of the rate."""
        return -0.5


@dataclass(frozen=True)
class SubVP(VP):
    """The sub-VP process: the drift of :class:`VP` with ``g^2 = beta (1 - e^(-2 B(0, t)))``, less noise at each time.

    From ``t0`` to ``t1`` the noise accumulates ``(1 - e^(-B(t0, t1))) (1 - e^(-B(0, t0) - B(0, t1)))``.

    Args:
        schedule: Rate as a function of time.
        basis: ``"identity"``, or ``"fourier"`` for periodic fields, whose spectrum is then known.

    References:
        Song et al. (2021), Score-based generative modeling through stochastic differential equations, eq. 28 and 29.

    Example:
        >>> process = SubVP(LinearRate(0.1, 20.0))
        >>> round(process.variance(0.0, torch.full((1,), 0.1), torch.zeros(1, 3)).item(), 5)  # (1 - e^-.1095)^2
        0.01076
    """

    def variance(self, t0: Tensor | float, t1: Tensor, like: Tensor) -> Tensor:
        start = torch.as_tensor(t0, dtype=t1.dtype, device=t1.device)
        step, both = (
            self.schedule.integral(t0, t1),
            self.schedule.integral(0.0, start) + self.schedule.integral(0.0, t1),
        )
        return match(torch.expm1(-step) * torch.expm1(-both), like)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return (self.schedule.rate(t) * -torch.expm1(-2 * self.schedule.integral(0.0, t))).sqrt()


@dataclass(frozen=True, eq=False)
class RotatedVP(VP):
    """The process :class:`VP`, with modes along given directions: that of white noise is the same in any basis.

    A :class:`~physinv.models.references.linear.LinearReference` then knows the variances along these directions, and
    is the Gaussian law of the data where they are its principal axes.

    Args:
        directions: Orthonormal columns, ``(numbers, numbers)`` for states of so many numbers.

    Example:
        >>> turned = RotatedVP(directions=torch.tensor([[0.6, -0.8], [0.8, 0.6]]))
        >>> turned.modes(torch.tensor([[3.0, 4.0]]))
        tensor([[5., 0.]])
    """

    directions: Float[Tensor, "numbers numbers"] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = as_tensor(self.directions, "directions")
        square = found.ndim == 2 and found.shape[0] == found.shape[1]
        if not square or float((found.T @ found - torch.eye(len(found)).to(found)).abs().max()) > _ORTHONORMAL:
            raise ValueError(f"`directions` must be square with orthonormal columns, got {describe(found)}; take eigh.")

    def modes(self, x: Float[Tensor, "batch *state"]) -> Tensor:
        return (x.flatten(1) @ self.directions.to(x)).reshape(x.shape)

    def unmodes(self, y: Tensor, like: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return (y.flatten(1) @ self.directions.to(y).T).reshape(like.shape)
