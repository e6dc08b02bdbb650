"""The trajectory loss is minimised by the true score: its gradient vanishes there, the factor of two is pinned."""

import math

import pytest
import torch

from physinv.equations.sde import Reverse
from physinv.equations.solve import euler
from physinv.reversal.split import split
from physinv.reversal.transport import transport
from physinv.training.objectives.base import Batch
from physinv.training.objectives.trajectory import trajectory_loss
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def windows(ou, n, window, start, generator):
    """``n`` windows that begin at stored time ``start``."""
    x = ou.simulate(n, generator=generator, dtype=torch.float64)
    part = slice(start, start + window)
    return Batch(x[:, part], ou.times[part].expand(n, window))


def best_scale(ou, batch, **options):
    """The factor c for which c * (true score) minimises the loss: a parabola through three values (it is quadratic)."""
    cs = (0.0, 1.0, 2.0)
    a, b, c = (float(trajectory_loss(lambda x, t, c=c: c * ou.score_at(x, t), ou, batch, **options)) for c in cs)
    return (3 * a - 4 * b + c) / (2 * (a - 2 * b + c))


@pytest.fixture
def ou():
    """A single Gaussian: its score is linear, and the loss along c * score is an exact parabola for window 2."""

    class Known(OrnsteinUhlenbeck):
        def score_at(self, x, t):
            decay = torch.exp(-2 * self.rate * t)[:, None]
            return -x / (self.width**2 * decay + self.noise**2 * (1 - decay) / (2 * self.rate))

    return Known(dim=1, rate=0.5, noise=0.5, components=1, spread=0.0, width=1.0, horizon=1.0, steps=100)


def test_one_step_loss_is_minimised_by_the_score(ou, generator):
    n = 200_000
    batch = windows(ou, n, 2, 3, generator)
    # c has the standard error 1 / (sqrt(n) |s| g sqrt(dt)), |s| g sqrt(dt) = .05; five of them, and O(dt) of Euler
    error = 5 / (math.sqrt(n) * 0.05)
    assert best_scale(ou, batch, step=split) == pytest.approx(1.0, abs=error)
    assert best_scale(ou, batch) == best_scale(ou, batch, step=split)  # what samples of a plain score are drawn with
    assert best_scale(ou, batch, step=euler) == pytest.approx(1.0, abs=error + 0.03)


def test_bidirectional_loss_has_the_same_minimiser(ou, generator):
    """Backward alone wants the correction g^2 s, both ways g^2 s / 2; the network returns s in both cases."""
    batch = windows(ou, 200_000, 2, 3, generator)
    error = 5 / (math.sqrt(200_000) * 0.05)
    assert best_scale(ou, batch, bidirectional=True) == pytest.approx(1.0, abs=error + 0.03)


def test_multi_step_loss_is_minimised_by_the_score(ou, generator):
    """The tower property: for a linear process every window has the minimiser of the 1-step loss."""
    batch = windows(ou, 100_000, 6, 3, generator)
    score = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    loss = trajectory_loss(lambda x, t: score * ou.score_at(x, t), ou, batch, step=split)
    (slope,) = torch.autograd.grad(loss, score)
    loss = loss.detach()
    other = trajectory_loss(lambda x, t: 1.2 * ou.score_at(x, t), ou, batch, step=split)
    curvature = float(other - loss) - 0.2 * float(slope)
    # Newton step to the minimum, curvature / .2^2 * 2 = second derivative
    assert float(slope) / (2 * curvature / 0.04) == pytest.approx(0.0, abs=5 / (math.sqrt(100_000 * 5) * 0.05))


def test_loss_at_the_true_score_is_the_noise_that_remains(ou, generator):
    """Unit-variance targets: Var(x_m | x_{m+1}) over g^2 dt is 1 - O(dt)."""
    batch = windows(ou, 100_000, 2, 50, generator)
    value = float(trajectory_loss(ou.score_at, ou, batch, step=split))
    decay = math.exp(-2 * ou.rate * 0.01)
    q = ou.noise**2 * (1 - decay) / (2 * ou.rate)
    law = float(ou.marginal(0.51).covs[0, 0, 0])
    assert value == pytest.approx(1 - q / law, abs=5 * math.sqrt(2 / 100_000))


def test_components_without_noise_do_not_count(generator):
    ou = OrnsteinUhlenbeck(dim=2)

    class HalfNoisy(OrnsteinUhlenbeck):
        def diffusion(self, t):
            return torch.stack([torch.full_like(t, self.noise), torch.zeros_like(t)], dim=1)

    from physinv.equations.sde import SDE

    half = HalfNoisy(dim=2)
    gap, t0, t1 = torch.ones(3, 2), torch.zeros(3), torch.ones(3)
    white = SDE.whiten(half, gap, t0, t1)
    assert torch.equal(white[:, 1], torch.zeros(3))
    assert torch.allclose(white[:, 0], torch.full((3,), 1 / ou.noise))
    assert float(Reverse(half, lambda x, t: 1e6 * x).drift(gap, t0)[0, 1]) == pytest.approx(-ou.rate)


def test_transport_serves_the_loss_too(generator):
    from physinv.models.references.linear import LinearReference
    from physinv.models.score import ScoreModel

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.c = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x, t):
            return self.c * x[:, :1]

    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0)
    reference = LinearReference(ou, torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    model = ScoreModel(reference, Scaled(), (float(ou.times[1]), ou.horizon))
    batch = windows(ou, 50_000, 4, 10, generator)
    loss = trajectory_loss(model, ou, batch, step=transport)
    (slope,) = torch.autograd.grad(loss, model.network.c)
    # the Gaussian reference is the truth: nothing is left to learn, the slope is statistical noise
    assert abs(float(slope)) < 5 * 2 / math.sqrt(50_000)


def test_short_windows_are_refused(ou):
    with pytest.raises(ValueError, match="windows of 2 or more states, got 1"):
        trajectory_loss(ou.score, ou, Batch(torch.zeros(3, 1, 1), torch.zeros(3, 1)))
