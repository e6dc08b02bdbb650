"""Orders of all reverse steps by a fitted slope, without sampling noise; exactness of the exponential steps."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.interpolate import CubicSpline

from physinv.equations.sde import Reverse
from physinv.equations.solve import euler, heun, solve, srk3
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.reversal.split import split
from physinv.reversal.transport import transport, transport2
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

STEPS = {"transport": transport, "transport2": transport2, "split": split, "euler": euler, "heun": heun, "srk3": srk3}
every_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)


class Exact(ScoreModel):
    """A Gaussian reference law with a perfect network: reference plus lifted output is the score of ``ou``."""

    def __init__(self, ou):
        prior, mean = ou.prior, ou.prior.mean()
        power = prior.covs.diagonal(dim1=-2, dim2=-1) + (prior.means - mean) ** 2
        reference = LinearReference(ou, mean, (prior.weights[:, None] * power).sum(0))
        super().__init__(reference, torch.nn.Identity(), (float(ou.times[1]), ou.horizon))
        self.ou, self.asked = ou, []

    def output(self, x, t, features=None):
        self.asked.append(float(t[0]))
        unit = self.reference.lift(torch.ones_like(x), x, t)  # diagonal in the standard basis
        return (self.ou.score(x, t) - self.reference.score(x, t)) / unit


def two_gaussians(dim):
    return OrnsteinUhlenbeck(dim=dim, components=2, spread=1.0, width=0.5, noise=0.6, horizon=1.0)


def fitted_slope(counts, errors):
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@pytest.fixture(scope="module")
def flowed():
    """A process, final states, and the initial states of its exact probability flow."""
    ou = two_gaussians(2)
    x = ou.marginal(ou.horizon).sample(50, generator=torch.Generator().manual_seed(0))
    return ou, x, ou.exact().flow(x)


@every_step
def test_order_of_the_flow_is_the_declared_one(step, flowed):
    ou, x, exact = flowed
    flow = Reverse(ou, Exact(ou), eta=0.0)
    counts = np.array([8, 16, 32])
    ends = [solve(flow, x, torch.linspace(1, 0, c + 1, dtype=torch.float64), step=step)[:, -1] for c in counts]
    errors = [float((end - exact).abs().mean()) for end in ends]
    # the slope of order p is p + O(h); measured: within .03 for all six
    assert fitted_slope(counts, errors) == pytest.approx(step.weak_order, abs=0.1)
    if step.weak_order >= 2:
        assert errors[-1] < 5e-5


def chain(step, reverse, count, half_width=5.0, points=251):
    """Moments ``x -> (E[x_0 | x_T = x], E[x_0^2 | x_T = x])`` after ``count`` steps in one dimension, without sampling.

    Backward through the chain u_m(x) = E u_{m+1}(step(x)) from u = (x, x^2): the noise by Gauss-Hermite quadrature,
    u between grid points by a cubic spline (error h^4 ~ 1e-6), which suffices for errors above 1e-5.
    """
    z, w = hermegauss(16 if step.draws == 1 else 8)
    w = w / w.sum()
    noise = np.stack([a.ravel() for a in np.meshgrid(*[z] * step.draws, indexing="ij")])
    mass = np.prod([a.ravel() for a in np.meshgrid(*[w] * step.draws, indexing="ij")], axis=0)
    grid = np.linspace(-half_width, half_width, points)
    start = torch.tensor(np.repeat(grid, mass.size))[:, None]
    dw = torch.tensor(np.tile(noise, (1, points)))[..., None]
    h, u = reverse.sde.horizon / count, np.stack([grid, grid**2], axis=1)
    for i in range(1, count + 1):  # the last step of the reversal is the first that u sees
        t1 = torch.full((len(start),), (i - 1) * h, dtype=torch.float64)
        end = step(reverse, start, torch.full_like(t1, i * h), t1, dw * math.sqrt(h))[:, 0].numpy()
        values = CubicSpline(grid, u)(np.clip(end, -half_width, half_width))
        u = (values.reshape(points, mass.size, 2) * mass[:, None]).sum(1)
    return CubicSpline(grid, u)


@every_step
def test_weak_order_of_the_posterior_is_the_declared_one(step):
    ou = two_gaussians(1)
    final = torch.tensor([[-0.8], [0.0], [0.5], [1.0]], dtype=torch.float64)
    law = ou.exact().posterior(final)
    mean = law.mean()[:, 0].numpy()
    variance = (law.weights * (law.covs[..., 0, 0] + law.means[..., 0] ** 2)).sum(-1).numpy() - mean**2
    counts = np.array([4, 8, 16]) if step is srk3 else np.array([8, 16, 32])
    ends = [chain(step, Reverse(ou, Exact(ou)), count)(final[:, 0].numpy()) for count in counts]
    means = [np.abs(end[:, 0] - mean).max() for end in ends]
    variances = [np.abs(end[:, 1] - end[:, 0] ** 2 - variance).max() for end in ends]
    # p + O(h), further off than the flow's; measured: .93 1.86 .94 1.02 1.89 2.87 and .98 2.01 .99 .98 1.69 2.88
    assert fitted_slope(counts, means) == pytest.approx(step.weak_order, abs=0.2 * step.weak_order)
    assert fitted_slope(counts, variances) == pytest.approx(step.weak_order, abs=0.2 * step.weak_order)


@pytest.mark.parametrize("eta", [0.5, 1.5])
def test_transport2_is_of_second_order_for_every_eta(eta):
    """For every eta, x_T ~ p_T must arrive at x_0 ~ p_0 (E x_0^2 is tested); only eta = 1 draws from the posterior."""
    ou = two_gaussians(1)
    z, w = hermegauss(40)
    w = w / w.sum()
    counts, errors = np.array([8, 16, 32]), []
    for count in counts:
        u = chain(transport2, Reverse(ou, Exact(ou), eta), count)
        law = ou.marginal(ou.horizon)
        nodes = law.means[:, 0, None].numpy() + law.covs[:, 0, 0, None].sqrt().numpy() * z
        got = (law.weights.numpy()[:, None, None] * u(nodes) * w[None, :, None]).sum((0, 1))
        want = float((ou.prior.weights * (ou.prior.covs[:, 0, 0] + ou.prior.means[:, 0] ** 2)).sum())
        errors.append(abs(got[1] - want))
    # the outer mean by quadrature too, so p + O(h) as above; measured: 1.98 and 2.01
    assert fitted_slope(counts, errors) == pytest.approx(2, abs=0.2)


class Bent(ScoreModel):
    """A network whose output is a smooth nonlinear function of state and time, for any process."""

    def output(self, x, t, features=None):
        return (3 * x + t.reshape(-1, *[1] * (x.ndim - 1))).sin()


def bent(sde, mean0, power0):
    reference = LinearReference(sde, mean0, power0)
    return Bent(reference, torch.nn.Identity(), (float(sde.times[1]), sde.horizon))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_without_a_network_both_are_the_same_exact_step(eta, generator):
    """``transport`` alone is compared with the exact linear-Gaussian posterior in test_split.py."""
    heat = Heat(size=8)
    exact = heat.exact()
    model = bent(heat, exact.mean0, exact.power)
    model.output = lambda x, t, features=None: torch.zeros_like(x)
    final = heat.simulate(5, generator=generator, dtype=torch.float64)[:, -1]
    times = torch.tensor([heat.horizon, 0.03, 0.0], dtype=torch.float64)
    ends = [
        solve(Reverse(heat, model, eta), final, times, step=s, generator=torch.Generator().manual_seed(1))
        for s in (transport, transport2)
    ]
    assert torch.allclose(*ends, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_stiff_fields_in_float32_agree_with_float64(eta):
    """k^2 T reaches 100: gains of e^-100 underflow in float32, and the correction of such modes must vanish."""
    heat = Heat()
    exact = heat.exact()
    final = heat.simulate(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[:, -1]
    ends = []
    for dtype in (torch.float64, torch.float32):
        model = bent(heat, exact.mean0.to(dtype), exact.power.to(dtype))
        times = torch.linspace(heat.horizon, 0, 9, dtype=torch.float64)
        ends.append(solve(Reverse(heat, model, eta), final.to(dtype), times, step=transport2, noise=False)[:, -1])
    # eight steps of rounding at 6e-8, amplified by sqrt(S_0/S) <= 60 in the modes that still hold information
    assert float((ends[0] - ends[1]).norm() / ends[0].norm()) < 8 * 60 * 6e-8


def test_the_network_is_never_asked_at_zero_and_once_in_the_last_step():
    ou = two_gaussians(1)
    model, times = Exact(ou), torch.linspace(1, 0, 6, dtype=torch.float64)
    solve(Reverse(ou, model, 0.0), torch.ones(1, 1, dtype=torch.float64), times, step=transport2)
    assert model.asked == pytest.approx([1.0, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2])


def test_a_batch_may_hold_steps_that_end_at_zero_and_others():
    heat = Heat(size=8)
    exact = heat.exact()
    reverse = Reverse(heat, bent(heat, exact.mean0, exact.power), 1.0)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t0, t1, dw = torch.tensor([0.1, 0.2]).double(), torch.tensor([0.0, 0.1]).double(), 0.3 * x.flip(0)[None]
    together = transport2(reverse, x, t0, t1, dw)
    apart = [transport2(reverse, x[i : i + 1], t0[i : i + 1], t1[i : i + 1], dw[:, i : i + 1]) for i in range(2)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-12)


def test_only_linear_processes_with_a_gaussian_reference_are_taken():
    ou = two_gaussians(1)
    with pytest.raises(ValueError, match="needs Reverse"):
        Posterior(ou, ou.score, ou.times, step=transport2).flow(torch.zeros(1, 1))
