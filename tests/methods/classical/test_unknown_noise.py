"""Records whose noise has an unknown level: chains, particles and the exact law draw level and states together."""

import pytest
import torch

import physinv as pi
from physinv.laws.exact import LinearGaussian
from physinv.laws.operators import everything
from physinv.laws.unknown import unknown_noise
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior
from physinv.methods.classical.monte_carlo.particle_smoother import ParticleSmoother
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.weak_constraint import weak_constraint
from physinv.methods.problem import NotApplicableError
from physinv.processes.parameters import build
from physinv.processes.priors import LogUniform, Normal
from physinv.processes.varying import with_observed_noise
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
OU = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0, steps=4)
LAW = LinearGaussian(OU, 2.0, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
PRIOR = LogUniform(0.05, 1.0)
TIMES = tuple(0.25 * (i + 1) for i in range(8))
RECORD = pi.ObservationRecord(*((t, pi.Observation(everything, 1.0)) for t in TIMES), level=PRIOR)
WANTED = [0.0, 1.0, 3.0]


@pytest.fixture(scope="module")
def seen():
    generator = torch.Generator().manual_seed(0)
    states = OU.simulate(2, [0.0, *TIMES], generator=generator)[:, 1:]
    y = RECORD.observe(states, level=torch.tensor([0.1, 0.6]), generator=generator)
    y[1, 2] = torch.nan
    return y


@pytest.fixture(scope="module")
def exact():
    return unknown_noise(LAW, RECORD, PRIOR.quantile, with_observed_noise(OU, PRIOR).joined)


def summary(x):
    """Means and deviations of level, first state and forecast."""
    level, first, last = x[:, :, 0, 1], x[:, :, 0, 0], x[:, :, 2, 0]
    return (torch.stack([moment(y, dim=1) for y in (level.log(), first, last)]) for moment in (torch.mean, torch.std))


@pytest.mark.filterwarnings("ignore:mcmc has not converged", "ignore:the particle smoother has fewer")
@pytest.mark.parametrize("name", ["populations", "particles"])
def test_draws_have_the_exact_joint_law(seen, exact, name):
    generator = torch.Generator().manual_seed(2)
    if name == "particles":
        drawn = ParticleSmoother(OU, RECORD, 100_000).sample_at(seen, 2000, WANTED, generator=generator)
    else:
        model = fit_path_model(OU, generator=generator)
        answer = PathPosterior(model, None, 4, 40, 5, 1, 0, particles=32).given(RECORD)
        drawn = answer.sample_at(seen, 2000, WANTED, generator=generator)
    assert drawn.shape == (2, len(drawn[0]), 3, 2)
    assert torch.equal(drawn[:, :, 0, 1], drawn[:, :, 2, 1])  # the level does not move
    mean, deviation = summary(exact.sample_at(seen, 20_000, WANTED, generator=generator))
    ours, spread = summary(drawn)
    # 3.5 standard errors of 400 effective draws, .05 of the deviation for a mean, .035 for a deviation
    assert bool(((ours - mean).abs() < 3.5 * 0.05 * deviation).all())
    assert bool(((spread / deviation - 1).abs() < 3.5 * 0.035).all())


def test_levels_in_the_cells_have_the_evidence_of_known_noise(seen, exact):
    """``p(sigma | y)`` of two levels is the ratio of the densities of the record, which a known noise has."""
    p = exact.probabilities(seen)
    shares = (torch.arange(p.shape[1], dtype=F64) + 0.5) / p.shape[1]
    i, j = 10, 40
    a, b = (LAW.given(RECORD.known(float(PRIOR.quantile(shares[k])))).log_evidence(seen) for k in (i, j))
    assert torch.allclose((p[:, i] / p[:, j]).log(), (a - b).double(), atol=1e-4)


@pytest.mark.filterwarnings("ignore:mcmc has not converged")
def test_rates_and_states_given_a_record():
    """Chains tell a low rate from a high one by what is seen without noise on the way."""
    values = {"dim": 1, "components": 1, "spread": 0.0, "width": 3.0, "noise": 0.3, "horizon": 2.0, "steps": 4}
    process = build(OrnsteinUhlenbeck, {**values, "rate": {"log_uniform": [0.1, 4.0]}})
    record = pi.ObservationRecord(*((t, pi.Observation(everything, 0.05)) for t in (0.5, 1.0, 2.0)))
    decay = 3 * torch.exp(-torch.tensor([[0.2], [1.5]]) * torch.tensor(record.times))
    generator = torch.Generator().manual_seed(0)
    answer = PathPosterior(fit_path_model(process, generator=generator), None, 2, 16, 5, 1, 0, particles=16)
    low, high = answer.given(record).sample(decay, 64, generator=generator)[:, :, 1].log().mean(1).exp()
    assert low < 0.5 < 1.1 < high


def test_what_draws_no_level_refuses_in_one_line():
    with pytest.raises(NotApplicableError, match=r"the noise must be known; take mcmc, importance or exact"):
        weak_constraint(OU, RECORD, lambda objective, c: c)
    with pytest.raises(ValueError, match="the noise of this record is unknown"):
        LAW.given(RECORD).mean(torch.zeros(1, len(TIMES)))
    with pytest.raises(ValueError, match="`level` must be above 0, its law begins at -4"):
        pi.ObservationRecord((1.0, pi.Observation(everything, 1.0)), level=Normal(1.0, 1.0))
    with pytest.raises(ValueError, match="`level` must be a function"):
        pi.ObservationRecord((1.0, pi.Observation(everything, 1.0)), level=0.3)
