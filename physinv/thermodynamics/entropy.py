"""Entropy production of a process along its trajectories, in nats, and what it says about what is lost of ``x_0``.

The heat that a path gives to the bath is, over kT, how much likelier the path is than the same path backward,

    dS_bath = sum_m [log p(x_m+1 | x_m) - log p(x_m | x_m+1)],

``beta (U(x_0) - U(x_T))`` in a potential.  With the entropy of the law of the states itself, the total is

    dS = log p_0(x_0) - log p_T(x_T) + dS_bath,    E[dS] >= 0,    E[exp(-dS)] = 1.

In a potential ``E[dS] = KL(p_0 || p_eq) - KL(p_T || p_eq)``: it measures how far the *law* has come to equilibrium.  Of
a process that is in equilibrium it is 0, although ``x_T`` tells ever less of ``x_0``.  What is lost of ``x_0`` is the
entropy production of the ensembles that each begin at one state, minus that of all together,

    -dI(x_0; x_t)/dt = E_x0[rate of dS given x_0] - rate of dS.

The bath's share is the same in both and cancels, so heat alone says nothing about what is lost.

References:
    Seifert (2005), Entropy production along a stochastic trajectory and an integral fluctuation theorem; Crooks (1999).
"""

from __future__ import annotations

__all__ = ["bath_entropy", "entropy_production", "lost_information"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import (
    Numbers,
    Times,
    as_states,
    as_times,
    check_batch,
    check_function,
    check_instance,
    one_each,
)
from physinv.equations.sde import SDE
from physinv.posterior.chain import forward_log_prob

LogDensity = Callable[[Tensor], Tensor]
"""``(batch, *state) -> (batch,)``: a normalised log density."""


def bath_entropy(sde: SDE, paths: Float[Tensor, "n time *state"], times: Times) -> Float[Tensor, " n"]:
    """Return the entropy that each path gives to the bath, heat over kT, from its transitions.

    Exact for linear processes at any times; else that of Euler steps, which needs times as close as solver steps.

    Args:
        sde: The process, with noise on all components.
        paths: Trajectories.
        times: Their times, increasing.

    Returns:
        Nats, float64.

    Raises:
        ValueError: If ``times`` do not fit, or transitions have no density.
    """
    check_instance(sde, SDE, "sde", "give bath_entropy(sde, paths, times)")
    paths, found = _paths(paths, times)
    total = torch.zeros(len(paths), dtype=torch.float64, device=paths.device)
    for m in range(len(found) - 1):
        x, y, a, b = paths[:, m], paths[:, m + 1], found[m], found[m + 1]
        total += forward_log_prob(sde, x, y, a, b) - forward_log_prob(sde, y, x, a, b)
    return total


def entropy_production(
    sde: SDE, paths: Float[Tensor, "n time *state"], times: Times, first: LogDensity, last: LogDensity
) -> Float[Tensor, " n"]:
    """Return the total entropy production of each path.

    Its mean over paths of the process is positive, or 0 in equilibrium; ``exp`` of its negative has the mean 1.

    Args:
        sde: The process.
        paths: Trajectories that begin with the law ``first``.
        times: Their times, increasing.
        first: Log density of the states at the first time.
        last: Log density of the states at the last time; with that of another law the mean of ``exp(-dS)`` is still 1.

    Returns:
        Nats, float64.

    Raises:
        ValueError: If an argument is of another kind or shape, or transitions have no density.
    """
    bath = bath_entropy(sde, paths, times)
    return _fallen(_paths(paths, times)[0], first, last) + bath


def lost_information(
    sde: SDE,
    start: Float[Tensor, "n *state"],
    paths: Float[Tensor, "n time *state"],
    times: Times,
    first: LogDensity,
    last: LogDensity,
) -> Float[Tensor, " n"]:
    """Return for each path what is lost of ``x_0`` between its first time and its last.

    It is the entropy production of the ensemble that began at ``x_0``, minus that of the whole: the mean is
    ``I(x_0; x_a) - I(x_0; x_b)`` for times a and b, in nats of information.

    Args:
        sde: A linear process, whose long transitions are known.
        start: The states ``x_0`` at time 0, ``(n, *state)``.
        paths: Their trajectories from a time after 0 on.
        times: Times of the paths, increasing.
        first: Log density of the states at the first of these times.
        last: Log density of the states at the last one.

    Returns:
        Nats, float64; single paths may be negative, the mean is not.

    Raises:
        ValueError: If an argument is of another kind or shape; one line says what to give.
    """
    paths, found = _paths(paths, times)
    start = as_states(start, "start", paths.shape[2:])
    check_batch(start, "start", paths, "paths")

    def given(x: Tensor, t: float) -> Tensor:
        return forward_log_prob(sde, start, x, 0.0, t)

    # The bath's entropy is that of the same paths, and cancels.
    own = given(paths[:, 0], found[0]) - given(paths[:, -1], found[-1])
    return own - _fallen(paths, first, last)


def _paths(paths: Numbers, times: Times) -> tuple[Tensor, list[float]]:
    """Trajectories and as many times."""
    found, x = as_times(times, increasing=True).tolist(), as_states(paths, "paths", finite=True)
    if x.ndim < 3:
        raise ValueError(f"`paths` must have shape (n, time, *state), got {tuple(x.shape)}; for one give paths[None].")
    if len(found) != x.shape[1]:
        raise ValueError(f"`times` must hold the {x.shape[1]} times of `paths`, got {len(found)}.")
    return x, found


def _fallen(paths: Tensor, first: LogDensity, last: LogDensity) -> Tensor:
    """How far log densities fall along paths."""
    for name, density in (("first", first), ("last", last)):
        check_function(density, name, "(x) -> log density")
    return one_each(first, paths[:, 0], "first").double() - one_each(last, paths[:, -1], "last").double()
