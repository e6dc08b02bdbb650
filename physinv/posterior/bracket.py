"""A certificate for a posterior: bounds of ``log p(x_T)`` from below and from above, and how far they are apart.

The log weight of a path is ``log w = log p(path, x_T) - log q(path | x_T)``, see :mod:`~physinv.posterior.weigh`.  Its
means over paths of the reversal and over paths of the process differ:

    E_q[log w]      = log p(x_T) - KL(q || p(path | x_T))    paths that the reversal draws
    E_p[log w|x_T]  = log p(x_T) + KL(p(path | x_T) || q)    paths that truly led to x_T

A stored trajectory is a draw of the second kind: the path that led to its own final state.  So over many trajectories
the two means enclose the mean of ``log p(x_T)``, and their distance is the sum of both divergences: 0 if and only if
the reversal draws from the exact posterior.

References:
    Grosse, Ancha and Roy (2016), Measuring the reliability of MCMC inference with bidirectional Monte Carlo;
    Burda, Grosse and Salakhutdinov (2015), Accurate and conservative estimates of MRF log-likelihood using reverse
    annealing (RAISE).
"""

from __future__ import annotations

__all__ = ["Bracket", "bracket"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import States, Times, as_times, check_count, check_generator, check_instance
from physinv.equations.broadcast import default_batch
from physinv.posterior.chain import Chain
from physinv.posterior.prior import PriorDensity
from physinv.posterior.weigh import Reversal, Weighed, path_log_weight, prior_for, weigh


@dataclass(frozen=True)
class Bracket:
    """Bounds of the log evidence of trajectories, one each for every trajectory.

    Args:
        upper: Log weight of the trajectory itself, or the mean over the chains of the posterior.
        weighed: Draws of the reversal from its final state, with their weights.
        numbers: Moving numbers of a state, by which a width is divided to compare processes.
    """

    upper: Float[Tensor, " n"]
    weighed: Weighed
    numbers: int

    @property
    def lower(self) -> Float[Tensor, " n"]:
        """Return the mean log weights of the draws."""
        return self.weighed.lower

    @property
    def width(self) -> float:
        """Return the distance of the bounds in nats, a mean over trajectories: both divergences added up."""
        return float((self.upper - self.lower).mean())

    @property
    def width_per_number(self) -> float:
        """Return the width divided by the moving numbers of a state, in nats."""
        return self.width / self.numbers

    @property
    def width_error(self) -> float:
        """Return the standard error of the width, paired over trajectories."""
        return _error(self.upper - self.lower)

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the lower and the upper bound of the mean log evidence, in nats."""
        return float(self.lower.mean()), float(self.upper.mean())

    def holds(self, log_evidence: Float[Tensor, " n"], errors: float = 3.0) -> bool:
        """Return whether known values lie between the bounds, up to some standard errors.

        Args:
            log_evidence: ``log p(x_T)`` of every trajectory, in nats.
            errors: How many standard errors are granted on either side, paired over trajectories.
        """
        below, above = log_evidence - self.lower, self.upper - log_evidence
        return all(float(gap.mean()) >= -errors * _error(gap) for gap in (below, above))


@torch.no_grad()
def bracket(
    posterior: Reversal,
    trajectories: States,
    times: Times | None = None,
    *,
    draws: int = 16,
    log_prior: Callable[[Tensor], Tensor] | None = None,
    keep_lost: bool = False,
    generator: torch.Generator | None = None,
) -> Bracket:
    """Bound the log evidence of trajectories from both sides: how far a posterior is from exact, without an exact one.

    Args:
        posterior: The reversal, as :func:`~physinv.posterior.weigh.weigh` takes it.
        trajectories: True trajectories that the posterior was not trained on, ``(n, time, *state)``.
        times: Their times; None: those of the reversal.  All times of the reversal must be among them.
        draws: Draws of the reversal for each trajectory.
        log_prior: Log density of initial states, as for ``weigh``.
        keep_lost: Whether trajectories none of whose draws has a weight keep their place, as for ``weigh``.
        generator: Source of randomness, on the device of ``trajectories``.

    Returns:
        Both bounds and their distance.

    Raises:
        ValueError: If a time of the reversal is not among ``times``, a density is not known, or no step of the physics
            leads to the states of a trajectory; with ``keep_lost`` its upper bound is NaN.
    """
    check_instance(posterior, Reversal, "posterior", "give bracket(posterior, trajectories)")
    draws = check_count(draws, "draws")
    check_generator(generator)
    chains = posterior.chains()
    prior = prior_for(posterior, chains, log_prior)
    first = torch.as_tensor(trajectories)
    final = posterior.accepted(first[:, -1], "trajectories")

    # From above: the trajectory itself, along every chain.
    found = []
    for chain in chains:
        states = first[:, _places(chain, first, times)].to(final)
        found.append(_log_weights(posterior, chain, states, prior))
    upper = torch.stack(found).mean(0)
    if not keep_lost and (lost := int(upper.isnan().sum())):
        raise ValueError(
            f"no step of the physics leads to the states of {lost} of {len(upper)} trajectories, which have no weight "
            "then; take shorter steps."
        )
    weighed = weigh(posterior, final, draws, log_prior=prior.log_prob, keep_lost=keep_lost, generator=generator)
    weighed = Weighed(weighed.samples, weighed.log_weights, prior.source)
    return Bracket(upper, weighed, final[0].numel())


def _log_weights(posterior: Reversal, chain: Chain, states: Tensor, prior: PriorDensity) -> Tensor:
    """Log weights of known paths, some at a time."""
    parts = torch.split(states, default_batch(states[:, 0]))
    return torch.cat([path_log_weight(posterior, chain, part, prior) for part in parts])


def _places(chain: Chain, trajectories: Tensor, times: Times | None) -> list[int]:
    """Where the times of a chain are among those of trajectories, in increasing order."""
    wanted = [chain[-1].earlier, *(link.later for link in reversed(chain))]
    if times is None:
        if trajectories.shape[1] != len(wanted):
            raise ValueError(
                f"`trajectories` must have the {len(wanted)} times of the reversal, got {trajectories.shape[1]}; give "
                "`times`."
            )
        return list(range(len(wanted)))
    known = as_times(times).tolist()
    slack = 1e-6 * (known[-1] - known[0])
    places = [min(range(len(known)), key=lambda i: abs(known[i] - t)) for t in wanted]
    for t, i in zip(wanted, places, strict=True):
        if abs(known[i] - t) > slack:
            raise ValueError(f"`times` must hold all times of the reversal, got none at {t:g}; take the stored grid.")
    return places


def _error(x: Tensor) -> float:
    """Standard error of a mean."""
    return float(x.std()) / math.sqrt(len(x)) if len(x) > 1 else math.nan
