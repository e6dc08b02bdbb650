"""The way from initial to final states by regression, for methods without physics: what samples lead to.

    x_T = F(x_0) + e,    F the best ridge regression, e its misses of trajectories that it was not fitted to.

For a sample of the exact posterior the pair ``(x_0, x_T)`` has the law of a true pair, whatever ``F`` is.  So over
observations ``x_T - F(x_0)`` has the law of ``e``, and the posterior predictive check
(:mod:`physinv.evaluation.observed.predictive`) holds for a map that explains little, too: it then sees little.  Of maps
that are about as good the most damped one is taken: roughness of samples that no state in the data has would lead
anywhere otherwise.
"""

from __future__ import annotations

__all__ = ["ForwardLaw", "fit_forward_law"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.evaluation.observed.predictive import MOST_DRAWS, PredictedFinals
from physinv.methods.classical.linear_estimate import LinearEstimate, cross_fit
from physinv.methods.saving import below, prefixed
from physinv.processes.layout import StateLayout

_FEWEST = 20  # trajectories from which on there is a law of misses
_MOST, _NUMBERS = 512, 2**20  # misses that are kept, and numbers in them


@dataclass(frozen=True)
class ForwardLaw:
    """The law ``x_T = F(x_0) + e`` with misses ``e`` as in the training data.

    Args:
        map: The regression ``F`` of final on initial states.
        misses: Some of its misses of trajectories that it was not fitted to.
    """

    map: LinearEstimate
    misses: Float[Tensor, "m *state"]

    @torch.no_grad()
    def predict(
        self, samples: Float[Tensor, "n k *state"], *, generator: torch.Generator | None = None
    ) -> PredictedFinals:
        """Say what samples of initial states lead to.

        Args:
            samples: Samples of each observation, the first 32 of which count.
            generator: Source of the misses, on the device of the samples.

        Returns:
            The final states, with misses and without.
        """
        few = samples[:, :MOST_DRAWS]
        clean = self.map.mean(few.flatten(0, 1)).reshape(few.shape)
        drawn = torch.randint(len(self.misses), few.shape[:2], generator=generator, device=few.device)
        return PredictedFinals(clean + self.misses.to(few)[drawn], clean)

    def tensors(self) -> dict[str, Tensor]:
        """Return map and misses."""
        return prefixed("map", self.map.tensors()) | {"misses": self.misses}

    @staticmethod
    def from_tensors(layout: StateLayout, tensors: Mapping[str, Tensor]) -> ForwardLaw:
        """Make a law again.

        Args:
            layout: Layout of the states.
            tensors: What :meth:`tensors` returned.

        Returns:
            The law.
        """
        return ForwardLaw(LinearEstimate.from_tensors(layout, below("map", tensors)), tensors["misses"])


def fit_forward_law(sde: SDE, train: TrajectoryDataset, valid: TrajectoryDataset) -> ForwardLaw | None:
    """Fit the regression of final on initial states, and collect its misses of trajectories that it was not fitted to.

    Args:
        sde: The process, for its symmetries.
        train: Training trajectories.
        valid: Validation trajectories, which choose the regression.

    Returns:
        The law; None where there are too few trajectories.
    """
    if train.n_trajectories < _FEWEST:
        return None
    map_, estimates = cross_fit(sde, train, valid, ends=(-1, 0), damped=True)
    final = train.states(-1)
    kept = max(_FEWEST, min(_MOST, _NUMBERS // math.prod(train.shape)))
    at = torch.linspace(0, len(final) - 1, min(kept, len(final))).round().long().to(final.device)
    return ForwardLaw(map_, (final - estimates)[at].contiguous())
