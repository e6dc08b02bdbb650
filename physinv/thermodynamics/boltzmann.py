"""Boltzmann's law of a process in a potential: samples of known density, and its normalising constant.

A population is led from a wide Gaussian to the law through geometric means of both: at each level the states are
weighed, drawn anew in proportion to their weights, and moved by Hamiltonian Monte Carlo.  Wells get their right shares
from the weights, so nothing has to climb the barriers between them.

References:
    Del Moral, Doucet and Jasra (2006), Sequential Monte Carlo samplers.
"""

from __future__ import annotations

__all__ = ["Boltzmann", "check_overdamped", "equilibrium", "free_numbers", "step_of"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.inputs import check_count, check_generator
from physinv.equations.broadcast import expand
from physinv.processes.simulator import Simulator
from physinv.thermodynamics.energy import Energy, geometric, reduced, slope
from physinv.thermodynamics.moves import HMC, MALA, Move, tuned
from physinv.thermodynamics.weights import Weights

_SHARE = 0.5  # effective share of the weights between two levels
_WIDER = 1.5  # width of the Gaussian relative to that of the law, as far as short chains tell
_LEAPS, _MOVES = 4, 6  # of HMC, at each level
_EXPLORE = 60  # moves of the chains that say how wide the law is
_MOST = 10_000  # levels


@dataclass(frozen=True)
class Boltzmann:
    """The law ``exp(-u(x)) / Z`` of a process in a potential, with samples.

    Args:
        energy: Reduced energy ``u = beta U``.
        samples: States in equilibrium.
        log_z: ``log Z``, in nats: minus the free energy over kT.
        log_z_error: Its standard error.
        move: A move of fitting size.
    """

    energy: Energy
    samples: Float[Tensor, "n *state"]
    log_z: float
    log_z_error: float
    move: Move

    def log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the log density ``-u(x) - log Z`` in nats, such as ``weigh`` takes for ``log_prior``.

        Args:
            x: States.
        """
        return -self.energy(x) - self.log_z

    def score(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``-grad u``.

        Args:
            x: States.
        """
        return -slope(self.energy, x)[1]


@torch.no_grad()
def equilibrium(process: Simulator, n: int, *, generator: torch.Generator | None = None) -> Boltzmann:
    """Draw states of a process in equilibrium, with known density: starts for ``process.run``, for example.

    Initial states of the process say where its law is roughly; wells that no chain from there reaches within 60
    moves, and that lie outside the Gaussian that is laid around all chains, are missed.  The population is exact in the
    limit of many states; the shares of separate wells have the error of its weights, as ``log_z`` has.

    Args:
        process: A process in a potential.
        n: Number of states, 100 or more.
        generator: Source of randomness.

    Returns:
        The law with ``n`` states, float64; draws at the last level are moved, and nearly independent.

    Raises:
        ValueError: If there is no Boltzmann law.

    Example:
        >>> from physinv.processes.registry import find
        >>> law = equilibrium(find("ornstein-uhlenbeck")(dim=1, rate=4.0, noise=2**0.5), 2000,
        ...     generator=torch.Generator().manual_seed(0))
        >>> abs(law.log_z - 0.2258) < 0.1, abs(law.samples.var().item() - 0.25) < 0.03  # log(2 pi / 4) / 2
        (True, True)
    """
    n = check_count(n, "n", 100)
    check_generator(generator)
    target = reduced(process)
    x = process.initial(n, generator=generator, dtype=torch.float64)
    free = free_numbers(process, x)

    # Short chains say how wide the law is; what is static keeps its value.
    move: Move = HMC(0.1 * _spread(x) * free, _LEAPS)
    move, x = tuned(move, target, x, rounds=_EXPLORE, generator=generator)
    mean, width = x.mean(0), _WIDER * _spread(x)
    z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    x = torch.where(free, mean + width * z, x)
    count = int(free.sum())
    norm = count / 2 * math.log(2 * math.pi) + float((width.log() * free).sum())

    def base(x: Tensor) -> Tensor:
        return (((x - mean) / width).square() * free).flatten(1).sum(1) / 2 + norm

    # Level by level; the size of the moves follows the law.
    s, log_z, variance, path = 0.0, 0.0, 0.0, geometric(base, target)
    for _ in range(_MOST):
        gap = (target(x) - base(x)).nan_to_num(math.inf, posinf=math.inf)
        later = _next(gap, s)
        weights = Weights(x, -(later - s) * gap)
        log_z += weights.log_mean
        variance += weights.error**2
        x, s = weights.resample(generator=generator), later
        move, x = tuned(move, path(s), x, rounds=_MOVES, generator=generator)
        if s == 1:
            break
    else:
        raise ValueError(f"{type(process).__name__} needs more than {_MOST} levels to equilibrium; is its law bounded?")

    # Sizes are fixed from here on: these moves leave the law exactly as it is.
    for _ in range(4 * _MOVES):
        x = move(target, x, generator=generator).x
    return Boltzmann(target, x, log_z, math.sqrt(variance), move)


def free_numbers(process: Simulator, x: Float[Tensor, "batch *state"]) -> Bool[Tensor, "*state"]:
    """Return which numbers of a state move, and are not static context.

    Args:
        process: The process.
        x: States.

    Raises:
        ValueError: If static context differs between states, each of which then has a law of its own.
    """
    still = torch.zeros_like(x[:1])
    free = process.layout.set_moving(torch.ones_like(process.layout.moving(still)), still)[0].bool()
    if bool((x != x[:1])[:, ~free].any()):
        raise ValueError(
            f"the static context of {type(process).__name__} differs between states, and so do their laws; take a "
            "process with the same context for all."
        )
    return free


def check_overdamped(process: Simulator, x: Float[Tensor, "batch *state"]) -> None:
    """Refuse a process whose drift is not ``-g^2/2 grad u``: it does not relax as the moves of :func:`step_of` do.

    A drift with a rotation may have the same stationary law, but no detailed balance.

    Args:
        process: A process in a potential.
        x: Some of its states.

    Raises:
        ValueError: If drift and noise do not fit to the potential.
    """
    wanted = -_half(process, x) * slope(reduced(process), x)[1]
    found = process.drift(x, torch.zeros(len(x), dtype=x.dtype, device=x.device))
    if not float((found - wanted).abs().max()) <= 1e-3 * float(found.abs().max()) + 1e-6:
        raise ValueError(
            f"the drift of {type(process).__name__} is not -g^2/2 grad(beta U) with white noise g, so how it relaxes "
            "is not known; take an overdamped process, or correct its `potential` or `inverse_temperature`."
        )


def step_of(process: Simulator, x: Float[Tensor, "batch *state"], dt: float) -> MALA:
    """Return an Euler step of an overdamped process, made exact for Boltzmann's law by the test of Metropolis.

    Args:
        process: The process.
        x: Some of its states, for shape and precision.
        dt: Length of the step, in units of time.

    Returns:
        An adjusted Langevin step of size ``g^2 dt / 2``; ever more like the process as it gets shorter.
    """
    return MALA(_half(process, x) * dt)


def _spread(x: Tensor) -> Tensor:
    """Standard deviation of each number; where it is 0, the mean of the others."""
    wide = x.std(0)
    some = wide > 0
    return torch.where(some, wide, wide[some].mean() if bool(some.any()) else 1.0)


def _half(process: Simulator, x: Tensor) -> Tensor:
    """``g^2 / 2`` of each number of a state."""
    g = process.diffusion(torch.zeros(1, dtype=x.dtype, device=x.device))
    return expand(g, x[:1]).square().expand(1, *x.shape[1:]) / 2


def _next(gap: Tensor, s: float) -> float:
    """The next level: as far as half of the states count."""

    def share(later: float) -> float:
        w = (-(later - s) * gap).softmax(0)
        return float(1 / (len(w) * w.square().sum()))

    if share(1.0) >= _SHARE:
        return 1.0
    low, high = s, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) >= _SHARE else (low, middle)
    return low if low > s else high
