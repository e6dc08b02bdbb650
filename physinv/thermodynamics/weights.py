"""Log weights whose mean is a ratio of normalising constants, and importance sampling, the simplest of their kind."""

from __future__ import annotations

__all__ = ["FEW", "Weights", "few_effective", "importance"]

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import as_states, as_tensor, check_batch, check_function, describe, one_each
from physinv.posterior.weigh import Weighed
from physinv.thermodynamics.energy import Energy

FEW = 0.05
"""Effective share of weighted runs below which an estimate is warned of."""


@dataclass(frozen=True)
class Weights:
    """Weights ``w`` of independent draws or runs, with ``E[w] = Z_1 / Z_0``.

    The statistics are those of :class:`~physinv.posterior.weigh.Weighed`, of one set of draws.

    Args:
        samples: Where the runs ended, ``(n, *state)``.
        log_weights: Log weights in nats.

    Example:
        >>> even = Weights(torch.zeros(4, 1), torch.full((4,), 2.0))
        >>> even.log_mean, even.effective, even.lower
        (2.0, 1.0, 2.0)
    """

    samples: Float[Tensor, "n *state"]
    log_weights: Float[Tensor, " n"]

    def __post_init__(self) -> None:
        check_batch(self.log_weights, "log_weights", self.samples, "samples")

    @cached_property
    def _weighed(self) -> Weighed:
        return Weighed(self.samples[None], self.log_weights.double()[None], "")

    @property
    def log_mean(self) -> float:
        """Return ``log(mean w)``, the estimate of ``log(Z_1 / Z_0)``; its mean is too low where weights are uneven."""
        return float(self._weighed.log_evidence)

    @property
    def error(self) -> float:
        """Return the standard error of :attr:`log_mean`; too small where :attr:`effective` is."""
        return float(self._weighed.error)

    @property
    def effective(self) -> float:
        """Return the effective share of the draws, ``(sum w)^2 / (n sum w^2)``, between ``1/n`` and 1."""
        return float(self._weighed.effective)

    @property
    def lower(self) -> float:
        """Return the mean log weight: on average a lower bound of ``log(Z_1 / Z_0)``.

        Of draws of a trial law this is the inequality of Gibbs, Bogoliubov and Feynman; of driven runs, the second law.
        """
        return float(self._weighed.lower)

    @property
    def lower_error(self) -> float:
        """Return the standard error of :attr:`lower`."""
        return float(self.log_weights.double().std()) / math.sqrt(len(self.log_weights))

    def resample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Float[Tensor, "n *state"]:
        """Return states drawn in proportion to their weights, by systematic resampling.

        Args:
            n: How many; None: as many as there are.
            generator: Source of randomness.
        """
        return self._weighed.resample(n, generator=generator)[0]


def importance(energy: Energy, samples: Float[Tensor, "n *state"], log_prob: Float[Tensor, " n"]) -> Weights:
    """Weigh draws of one law for another, ``w = exp(-u(x)) / q(x)``, so that ``E[w] = Z``.

    ``q`` must be positive wherever ``exp(-u)`` is; what it never draws is missing from ``Z``.

    Args:
        energy: Energy ``u`` of the law that is wanted.
        samples: Independent draws of ``q``.
        log_prob: Their log densities ``log q``, normalised.

    Returns:
        The weights: ``log_mean`` is ``log Z``, and ``-lower`` bounds ``-log Z = beta F`` from above (Gibbs, Bogoliubov,
        Feynman).

    Raises:
        ValueError: If an argument is of another kind or shape; one line says what to give.

    Example:
        >>> z = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> wide = torch.distributions.Normal(0.0, 2.0).log_prob(2 * z)[:, 0]
        >>> found = importance(lambda x: x.square().sum(1) / 2, 2 * z, wide)
        >>> abs(found.log_mean - 0.9189) < 3 * found.error  # log(2 pi) / 2
        True
    """
    check_function(energy, "energy", "(x) -> u")
    samples = as_states(samples, "samples", finite=True)
    log_prob = as_tensor(log_prob, "log_prob").to(samples.device)
    if log_prob.shape != (len(samples),):
        raise ValueError(
            f"`log_prob` must hold one number for each of {len(samples)} samples, got {describe(log_prob)}."
        )
    return Weights(samples, -one_each(energy, samples, "energy").detach() - log_prob)


def few_effective(effective: float, n: int, of: str) -> list[str]:
    """Return a sentence that warns of an effective share below 5 %, if it is.

    Args:
        effective: Effective share.
        n: Number of runs.
        of: What was estimated, in words.
    """
    if effective >= FEW:
        return []
    return [
        f"the weights of {of} have an effective share of {effective:.1%} of {n} runs: the estimate is likely to be off "
        "by more than its error says; drive more slowly, or take Bennett's estimate from both directions."
    ]
