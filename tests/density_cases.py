"""Score models of vector processes around the mixture of some trajectories, without training."""

import torch

from physinv.models.references.mixture import MixtureReference
from physinv.models.score import ScoreModel


class Uneven(torch.nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x, t):
        return 0.2 * torch.cos(x[:, :1]).expand(-1, self.outputs)


def around_mixture(process):
    """A score model of vectors around the mixture of two halves of some trajectories."""
    x = process.simulate(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    halves = [x[x[:, 0, 0] > 0], x[x[:, 0, 0] <= 0]]
    means = torch.stack([h.mean(0) for h in halves], 1)
    covs = torch.stack(
        [torch.stack([h[:, i].T.cov().reshape(2 * [x.shape[2]]) for h in halves]) for i in range(x.shape[1])]
    )
    bounds = torch.stack([x.amin(0), x.amax(0)], 1)
    weights = torch.tensor([len(h) / len(x) for h in halves], dtype=torch.float64)
    reference = MixtureReference(process, process.times, weights, means, torch.linalg.cholesky(covs), bounds)
    return ScoreModel(reference, Uneven(2 * process.shape[0]), (float(process.times[1]), process.horizon))
