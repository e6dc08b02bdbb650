"""A Gaussian with independent components at every stored time: the simplest reference law there is."""

import math

import torch

from physinv.models.references.base import ReferenceLaw
from physinv.models.references.tables import between


class DiagonalLaw(ReferenceLaw):
    """``q_t = N(mean_t, diag(deviation_t^2))`` of vectors, interpolated between the stored times."""

    name = "diagonal"

    def __init__(self, sde, times, mean, deviation):
        super().__init__()
        self.channels_in = self.channels_out = mean.shape[1]
        for table, tensor in {"times": times, "mean": mean, "deviation": deviation}.items():
            self.register_buffer(table, tensor)

    @classmethod
    def suits(cls, sde, layout):
        return len(layout.shape) == 1

    @classmethod
    def fit(cls, sde, data, settings, *, seed=0):
        x = torch.stack([data.states(i) for i in range(len(data.times))])
        return cls(sde, data.times.float(), x.mean(1), x.std(1).clamp(min=1e-6))

    def score(self, x, t):
        return -self.features(x, t) / between(self.times, self.deviation, t)

    def log_prob(self, x, t):
        deviation = between(self.times, self.deviation, t)
        return -(self.features(x, t) ** 2 / 2 + (math.sqrt(2 * math.pi) * deviation).log()).sum(1)

    def features(self, x, t):  # inputs of the network, of order one
        return (x - between(self.times, self.mean, t)) / between(self.times, self.deviation, t)

    def lift(self, out, x, t):  # the network's output, of order one, in units of the score
        return out / between(self.times, self.deviation, t)

    def precision(self, x, t):  # curvature, which the reverse step `split` treats implicitly
        return between(self.times, self.deviation, t) ** -2

    def limits(self, t):  # where reversed states have to stay
        mean, reach = between(self.times, self.mean, t), 5 * between(self.times, self.deviation, t)
        return mean - reach, mean + reach
