"""What costs nothing and should be beaten: climatology, persistence, and the linear estimate.

climatology    initial states of the training data, whatever was observed; of recordings, around the mean of the season
persistence    x_0 = x_T: a single estimate
linear         the best linear estimate of x_0 from x_T with the spread of its errors, normal and independent
"""

from __future__ import annotations

__all__ = ["Baseline", "baselines"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.models.context_means import ContextMeans
from physinv.posterior.reconstruction import Reconstruction

_FEWEST = 8  # initial states from which on there is a climatology


@dataclass(frozen=True)
class Baseline:
    """An answer that costs nothing.

    Args:
        name: Its name, as in tables.
        samples: Its samples, as many as the reconstruction has, 2 at least.
        spread: Whether they have a spread, so that coverage means anything.
    """

    name: str
    samples: Float[Tensor, "n k *state"]
    spread: bool


def baselines(recon: Reconstruction, *, seed: int = 0) -> list[Baseline]:
    """Return the baselines of a reconstruction that its file has what it takes for.

    Args:
        recon: The reconstruction.
        seed: Seed of the draws of climatology and of the errors of the linear estimate.

    Returns:
        Climatology, persistence and linear estimate, as far as they are known; static channels are those observed.
    """
    layout, final = recon.simulator.layout, recon.observation
    n, k = recon.samples.shape[0], max(2, recon.samples.shape[1])
    generator = seeds(seed).child("evaluation", "baselines").generator()
    every = final[:, None].expand(n, k, *final.shape[1:])
    found = []
    if recon.climatology is not None and len(recon.climatology) >= _FEWEST:
        known, pick = recon.climatology, torch.randint(len(recon.climatology), (n, k), generator=generator)
        drawn = known[pick]
        means = None if recon.simulator.startable else ContextMeans.fit(layout, known, known)
        if means is not None:  # summer is no surprise in summer
            drawn = drawn - means.shifts(known)[0][pick] + means.shifts(final)[0][:, None]
        found.append(Baseline("climatology", layout.set_moving(layout.moving(drawn), every), True))
    if recon.seen is not None:  # the displayed states are estimates themselves
        return found
    found.append(Baseline("persistence", every, False))
    if recon.linear is not None and recon.linear_deviation is not None:
        z = torch.randn((n, k, *final.shape[1:]), generator=generator)
        drawn = recon.linear[:, None] + recon.linear_deviation * z
        found.append(Baseline("linear", layout.set_moving(layout.moving(drawn), every), True))
    return found
