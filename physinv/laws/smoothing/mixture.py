"""The exact answer to a record where initial states follow a Gaussian mixture: a mixture of smoothed Gaussians.

    p(x | y) = sum_k r_k p(x | y, k),    r_k proportional to w_k p(y | k)

with the answer ``p(x | y, k)`` and the evidence ``p(y | k)`` of each component alone.  The process
``dx = -rate x dt + noise dW`` is the same in every orthonormal basis, so that each component is diagonal in that of its
own eigenvectors.
"""

from __future__ import annotations

__all__ = ["SmoothedMixture"]

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, check_count, check_generator
from physinv.laws.smoothing.base import Smoothed
from physinv.laws.smoothing.gaussian import SmoothedGaussian


@dataclass(frozen=True)
class SmoothedMixture(Smoothed):
    """The laws ``p(x_t | y)`` given a record ``y`` of a process that begins at a Gaussian mixture.

    Args:
        weights: Probabilities ``w_k`` of the components of the initial law.
        parts: The answer to the record where only one component is there, for each.
    """

    weights: Float[Tensor, " k"]
    parts: tuple[SmoothedGaussian, ...]

    def mean_at(self, y: Any, times: Times) -> Float[Tensor, "batch time *state"]:
        seen, dtype = self._accepted(y)
        means = torch.stack([part.mean_at(seen, times) for part in self.parts], -1)
        share = self.probabilities(seen)
        found: Tensor = (means * share.reshape(len(share), *[1] * (means.ndim - 2), -1)).sum(-1)
        return found.to(dtype)

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        n = check_count(n, "n")
        check_generator(generator)
        seen, dtype = self._accepted(y)
        pick = torch.multinomial(self.probabilities(seen), n, replacement=True, generator=generator).flatten()
        rows = seen.repeat_interleave(n, 0)
        drawn, order = [], []
        for k, part in enumerate(self.parts):
            if len(chosen := (pick == k).nonzero()[:, 0]):
                drawn.append(part.sample_at(rows[chosen], 1, times, generator=generator)[:, 0])
                order.append(chosen)
        found = torch.cat(drawn)[torch.cat(order).argsort()]
        return found.reshape(len(seen), n, *found.shape[1:]).to(dtype)

    def probabilities(self, y: Any) -> Float[Tensor, "batch k"]:
        """Return the probability of each component given what is observed, float64.

        Args:
            y: Observed numbers.
        """
        return self._joint(self._accepted(y)[0]).softmax(1)

    def log_evidence(self, y: Any) -> Float[Tensor, " batch"]:
        seen, dtype = self._accepted(y)
        return self._joint(seen).logsumexp(1).to(dtype)

    def scaled(self, level: float) -> SmoothedMixture:
        return SmoothedMixture(self.weights, tuple(part.scaled(level) for part in self.parts))

    def _joint(self, seen: Tensor) -> Tensor:
        """``log w_k p(y | k)``."""
        logs = torch.stack([part.log_evidence(seen) for part in self.parts], 1)
        return self.weights.to(logs).log() + logs

    def _accepted(self, y: Any) -> tuple[Tensor, torch.dtype]:
        """Observed numbers in float64, and the precision they came in."""
        return self.parts[0].accepted(y)
