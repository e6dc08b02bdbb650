"""Drive states through a sequence of energies: the work that is done on them, and annealed importance sampling.

States start in equilibrium under ``u_0``.  Then, for each energy in turn, the energy is changed *at fixed states*, and
the change is work; after that the states relax under the new energy:

    W = sum_k [u_k+1(x_k) - u_k(x_k)],    x_k+1 from x_k by a move that leaves exp(-u_k+1) invariant.

``E[exp(-W)] = Z_n / Z_0`` then holds exactly, for any number of steps and however little the states relax (Neal 2001;
Crooks 1998).  Work that is counted after the relaxation does not have this property.
"""

from __future__ import annotations

__all__ = ["Driven", "Sandwich", "annealed_importance", "drive", "sandwich", "simulated_annealing"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import (
    as_states,
    as_times,
    check_count,
    check_function,
    check_generator,
    check_instance,
    describe,
    one_each,
)
from physinv.thermodynamics.energy import Energy, Path
from physinv.thermodynamics.moves import Move
from physinv.thermodynamics.weights import Weights


@dataclass(frozen=True)
class Driven:
    """Runs that were driven from one energy to another.

    Args:
        work: Work done on each run in units of kT, float64.
        x: Where the runs ended.
        accepted: Share of accepted moves.
    """

    work: Float[Tensor, " n"]
    x: Float[Tensor, "n *state"]
    accepted: float

    @property
    def weights(self) -> Weights:
        """Return the weights ``exp(-W)``, whose mean is ``Z_n / Z_0``."""
        return Weights(self.x, -self.work)


@torch.no_grad()
def drive(
    energies: Sequence[Energy],
    x: Float[Tensor, "n *state"],
    moves: Move | Sequence[Move],
    *,
    progress: Callable[[int, int], None] | None = None,
    generator: torch.Generator | None = None,
) -> Driven:
    """Drive states through energies ``u_0, ..., u_n``, with one move under each of ``u_1, ..., u_(n-1)``.

    The order change, relax, change, ..., change is the same read backward, so runs from equilibrium under ``u_n``
    through the reversed energies are the reverse process of Crooks.

    Args:
        energies: Two or more energies.
        x: Independent states in equilibrium under the first one.
        moves: The move by which states relax, or one for each of ``u_1, ..., u_(n-1)``.
        progress: Called with the number of energies done and their total.
        generator: Source of randomness, on the device of the states.

    Returns:
        The work of each run.

    Raises:
        ValueError: If there are fewer than two energies, or another number of moves than of energies between the ends;
            or if an argument is of another kind or shape, in one line that says what to give.

    Example:
        Two levels and no move are importance sampling; :math:`E[exp(-W)] = 1/2` for a trap that becomes four times as
        stiff:

        >>> x = torch.randn(20000, 1, generator=torch.Generator().manual_seed(0))
        >>> u = [lambda x: x.square().sum(1) / 2, lambda x: 4 * x.square().sum(1) / 2]
        >>> round(drive(u, x, []).weights.log_mean, 1)
        -0.7
    """
    if not isinstance(energies, Sequence):
        raise ValueError(f"`energies` must be a list of two or more functions, got {describe(energies)}.")
    for each in energies:
        check_function(each, "energies", "(x) -> u")
    check_generator(generator)
    x = as_states(x, "x", finite=True)
    between = len(energies) - 2
    if between < 0:
        raise ValueError(f"`energies` must hold the first and the last one at least, got {len(energies)}.")
    relax = [moves] * between if isinstance(moves, Move) or not isinstance(moves, Sequence) else list(moves)
    for move in relax:
        check_instance(move, Move, "moves", "take one of physinv.thermodynamics, such as MALA(0.1)")
    if len(relax) != between:
        raise ValueError(f"`moves` must be one, or one for each of the {between} energies between, got {len(relax)}.")

    work, accepted = torch.zeros(len(x), dtype=torch.float64, device=x.device), 0.0
    energy = one_each(energies[0], x, "energies")
    for k, later in enumerate(energies[1:]):
        # The energy changes at fixed states, and that alone is work; then heat is exchanged.
        work = torch.where(work == torch.inf, work, work + later(x).double() - energy.double())  # lost runs stay so
        if k < between:
            found = relax[k](later, x, generator=generator)
            x, energy = found.x, found.energy
            accepted += float(found.accepted.double().mean()) / between
        if progress is not None:
            progress(k + 1, between + 1)
    return Driven(work, x, accepted if between else 1.0)


def annealed_importance(
    path: Path,
    x: Float[Tensor, "n *state"],
    move: Move,
    *,
    levels: int = 100,
    reverse: bool = False,
    generator: torch.Generator | None = None,
) -> Weights:
    """Weigh annealed runs from one law to another (annealed importance sampling).

    Forward, ``E[w] = Z_1 / Z_0``, and the mean log weight bounds ``log(Z_1 / Z_0)`` from below.  Reverse runs start
    from exact samples of the *second* law; their own weights have the mean ``Z_0 / Z_1``, so minus their mean log
    weight bounds the same ``log(Z_1 / Z_0)`` from above.  (RAISE also anneals backward, but to bound the log-likelihood
    of data under a model from *below*: another quantity and another side.)

    Args:
        path: Energies from 0 to 1; see :func:`~physinv.thermodynamics.energy.geometric` for the condition on supports.
        x: Independent exact samples of the law that the runs start from.
        move: How states move at each level.
        levels: Changes of the energy.
        reverse: Whether runs go from 1 to 0.
        generator: Source of randomness.

    Returns:
        Ends of the runs and their weights.

    Raises:
        ValueError: If an argument is of another kind or shape; one line says what to give.

    References:
        Neal (2001), Annealed importance sampling; Grosse, Ghahramani and Adams (2015), Sandwiching the marginal
        likelihood using bidirectional Monte Carlo; Burda, Grosse and Salakhutdinov (2015), for RAISE.
    """
    levels = check_count(levels, "levels")
    check_function(path, "path", "(share) -> energy", "make one with geometric(first, last)")
    try:
        energies = [path(k / levels) for k in range(levels + 1)]
    except (AttributeError, IndexError, TypeError) as error:  # of an energy, which takes states
        raise ValueError(
            "`path` must give the energy at a share of the way; make it with geometric(first, last)."
        ) from error
    return drive(energies[::-1] if reverse else energies, x, move, generator=generator).weights


@dataclass(frozen=True)
class Sandwich:
    """Bounds of ``log(Z_1 / Z_0)`` from annealing in both directions.

    Args:
        forward: Weights of runs from 0 to 1.
        backward: Weights of runs from 1 to 0.
    """

    forward: Weights
    backward: Weights

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the lower and the upper bound; each holds on average."""
        return self.forward.lower, -self.backward.lower

    @property
    def gap(self) -> float:
        """Return the distance of the bounds in nats: what driving there and back dissipates."""
        return self.bounds[1] - self.bounds[0]

    @property
    def gap_error(self) -> float:
        """Return the standard error of the gap."""
        return float((self.forward.lower_error**2 + self.backward.lower_error**2) ** 0.5)


def sandwich(
    path: Path,
    first: Float[Tensor, "n *state"],
    last: Float[Tensor, "m *state"],
    move: Move,
    *,
    levels: int = 100,
    generator: torch.Generator | None = None,
) -> Sandwich:
    """Bound ``log(Z_1 / Z_0)`` from both sides by annealing there and back.

    Args:
        path: Energies from 0 to 1.
        first: Independent exact samples of the law at 0.
        last: Independent exact samples of the law at 1, such as simulated data.
        move: How states move at each level.
        levels: Changes of the energy.
        generator: Source of randomness.

    Returns:
        Both sets of weights, and the bounds.
    """
    forward = annealed_importance(path, first, move, levels=levels, generator=generator)
    return Sandwich(forward, annealed_importance(path, last, move, levels=levels, reverse=True, generator=generator))


@torch.no_grad()
def simulated_annealing(
    energy: Energy,
    x: Float[Tensor, "n *state"],
    move: Move,
    temperatures: Sequence[float],
    *,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "n *state"], Float[Tensor, " n"]]:
    """Look for the lowest energy by moves at ever lower temperatures.

    Args:
        energy: Energy ``u``.
        x: States to start from.
        move: How states move; its size is multiplied by the root of each temperature, the width of the law there.
        temperatures: Temperatures of the moves in units of that of ``u``, falling.
        generator: Source of randomness.

    Returns:
        The lowest state of each run, and its energy.

    Raises:
        ValueError: If a temperature is not positive, or an argument is of another kind or shape.

    References:
        Kirkpatrick, Gelatt and Vecchi (1983).
    """
    check_function(energy, "energy", "(x) -> u")
    check_instance(move, Move, "move", "take one of physinv.thermodynamics, such as MALA(0.1)")
    check_generator(generator)
    x = as_states(x, "x", finite=True)
    best, least = x, one_each(energy, x, "energy")
    for T in as_times(temperatures, "temperatures").tolist():
        if not T > 0:
            raise ValueError(f"`temperatures` must be positive, got {T:g}; leave 0 out.")
        x = move.scaled(T**0.5)(_over(energy, T), x, generator=generator).x
        u = energy(x)
        lower = u < least
        best = torch.where(lower.reshape(-1, *[1] * (x.ndim - 1)), x, best)
        least = torch.where(lower, u, least)
    return best, least


def _over(energy: Energy, temperature: float) -> Energy:
    """The energy in units of another temperature."""
    return lambda x: energy(x) / temperature
