"""Denoising: what its weights count changes, the minimiser does not."""

import pytest
import torch

from physinv.training.objectives.base import Batch
from physinv.training.objectives.denoising import denoising_loss
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.mark.parametrize("floor", [0.0, 0.03, 1.0])
def test_denoising_is_minimised_by_the_score_for_every_floor(floor, generator):
    """Weights change what counts, not the minimum: a parabola along c * score, one Gaussian, 4e5 starts."""
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=20)
    n = 400_000
    states = torch.zeros(n, 21, 1, dtype=torch.float64)
    states[:, 0] = torch.randn(n, 1, generator=generator, dtype=torch.float64)

    def score(x, t):
        decay = torch.exp(-2 * ou.rate * t)[:, None]
        return -x / (decay + ou.noise**2 * (1 - decay) / (2 * ou.rate))

    def value(c):
        batch = Batch(states, ou.times.expand(n, -1), generator=torch.Generator().manual_seed(1))
        return float(denoising_loss(lambda x, t: c * score(x, t), ou, batch, floor=floor))

    a, b, c = (value(f) for f in (0.0, 1.0, 2.0))
    curvature = (a - 2 * b + c) / 2
    # the slope at 1 is a mean over n of 2 w^2 sqrt(v) s (sqrt(v) s + xi), whose size is at most 2 sqrt(curvature)
    assert (3 * a - 4 * b + c) / (4 * curvature) == pytest.approx(1.0, abs=5 / (n * curvature) ** 0.5)


def test_physics_without_a_known_kernel_is_refused():
    with pytest.raises(ValueError, match=r"`sde` must be Linear .* got DoubleWell; take trajectory_loss"):
        denoising_loss(lambda x, t: -x, DoubleWell(), Batch(torch.zeros(3, 2, 1), torch.zeros(3, 2)))
