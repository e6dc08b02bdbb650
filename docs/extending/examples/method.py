"""Analogues: the initial states of the training trajectories that ended nearest to the observation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from physinv.methods import loaded_by


@dataclass(frozen=True)
class Analogues:
    """The training pairs, and how many neighbours of an observation count."""

    initial: Tensor
    final: Tensor
    neighbours: int

    def _nearest(self, final):
        """Initial states of the nearest neighbours, ``(batch, neighbours, *state)``."""
        distance = torch.cdist(final.flatten(1), self.final.flatten(1))
        return self.initial[distance.topk(min(self.neighbours, len(self.final)), largest=False).indices]

    def sample(self, final, n, *, generator=None):
        """Return ``n`` of the neighbours for each observation, drawn with replacement: ``(batch, n, *state)``."""
        near = self._nearest(final)
        pick = torch.randint(near.shape[1], (len(final), n), generator=generator, device=final.device)
        return near[torch.arange(len(final), device=final.device)[:, None], pick]

    def mean(self, final):
        """Return the mean of the neighbours, ``(batch, *state)``."""
        return self._nearest(final).mean(1)

    def tensors(self):
        """Return the training pairs."""
        return {"initial": self.initial, "final": self.final}


def load_analogues(setup, tensors, *, neighbours: int = 32):
    """Make the answer of a run again."""
    return Analogues(tensors["initial"], tensors["final"], neighbours)


@loaded_by(load_analogues, trains=False)
def fit_analogues(problem, *, neighbours: int = 32):
    """Keep the ends of the training trajectories (Lorenz 1969): nothing is fitted."""
    return Analogues(problem.train.states(0), problem.train.states(-1), neighbours)
