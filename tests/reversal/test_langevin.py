"""Langevin moves: Gaussians are invariant at any size, other laws in the limit; and solver steps corrected by moves."""

import math

import pytest
import torch

from physinv.equations.sde import Reverse
from physinv.equations.solve import Step, euler, solve
from physinv.laws.covariance import Covariance, isotropic
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.linear import LinearReference
from physinv.models.references.low_rank import LowRankReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.score import ScoreModel
from physinv.reversal.langevin import corrected, langevin
from physinv.reversal.split import split
from physinv.reversal.transport import transport
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64


class Nothing(torch.nn.Module):
    """A network whose output is 0."""

    def forward(self, x, t):
        return torch.zeros_like(x[:, : x.shape[1] // 2])


def heat_model(heat):
    exact = heat.exact()
    return ScoreModel(LinearReference(heat, exact.mean0, exact.power), Nothing(), (float(heat.times[1]), heat.horizon))


def correlated(generator, d=3):
    B = torch.randn(d, d, dtype=F64, generator=generator) + 2 * torch.eye(d, dtype=F64)
    m = torch.randn(d, dtype=F64, generator=generator)
    return m, B, Covariance(lambda v: v @ (B @ B.T), lambda z: z @ B.T)


@pytest.mark.parametrize("size", [0.1, 0.5, 1.0])
def test_a_gaussian_is_exactly_invariant_at_any_size(size, generator):
    """The moments stay, and the start is forgotten at the rate (1 - e) per move in every direction."""
    m, B, C = correlated(generator)
    inverse = torch.linalg.inv(B @ B.T)
    n, sweeps = 40_000, 3
    z = torch.randn(n, 3, dtype=F64, generator=generator)
    x = langevin(
        lambda x, t: -(x - m) @ inverse, m + z @ B.T, torch.zeros(n), C, size=size, sweeps=sweeps, generator=generator
    )
    white = torch.linalg.solve(B, (x - m).T).T
    # standard errors of means 1/sqrt(n), variances sqrt(2/n), covariances <= sqrt(2/n); five of them
    assert torch.allclose(white.mean(0), torch.zeros(3, dtype=F64), atol=5 / math.sqrt(n))
    assert torch.allclose(white.T @ white / n, torch.eye(3, dtype=F64), atol=5 * math.sqrt(2 / n))
    memory = (1 - size) ** sweeps * torch.eye(3, dtype=F64)
    assert torch.allclose(white.T @ z / n, memory, atol=5 * math.sqrt(2 / n))


def test_a_wrong_start_converges_to_the_law(generator):
    n, size, sweeps = 40_000, 0.2, 6
    x = torch.full((n, 1), 5.0, dtype=F64)
    x = langevin(lambda x, t: -x / 4, x, torch.zeros(n), isotropic(4.0), size=size, sweeps=sweeps, generator=generator)
    left = (1 - size) ** sweeps
    want = 4 * (1 - left**2)
    assert float(x.mean()) == pytest.approx(5 * left, abs=5 * math.sqrt(want / n))
    assert float(x.var()) == pytest.approx(want, rel=5 * math.sqrt(2 / n))


def test_a_mixture_is_invariant_as_the_size_goes_to_zero(generator):
    """Two modes, with C the variance of one component; the bias of order e is below one standard error at e = .02."""
    ou = OrnsteinUhlenbeck(dim=1, components=2, spread=1.0, width=0.5)
    law, n = ou.marginal(0.3), 20_000
    x, t = law.sample(n, generator=generator), torch.full((n,), 0.3, dtype=F64)
    C = isotropic(float(law.covs[0, 0, 0]))
    moved = langevin(ou.score, x, t, C, size=0.02, sweeps=80, generator=generator)
    for moment in (1, 2, 3):
        error = float(x.pow(moment).std()) / math.sqrt(n)
        fresh = law.sample(400_000, generator=generator).pow(moment).mean()
        assert float(moved.pow(moment).mean()) == pytest.approx(float(fresh), abs=5 * error)
    assert float(torch.corrcoef(torch.cat([x, moved], 1).T)[0, 1]) < 0.8  # it moved


def test_references_are_the_covariances_of_their_scores(generator):
    """C s(x) = m - x for Gaussian reference laws, and root root^T = C, as matrices, exactly."""
    heat = Heat(size=4)
    exact = heat.exact()
    times = torch.tensor([0.0, 1.0], dtype=F64)
    mean = torch.randn(2, 2, 4, 4, dtype=F64, generator=generator)
    rank = torch.randn(2, 2, 4, 4, 3, dtype=F64, generator=generator)
    diagonal = torch.rand(2, 2, 4, 4, dtype=F64, generator=generator) + 0.1
    cases = [
        LinearReference(heat, mean[0, :1], exact.power + 0.01),
        LowRankReference(None, times, mean, rank, diagonal, torch.zeros(2, 2, 2, 4, 4, dtype=F64)),
    ]
    for reference in cases:
        m, C = reference.mean_at(0.3), reference.covariance_at(0.3)
        x = torch.randn(5, *m.shape[1:], dtype=F64, generator=generator)
        assert torch.allclose(C.apply(reference.score(x, torch.full((5,), 0.3, dtype=F64))), m - x)
        eye = torch.eye(m.numel(), dtype=F64).reshape(-1, *m.shape[1:])
        root = C.root(eye).flatten(1)
        assert torch.allclose(root.T @ root, C.apply(eye).flatten(1))


def test_reference_of_a_mixture_is_its_smallest_variance(generator):
    factors = torch.stack([torch.diag(torch.tensor([0.5, 2.0])), torch.diag(torch.tensor([1.0, 0.3]))])
    factors[0, 1, 0] = 1.0
    means = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
    law = MixtureReference(
        OrnsteinUhlenbeck(dim=2),
        torch.tensor([0.0, 1.0]),
        torch.tensor([0.25, 0.75]),
        means.expand(2, 2, 2),
        factors.expand(2, 2, 2, 2),
        torch.zeros(2, 2, 2),
    )
    mean, C = law.mean_at(0.5), law.covariance_at(0.5)
    assert torch.allclose(mean, torch.tensor([[-0.5, 1.5]]))
    assert torch.allclose(C.apply(torch.ones(1, 2)), torch.full((1, 2), 0.09))


def test_corrected_steps_keep_the_marginals(generator):
    heat = Heat(size=8)
    n, model = 5000, heat_model(heat)
    final = heat.simulate(n, generator=generator, dtype=F64)[:, -1]
    times = torch.linspace(heat.horizon, 0, 5, dtype=F64)
    step = corrected(transport, 2, size=0.4)
    assert step.draws == 3
    back = solve(Reverse(heat, model), final, times, step=step, generator=generator)
    for i, t in enumerate(times.tolist()):
        power = model.reference.spectrum(torch.full((1,), t, dtype=F64), final[:1]).now[0].flatten()[1:]
        ours = heat.modes(back[:, i]).abs().square().mean(0).flatten()[1:]
        # |mode|^2 is exponential or chi^2_1: relative error of its mean at most sqrt(2/n); five of them
        assert torch.allclose(ours / power, torch.ones_like(power), atol=5 * math.sqrt(2 / n))


def test_correction_repairs_a_step_that_does_nothing_and_forgets_where_it_came_from(generator):
    """Unguided moves draw from p_t whatever x_T was; at size 1, one move draws from a Gaussian."""
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=2.0)
    still = Step(lambda sde, x, t0, t1, dw: x, weak_order=1.0)
    n = 40_000
    x = torch.full((n, 1), 7.0, dtype=F64)
    times = torch.tensor([1.5, 0.5], dtype=F64)
    variance = float(ou.marginal(0.5).covs)
    step = corrected(still, 1, size=1.0, covariance=lambda t: isotropic(float(ou.marginal(t).covs)))
    got = solve(Reverse(ou, ou.score), x, times, step=step, generator=generator)[:, -1]
    assert float(got.mean()) == pytest.approx(0, abs=5 * math.sqrt(variance / n))
    assert float(got.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / n))
    # a score given by hand is the one that is followed
    moved = corrected(still, 1, size=1.0, score=lambda x, t: (3 - x) / 4, covariance=lambda t: isotropic(4.0))
    got = solve(Reverse(ou, ou.score), x, times, step=moved, generator=generator)[:, -1]
    assert float(got.mean()) == pytest.approx(3, abs=5 * 2 / math.sqrt(n))
    assert float(got.var()) == pytest.approx(4, rel=5 * math.sqrt(2 / n))


def test_no_correction_at_the_start_and_none_without_noise(generator):
    heat = Heat(size=4)
    reverse, step = Reverse(heat, heat_model(heat)), corrected(transport, 2)
    x = heat.simulate(3, generator=generator, dtype=F64)[:, -1]
    t0, middle, start = (torch.full((3,), t, dtype=F64) for t in (0.2, 0.1, 0.0))
    dw = torch.randn(3, *x.shape, dtype=F64, generator=generator)
    assert torch.equal(step(reverse, x, t0, start, dw), transport(reverse, x, t0, start, dw[:1]))
    assert not torch.allclose(step(reverse, x, t0, middle, dw), transport(reverse, x, t0, middle, dw[:1]))
    times = torch.tensor([0.2, 0.1, 0.0], dtype=F64)
    bare, full = (solve(reverse, x, times, step=s, noise=False) for s in (transport, step))
    assert torch.equal(bare, full)


def test_wrong_arguments_are_refused():
    ou, x = OrnsteinUhlenbeck(dim=1), torch.zeros(2, 1, dtype=F64)
    up = torch.tensor([0.5, 1.0], dtype=F64)
    with pytest.raises(ValueError, match="`corrected` steps a Reverse"):
        solve(ou, x, up, step=corrected(euler))
    with pytest.raises(ValueError, match="`covariance` must be given"):
        solve(Reverse(ou, ou.score), x, up.flip(0), step=corrected(split))
    with pytest.raises(ValueError, match="`size` must lie in"):
        langevin(ou.score, x, up, isotropic(1.0), size=1.5)
    with pytest.raises(ValueError, match="`sweeps` must be at least 0"):
        corrected(euler, -1)

    class Other(ReferenceLaw):
        name = "other"
        score = log_prob = features = lift = suits = fit = None

    for ask, needed in ((Other().mean_at, "mean_at"), (Other().covariance_at, "covariance_at")):
        with pytest.raises(ValueError, match=f"reference law `other` tells no `{needed}`"):
            ask(0.0)
