"""Moves that leave a law ``exp(-u) / Z`` exactly invariant: Metropolis, adjusted Langevin (MALA), Hamiltonian (HMC).

Every proposal is accepted with the probability of Metropolis and Hastings, so each move satisfies detailed balance for
any size.  Langevin moves without this test leave another law invariant, and estimates of ``log Z`` that contain them
are wrong however many runs there are; there is none here.

References:
    Metropolis et al. (1953); Roberts and Tweedie (1996) for MALA; Duane et al. (1987) and Neal (2011) for HMC.
"""

from __future__ import annotations

__all__ = ["HMC", "MALA", "Metropolis", "Move", "Moved", "tuned"]

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.inputs import (
    as_states,
    as_tensor,
    check_count,
    check_function,
    check_generator,
    check_instance,
    one_each,
)
from physinv.thermodynamics.energy import Energy, slope

_JITTER = 0.15  # relative half width of the random lengths of HMC, against resonance


class Moved(NamedTuple):
    """States after a move.

    Args:
        x: The states.
        energy: Their energies.
        accepted: Which of the proposals were accepted.
    """

    x: Float[Tensor, "batch *state"]
    energy: Float[Tensor, " batch"]
    accepted: Bool[Tensor, " batch"]


@dataclass(frozen=True)
class Move(ABC):
    """A move of states, each on its own, under an energy.

    Args:
        size: Size of a move; a tensor that broadcasts against states gives components sizes of their own, and those of
            size 0 stay.

    Attributes:
        wanted: Share of accepted proposals at which a move is most efficient in many dimensions.
    """

    size: float | Tensor
    wanted: ClassVar[float]

    def __post_init__(self) -> None:
        if not bool((as_tensor(self.size, "size") >= 0).all()):
            raise ValueError(f"`size` of {type(self).__name__} must not be negative, got {self.size}.")

    @abstractmethod
    def __call__(
        self, energy: Energy, x: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None
    ) -> Moved:
        """Move states.

        Args:
            energy: Reduced energy ``u`` of the law ``exp(-u) / Z`` that stays invariant.
            x: States.
            generator: Source of randomness, on their device.

        Returns:
            The states, their energies, and which proposals were accepted.
        """

    def scaled(self, factor: float) -> Move:
        """Return the move for a law that is wider by a factor.

        Args:
            factor: Ratio of the widths.
        """
        return replace(self, size=self.size * factor)


@dataclass(frozen=True)
class Metropolis(Move):
    """A random walk ``x' = x + size z`` with Metropolis' test, which needs no gradient.

    Args:
        size: Standard deviation of a proposal, in units of the state.
    """

    wanted = 0.234

    def __call__(
        self, energy: Energy, x: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None
    ) -> Moved:
        y = x + self.size * _normal(x, generator)
        before, after = energy(x).detach(), energy(y).detach()
        return _chosen((x, before), (y, after), before - after, generator)


@dataclass(frozen=True)
class HMC(Move):
    """Hamiltonian dynamics by ``leaps`` leapfrog steps of length ``size`` from a fresh momentum, with Metropolis' test.

    The length is varied by 15 % at random from move to move, against resonance.

    Args:
        leaps: Leapfrog steps of one move, of one gradient each.
    """

    leaps: int = 5
    wanted = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.leaps, "leaps")

    def __call__(
        self, energy: Energy, x: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None
    ) -> Moved:
        u = torch.rand((), generator=generator, dtype=x.dtype, device=x.device)
        return _leaped(energy, x, self.size * (1 - _JITTER + 2 * _JITTER * u), self.leaps, generator)


@dataclass(frozen=True)
class MALA(Move):
    """A Langevin step ``x' = x - size grad u + sqrt(2 size) z`` with the test of Metropolis and Hastings.

    With ``size = g^2 dt / 2`` it is an Euler step ``dt`` of a process of noise ``g`` in a potential, made exact for
    Boltzmann's law.  It is the same as one leapfrog step of length ``sqrt(2 size)``.

    Args:
        size: Pseudo-time of a step, in squared units of the state.

    Example:
        >>> move, x = MALA(0.5), torch.full((2000, 1), 3.0)
        >>> source = torch.Generator().manual_seed(0)
        >>> for _ in range(30):
        ...     x = move(lambda x: x.square().sum(1) / 2, x, generator=source).x
        >>> abs(x.var().item() - 1) < 0.1  # without the test it would be 1 / (1 - size / 2) = 1.33
        True
    """

    wanted = 0.574

    def scaled(self, factor: float) -> Move:
        return replace(self, size=self.size * factor**2)

    def __call__(
        self, energy: Energy, x: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None
    ) -> Moved:
        length = (2 * torch.as_tensor(self.size, dtype=x.dtype, device=x.device)).sqrt()
        return _leaped(energy, x, length, 1, generator)


def tuned(
    move: Move,
    energy: Energy,
    x: Float[Tensor, "batch *state"],
    *,
    rounds: int = 40,
    generator: torch.Generator | None = None,
) -> tuple[Move, Float[Tensor, "batch *state"]]:
    """Move states while the size of the moves is adapted to the share of accepted ones that the move wants.

    A size that depends on the states breaks invariance while it is adapted: do this before anything is estimated.

    Args:
        move: The move to begin with.
        energy: The energy.
        x: States.
        rounds: Moves, with an ever smaller change of the size.
        generator: Source of randomness.

    Returns:
        The move with its new size, and where the states went.

    Raises:
        ValueError: If an argument is of another kind or shape; one line says what to give.
    """
    check_instance(move, Move, "move", "give tuned(move, energy, x)")
    check_function(energy, "energy", "(x) -> u")
    check_generator(generator)
    x = as_states(x, "x", finite=True)
    one_each(energy, x, "energy")
    for i in range(check_count(rounds, "rounds")):
        found = move(energy, x, generator=generator)
        x, rate = found.x, float(found.accepted.to(x.dtype).mean())
        move = move.scaled(math.exp((rate - move.wanted) / math.sqrt(1 + i / 4)))
    return move, x


def _leaped(energy: Energy, x: Tensor, h: float | Tensor, leaps: int, generator: torch.Generator | None) -> Moved:
    """Kick, drift and kick from a fresh momentum, then the test on the energy with the kinetic one."""
    p = _normal(x, generator)
    before, g = slope(energy, x)
    kinetic = p.square().flatten(1).sum(1) / 2
    y, after = x, before
    for _ in range(leaps):
        p = p - h / 2 * g
        y = y + h * p
        after, g = slope(energy, y)
        p = p - h / 2 * g
    gain = before + kinetic - after - p.square().flatten(1).sum(1) / 2
    return _chosen((x, before), (y, after), gain, generator)


def _chosen(
    old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], gain: Tensor, generator: torch.Generator | None
) -> Moved:
    """Accept each proposal with the probability ``exp(gain)``; what is not a number is refused."""
    x = old[0]
    good = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device).log() < gain
    picked = good.reshape(-1, *[1] * (x.ndim - 1))
    return Moved(torch.where(picked, new[0], x), torch.where(good, new[1], old[1]), good)


def _normal(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
