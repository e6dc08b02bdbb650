"""A grid that looked at the model errs less than one that did not, and shares the local error equally."""

import pytest
import torch

from physinv.equations.sde import Reverse
from physinv.equations.solve import solve
from physinv.equations.steps import exponential, heun
from physinv.equations.time_grids import linear, logarithmic
from physinv.laws.exact import MixturePosterior
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.reversal.learned_grid import learned
from physinv.reversal.transport import transport, transport2
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


class Exact(ScoreModel):
    """A Gaussian reference and the output that makes the score exact."""

    def output(self, x, t, features=None):
        unit = self.reference.lift(torch.ones_like(x), x, t)
        return (self.reference.sde.score(x, t) - self.reference.score(x, t)) / unit


@pytest.fixture(scope="module")
def narrow():
    """Two narrow Gaussians, soon forgotten: for most of the horizon the reference is right and nothing happens."""
    ou = OrnsteinUhlenbeck(dim=1, components=2, spread=1.0, width=0.1, noise=1.0, rate=1.0, horizon=4.0, steps=80)
    prior = ou.prior
    mean = prior.mean()
    power = (prior.weights[:, None] * (prior.covs[..., 0] + (prior.means - mean) ** 2)).sum(0)
    model = Exact(LinearReference(ou, mean, power), torch.nn.Identity(), (float(ou.times[1]), ou.horizon))
    x = ou.marginal(ou.horizon).sample(50, generator=torch.Generator().manual_seed(1))
    end = MixturePosterior(ou.prior, ou.rate, ou.noise, ou.horizon, flow_steps=800).flow(x)
    return ou, model, x, end


@pytest.mark.parametrize("step", [transport, transport2, heun], ids=["transport", "transport2", "heun"])
def test_learned_grid_beats_the_linear_one(narrow, step):
    ou, model, x, exact = narrow
    flow = Reverse(ou, model, eta=0.0)
    fine = logarithmic(ou.horizon, 30, 2e-3)
    states = solve(ou, ou.initial(200, generator=torch.Generator().manual_seed(0)).double(), fine, step=exponential)
    errors = {}
    for name, grid in {"linear": linear(4.0, 20), "learned": learned(flow, states, fine, 20, step=step)}.items():
        assert len(grid) == 21
        assert bool((grid.diff() > 0).all())
        assert (float(grid[0]), float(grid[-1])) == (0.0, 4.0)
        errors[name] = float((solve(flow, x, grid.flip(0), step=step)[:, -1] - exact).abs().mean())
    # measured: 8, 60 and 200 times
    assert errors["learned"] < errors["linear"] / 3


def test_learned_grid_shares_the_local_error_equally(narrow):
    """The promise itself, without smoothing: standard deviation of the log of the error made in each step."""
    ou, model, _, _ = narrow
    flow = Reverse(ou, model, eta=0.0)
    fine = logarithmic(ou.horizon, 60, 2e-3)
    start = ou.initial(200, generator=torch.Generator().manual_seed(0)).double()
    generator = torch.Generator().manual_seed(1)
    stored = solve(ou, start, fine, step=exponential, generator=generator)
    grid = learned(flow, stored, fine, 25, step=transport, smoothing=0.0)
    ratios = []
    for times in (grid, linear(4.0, 25)):
        states, local = solve(ou, start, times, step=exponential, generator=generator), []
        for i in range(1, len(times)):
            a, b = times[i], times[i - 1]
            coarse = solve(flow, states[:, i], torch.stack([a, b]), step=transport)[:, -1]
            finer = solve(flow, states[:, i], torch.linspace(float(a), float(b), 5).double(), step=transport)[:, -1]
            local.append((coarse - finer).square().mean().sqrt())
        ratios.append(float(torch.stack(local).log().std()))
    # the grid also weighs errors by sqrt(S_0/S), here 1 to 1.4; six seeds: .25 to .30 and 3.8
    assert ratios[0] < 0.5
    assert ratios[1] > 2


def test_what_makes_no_grid_is_refused(narrow):
    ou, model, _, _ = narrow
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    flow, states = Reverse(ou, model, 0.0), torch.zeros(3, 2, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="`step` must have a finite order"):
        learned(flow, states, t, 3, step=exponential)
    with pytest.raises(ValueError, match="`smoothing` must lie between 0 and 1"):
        learned(flow, states, t, 3, step=heun, smoothing=2.0)
    with pytest.raises(ValueError, match="one state for each of the 3 times, got 2"):
        learned(flow, states, linear(1.0, 2), 3, step=heun)
    with pytest.raises(ValueError, match="`steps` must be at least 1, got 0"):
        learned(flow, states, t, 0, step=heun)
