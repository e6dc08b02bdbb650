"""Log densities of steps: against the law of the states that the same step reaches, found without the density."""

import math

import numpy as np
import pytest
import torch
from density_cases import around_mixture
from numpy.polynomial.hermite_e import hermegauss

from physinv.equations.sde import SDE, Reverse
from physinv.equations.steps import euler, exponential, heun, milstein, srk3
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.reversal.smoother import smooth
from physinv.reversal.split import split
from physinv.reversal.transport import transport, transport2
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_walls import HeatWalls
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.geometric_brownian_motion import GeometricBrownianMotion
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


class Bent(torch.nn.Module):
    """A network that is no linear function of what it sees."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x, t):
        return 0.3 * torch.sin(2 * x[:, : self.channels])


def around_linear(sde, start):
    """A score model around a Gaussian with the spectrum of given initial states."""
    power = sde.modes(start - start.mean(0)).abs().square().mean(0)
    reference = LinearReference(sde, start.mean(0), power)
    return ScoreModel(reference, Bent(start.shape[1]), (float(sde.times[1]), sde.horizon))


def gaussian_cases():
    ou, heat = OrnsteinUhlenbeck(dim=3), Heat(size=4, noise=0.4)
    walls = HeatWalls(size=4)
    price = GeometricBrownianMotion().price
    start = {
        p: p.initial(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64) for p in (ou, heat, walls)
    }
    score = {p: around_linear(p, start[p]) for p in start}

    def steep(x, t):
        return -x * (1 + x.square()) / (1 + t.reshape(-1, *[1] * (x.ndim - 1)))

    return {
        "euler": (euler, ou, start[ou], 0.3, 0.5),
        "euler of a reversal": (euler, Reverse(ou, ou.score), start[ou], 0.5, 0.3),
        "euler of a weaker reversal": (euler, Reverse(heat, steep, eta=0.6), start[heat], 0.5, 0.3),
        "euler, noise with the state": (euler, price, start[ou][:, :1].exp(), 0.3, 0.5),
        "exponential": (exponential, ou, start[ou], 0.3, 0.9),
        "exponential of a field": (exponential, heat, start[heat], 0.1, 0.2),
        "exponential of a field with walls": (exponential, walls, start[walls], 0.1, 0.2),
        "split": (split, Reverse(ou, steep), start[ou], 0.5, 0.3),
        "split of a field": (split, Reverse(heat, steep), start[heat], 0.15, 0.14),
        "split around a mixture": (split, Reverse(ou, around_mixture(ou)), start[ou], 0.5, 0.3),
        "transport": (transport, Reverse(ou, score[ou]), start[ou], 0.5, 0.3),
        "transport of a field": (transport, Reverse(heat, score[heat]), start[heat], 0.15, 0.1),
        "transport with less noise": (transport, Reverse(heat, score[heat], eta=0.5), start[heat], 0.15, 0.1),
        "transport of a field with walls": (transport, Reverse(walls, score[walls]), start[walls], 0.15, 0.1),
    }


CASES = gaussian_cases()


@pytest.mark.parametrize("name", CASES)
def test_a_step_with_gaussian_noise_has_the_density_of_its_gaussian(name):
    """Mean and covariance from the step itself: without noise, and with noise in one component after the other."""
    step, sde, x, a, b = CASES[name]
    x = x[:1]
    d = x.numel()
    many, root = x.expand(d, *x.shape[1:]), abs(b - a) ** 0.5
    t0, t1 = (x.new_full((d,), t) for t in (a, b))
    unit = torch.eye(d, dtype=x.dtype).reshape(1, d, *x.shape[1:])
    still = step(sde, many, t0, t1, 0 * unit)
    columns = (step(sde, many, t0, t1, root * unit) - still).flatten(1)
    mean, covariance = still[0].flatten(), columns.T @ columns

    reached = step(
        sde, many, t0, t1, root * torch.randn(unit.shape, generator=torch.Generator().manual_seed(2)).double()
    )
    rank = int(torch.linalg.matrix_rank(covariance, hermitian=True))
    values, vectors = torch.linalg.eigh(covariance)
    z = ((reached.flatten(1) - mean) @ vectors)[:, d - rank :]
    values = values[d - rank :]
    expected = -(z.square() / values + values.log() + math.log(2 * math.pi)).sum(1) / 2
    found = step.log_density(sde, many, t0, t1, reached)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_step_through_nonlinear_physics_has_the_density_of_its_draws():
    """One dimension: the density integrates to 1, and has the moments of the step over its noise, by quadrature."""
    well = DoubleWell(steps=10)
    reverse = Reverse(well, around_mixture(well))
    x, h = torch.tensor([[0.4]], dtype=torch.float64), 0.05
    z, w = hermegauss(40)
    nodes = torch.from_numpy(z)[:, None]
    t0, t1 = (torch.full((len(nodes),), t, dtype=torch.float64) for t in (0.3, 0.3 - h))
    y = split(reverse, x.expand(len(nodes), 1), t0, t1, h**0.5 * nodes[None])[:, 0].numpy()
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)[:, None]
    t0, t1 = (torch.full((len(grid),), t, dtype=torch.float64) for t in (0.3, 0.3 - h))
    p = split.log_density(reverse, x.expand(len(grid), 1), t0, t1, grid).exp().numpy()
    place = grid[:, 0].numpy()
    for power in range(4):
        expected = float((w * y**power).sum() / w.sum())
        assert np.trapezoid(p * place**power, place) == pytest.approx(expected, abs=1e-5)


def test_draws_on_and_beyond_the_limits_have_no_density():
    well = DoubleWell(steps=10)
    model = around_mixture(well)
    reverse, t = Reverse(well, model), torch.full((3,), 0.3, dtype=torch.float64)
    low, high = model.reference.limits(t - 0.05)
    ends = torch.stack([low[0], high[0] + 1, (low + high)[0] / 2])
    found = split.log_density(reverse, torch.zeros(3, 1).double(), t, t - 0.05, ends)
    assert (found == -math.inf).tolist() == [True, True, False]


class Kicked(SDE):
    """Position and momentum, with noise on the momentum only."""

    def drift(self, x, t):
        return torch.stack([x[:, 1], -x[:, 0]], 1)

    def diffusion(self, t):
        return torch.tensor([[0.0, 1.0]]).to(t).expand(len(t), 2)


class Obstacle(Kicked):
    """A static number beside one that moves."""

    def drift(self, x, t):
        return torch.stack([0 * x[:, 0], -x[:, 1]], 1)


def refused(step, sde, x=None):
    x = torch.ones(3, 2) if x is None else x
    t = torch.full((len(x),), 0.5)
    return step.log_density(sde, x, t, t - 0.1 if isinstance(sde, Reverse) else t + 0.1, x)


def test_what_has_no_density_says_so_in_one_line():
    ou = OrnsteinUhlenbeck(dim=2)
    for step, name in (
        (heun, "heun"),
        (srk3, "srk3"),
        (milstein, "milstein"),
        (transport2, "transport2"),
        (smooth, "smooth"),
    ):
        with pytest.raises(ValueError, match=f"^step `{name}` has no log density that is known; take euler"):
            refused(step, Reverse(ou, ou.score))
    with pytest.raises(ValueError, match=r"^`eta` = 0 is deterministic"):
        refused(euler, Reverse(ou, ou.score, eta=0.0))
    with pytest.raises(ValueError, match="components without noise move, here 50% of them"):
        refused(euler, Kicked())
    with pytest.raises(ValueError, match="components without noise move"):
        refused(euler, Reverse(Kicked(), lambda x, t: -x))
    for step in (euler, exponential):
        with pytest.raises(ValueError, match="noise"):
            refused(step, OrnsteinUhlenbeck(dim=2, noise=0.0))
    with pytest.raises(ValueError, match="that of Burgers mixes them"):
        refused(euler, Burgers(size=8, noise=0.1), torch.rand(3, 1, 8))
    with pytest.raises(ValueError, match="`exponential` solves Linear SDEs only"):
        refused(exponential, Kicked())


def test_what_stands_still_without_noise_is_left_out():
    x, y = torch.tensor([[2.0, 1.0]]), torch.tensor([[2.0, 0.7]])
    t = torch.zeros(1)
    found = euler.log_density(Obstacle(), x, t, t + 0.1, y)
    expected = torch.distributions.Normal(0.9, 0.1**0.5).log_prob(torch.tensor([0.7]))
    torch.testing.assert_close(found.float(), expected)
    with pytest.raises(ValueError, match="components without noise"):
        euler.log_density(Obstacle(), x, t, t + 0.1, y + 0.1)
