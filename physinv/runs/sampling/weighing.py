"""Samples of a run that are drawn in proportion to the weights of a reversal, and what is told of the weights."""

from __future__ import annotations

__all__ = ["FEW", "WeighedSamples", "few_effective"]

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.posterior.weigh import Reversal, weigh

FEW = 0.1
"""Effective share of the draws below which it is told that few count."""


class WeighedSamples:
    """Samples drawn in proportion to their weights, batch by batch.

    Args:
        posterior: The reversal.
        draws: Draws that are weighed for each observation.
        samples: Samples that are drawn from them.
    """

    def __init__(self, posterior: Reversal, draws: int, samples: int) -> None:
        self.posterior, self.draws, self.samples = posterior, draws, samples
        self._found: list[tuple[Tensor, ...]] = []
        self._prior = ""

    def draw(
        self, final: Float[Tensor, "batch *state"], kept: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch k *state"]:
        """Draw samples of one batch, and keep what the weights say.

        Args:
            final: Final states.
            kept: How many of them, from the first on, are noted.
            generator: Source of randomness, on their device.

        Returns:
            Samples of equal weight.
        """
        found = weigh(self.posterior, final, self.draws, generator=generator)
        self._found.append(tuple(v[:kept].cpu() for v in (found.log_evidence, found.error, found.effective)))
        self._prior = found.prior
        return found.resample(self.samples, generator=generator)

    @property
    def info(self) -> dict[str, Any]:
        """Log evidence, its error and the effective share of every observation, fit for JSON."""
        logs, error, effective = (torch.cat(part).tolist() for part in zip(*self._found, strict=True))
        return {"log_evidence": logs, "error": error, "effective": effective, "prior": self._prior}

    @property
    def warnings(self) -> list[str]:
        """Return what speaks against the weights, in sentences."""
        return few_effective(torch.cat([part[2] for part in self._found]), self.draws)


def few_effective(effective: Float[Tensor, " n"], draws: int) -> list[str]:
    """Return a sentence where too few draws carry the weight; none where there are enough.

    Args:
        effective: Effective share of the draws of every observation.
        draws: Draws for each.

    Example:
        >>> few_effective(torch.tensor([0.5, 0.9]), 64)
        []
    """
    few = int((effective < FEW).sum())
    if not few:
        return []
    return [
        f"Less than a tenth of the draws carry the weight of {few} of {len(effective)} observations, down to "
        f"{float(effective.min()) * draws:.0f} draws: errors of evidence are too small, samples too much alike. Take "
        "more draws, or train longer."
    ]
