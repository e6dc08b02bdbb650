"""Step grids: known densities give known grids, and a grid that looked at the model errs less than one that did not."""

import math

import pytest
import torch

from physinv.equations.sde import Reverse
from physinv.equations.solve import exponential, heun, solve
from physinv.equations.time_grids import equidistributed, learned, linear, logarithmic, resample_times
from physinv.laws.exact import MixturePosterior
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.reversal.transport import transport, transport2
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_linear_and_resampled_grids_run_from_start_to_end(steps):
    grid = linear(0.3, steps)
    assert grid.dtype == torch.float64
    assert torch.allclose(grid, torch.arange(steps + 1).double() * 0.3 / steps, atol=1e-15)
    assert torch.allclose(resample_times(linear(0.3, 5), steps), grid, atol=1e-15)
    uneven = torch.tensor([0.0, 0.1, 1.0], dtype=torch.float64)
    assert torch.allclose(resample_times(uneven, 4), torch.tensor([0.0, 0.05, 0.1, 0.55, 1.0]).double(), atol=1e-7)


def test_logarithmic_grid_is_geometric_after_its_first_step():
    grid = logarithmic(8.0, 4, 1.0)
    assert torch.allclose(grid, torch.tensor([0.0, 1.0, 2.0, 4.0, 8.0], dtype=torch.float64), atol=1e-14)
    assert float(logarithmic(0.2, 33, 1e-3)[1]) == 1e-3
    assert float(logarithmic(0.2, 33, 1e-3)[-1]) == 0.2


def test_known_densities_reproduce_known_grids():
    """int_0^t 1/(2 sqrt t) = sqrt(t): squares of a linear grid.  1/t: a geometric grid.  Constant, or none: linear."""
    fine = torch.linspace(0.01, 1, 4001, dtype=torch.float64)
    squares = equidistributed(fine, 1 / (2 * fine.sqrt()), 9)
    # trapezoidal rule on 4000 intervals: relative error h^2 w''/(12 w) <= 2.5e-4^2 * .75e4 / 12 = 4e-5
    assert torch.allclose(squares, torch.linspace(0.1, 1, 10, dtype=torch.float64) ** 2, atol=1e-4)
    geometric = equidistributed(fine, 1 / fine, 4)
    assert torch.allclose(geometric, 0.01 ** (1 - torch.arange(5).double() / 4), atol=2e-4)
    for flat in (torch.full_like(fine, 3.0), torch.zeros_like(fine)):
        assert torch.allclose(equidistributed(fine, flat, 3), torch.linspace(0.01, 1, 4).double(), atol=1e-7)


def test_steps_jump_over_times_at_which_nothing_happens():
    t = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    grid = equidistributed(t, torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0]).double(), 4)  # shares 1, 1/2, 0, 1/2
    assert torch.allclose(grid, torch.tensor([0.0, 0.5, 1.0, 3.0, 4.0], dtype=torch.float64))
    assert bool((grid.diff() > 0).all())


class Exact(ScoreModel):
    """A Gaussian reference and the output that makes the score exact."""

    def output(self, x, t):
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
    start = ou.initial(50, generator=torch.Generator().manual_seed(0)).double()
    grid = learned(flow, solve(ou, start, fine, step=exponential), fine, 25, step=transport, smoothing=0.0)
    ratios = []
    for times in (grid, linear(4.0, 25)):
        states, local = solve(ou, start, times, step=exponential), []
        for i in range(1, len(times)):
            a, b = times[i], times[i - 1]
            coarse = solve(flow, states[:, i], torch.stack([a, b]), step=transport)[:, -1]
            finer = solve(flow, states[:, i], torch.linspace(float(a), float(b), 5).double(), step=transport)[:, -1]
            local.append((coarse - finer).square().mean().sqrt())
        ratios.append(float(torch.stack(local).log().std()))
    # the grid also weighs errors by sqrt(S_0/S), here 1 to 1.4; measured: .36 and 3.8
    assert ratios[0] < 0.5
    assert ratios[1] > 2


def test_what_makes_no_grid_is_refused(narrow):
    ou, model, _, _ = narrow
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="`steps` must be at least 1, got 0"):
        linear(1.0, 0)
    with pytest.raises(ValueError, match="`horizon` must be positive"):
        linear(0.0, 3)
    with pytest.raises(ValueError, match="`steps` must be at least 2"):
        logarithmic(1.0, 1, 0.1)
    with pytest.raises(ValueError, match="`first` must lie between 0 and the horizon 1, got 2"):
        logarithmic(1.0, 5, 2.0)
    with pytest.raises(ValueError, match="strictly increasing"):
        equidistributed(t.flip(0), t, 3)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="`speed` must be finite and nowhere negative"):
            equidistributed(t, torch.tensor([1.0, bad], dtype=torch.float64), 3)
    flow, states = Reverse(ou, model, 0.0), torch.zeros(3, 2, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="`step` must have a finite order"):
        learned(flow, states, t, 3, step=exponential)
    with pytest.raises(ValueError, match="`smoothing` must lie between 0 and 1"):
        learned(flow, states, t, 3, step=heun, smoothing=2.0)
    with pytest.raises(ValueError, match="one state for each of the 3 times, got 2"):
        learned(flow, states, linear(1.0, 2), 3, step=heun)
