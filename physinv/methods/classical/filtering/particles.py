"""The bootstrap particle filter, with jitter where the process has no noise of its own.

Particles are weighted by the likelihood of what is seen (Gordon, Salmond and Smith 1993), and drawn anew where few of
them count.  Copies of a particle stay together where the process adds no noise: they get a Gaussian jitter whose
covariance is that of the particles, in the width of a kernel density estimate of as many (Musso, Oudjane and Le Gland
2001).  Exact in the limit of many particles, for states of a few numbers.
"""

from __future__ import annotations

__all__ = ["WeightedParticles"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.filtering.filter import Ensemble, Seen
from physinv.posterior.several_times.particles import systematic


@dataclass(frozen=True)
class WeightedParticles:
    """The correction of a particle filter: new weights, and new particles where few of them count.

    Args:
        jitter: Deviation of the jitter after resampling, in units of ``n^(-1 / (d + 4))`` deviations of the particles;
            0: none, for processes with noise.
        least: Share of the particles that has to count, below which they are drawn anew.

    Raises:
        ValueError: If ``jitter`` is negative, or ``least`` not between 0 and 1.
    """

    jitter: float = 0.0
    least: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.jitter) and self.jitter >= 0):
            raise ValueError(f"`jitter` must be 0 or more, got {self.jitter}; about .7 suits processes without noise.")
        if not 0 < self.least <= 1:
            raise ValueError(f"`least` must be above 0 and at most 1, got {self.least}; a half is usual.")

    def __call__(
        self, ensemble: Ensemble, observation: Observation, seen: Seen, generator: torch.Generator | None, /
    ) -> tuple[Ensemble, Ensemble]:
        """Weight particles, and draw them anew where few count.

        Args:
            ensemble: Particles before.
            observation: Operator and noise.
            seen: Observed numbers, NaN where one is missing.
            generator: Source of randomness.

        Returns:
            The weighted particles, and those that go on.

        Raises:
            ValueError: If no particle of an ensemble is finite.
        """
        batch, n = ensemble.log_weights.shape
        states = ensemble.states.flatten(0, 1)[:, None]
        # Squares in float64: misfits of 1e19 deviations, and of one deviation beside them, have to be told apart.
        misfit = ObservationRecord((0.0, observation)).residual(seen.repeat_interleave(n, 0), states).double()
        added = (-misfit.square().sum(1) / 2).reshape(batch, n).nan_to_num(-math.inf, -math.inf, -math.inf)
        total = ensemble.log_weights + added
        if bool((lost := total.isinf().all(1)).any()):
            raise ValueError(
                f"no particle of trajectory {int(lost.nonzero()[0])} is finite and explains what is seen: the process "
                "became infinite or NaN; take more stored times or substeps, or a prior that is nearer to the data."
            )
        # What is not finite weighs nothing, but zero times infinity would be in the mean.
        known = Ensemble(ensemble.states.nan_to_num(0.0, 0.0, 0.0), total.log_softmax(1))

        few = 1 / known.log_weights.exp().square().sum(1) < self.least * n
        if not bool(few.any()):
            return known, known
        at = systematic(known.log_weights.exp(), n, generator=generator)
        drawn = known.states[torch.arange(batch, device=at.device)[:, None], at]
        if self.jitter > 0:
            drawn = drawn + self._jitter(known, generator)
        equal = torch.full_like(known.log_weights, -math.log(n))
        chosen = few.reshape(-1, *[1] * (drawn.ndim - 1))
        return known, Ensemble(
            torch.where(chosen, drawn, known.states), torch.where(few[:, None], equal, known.log_weights)
        )

    def _jitter(self, known: Ensemble, generator: torch.Generator | None) -> Tensor:
        """Gaussian noise of the particles' covariance, in the width of a kernel."""
        batch, n = known.log_weights.shape
        gap = (known.states - known.mean[:, None]).reshape(batch, n, -1).double()
        d = gap.shape[2]
        covariance = torch.einsum("bm,bmi,bmj->bij", known.log_weights.exp(), gap, gap)
        values, vectors = torch.linalg.eigh(covariance)
        root = vectors * values.clamp(min=0).sqrt()[:, None]
        z = torch.randn(gap.shape, generator=generator, dtype=gap.dtype, device=gap.device)
        width = self.jitter * n ** (-1 / (d + 4))
        found: Tensor = (width * z @ root.mT).reshape(known.states.shape).to(known.states)
        return found
