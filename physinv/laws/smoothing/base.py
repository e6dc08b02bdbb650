"""What exact answers to records have in common: laws of states at any times given all that was observed."""

from __future__ import annotations

__all__ = ["Smoothed"]

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times


class Smoothed(ABC):
    """The laws ``p(x_t | y)`` given a record ``y``, at any times ``t``.

    Times before the last observation are smoothed, later ones are forecasts, and 0 is that of the initial state.
    Observed numbers are one row for each trajectory, NaN where a number is missing.
    """

    def mean(self, y: Any) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean of the initial state, ``E[x_0 | y]``.

        Args:
            y: Observed numbers.
        """
        return self.mean_at(y, [0.0])[:, 0]

    @abstractmethod
    def mean_at(self, y: Any, times: Times) -> Float[Tensor, "batch time *state"]:
        """Return the posterior mean of states, ``E[x_t | y]``.

        Args:
            y: Observed numbers.
            times: Times, 0 or later, in any order.

        Returns:
            One state for each time.
        """

    def sample(self, y: Any, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "batch n *state"]:
        """Draw independent initial states from ``p(x_0 | y)``.

        Args:
            y: Observed numbers.
            n: Number of draws for each row.
            generator: Source of randomness, on the device of the law.

        Returns:
            Initial states.
        """
        return self.sample_at(y, n, [0.0], generator=generator)[:, :, 0]

    @abstractmethod
    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        """Draw whole trajectories from the posterior: states at several times that belong together.

        Args:
            y: Observed numbers.
            n: Number of draws for each row.
            times: Times, 0 or later, in any order.
            generator: Source of randomness, on the device of the law.

        Returns:
            One trajectory for each draw.
        """

    @abstractmethod
    def log_evidence(self, y: Any) -> Float[Tensor, " batch"]:
        """Return the log density of records, ``log p(y)``, of the numbers that are not missing.

        Args:
            y: Observed numbers.
        """

    @abstractmethod
    def scaled(self, level: float) -> Smoothed:
        """Return the posterior given the same record with other noise, without computing anew what is not of the noise.

        Args:
            level: What the noise is multiplied by.
        """
