"""Records of several times by the methods without training, each against the exact answer of Ornstein and Uhlenbeck."""

import functools
import math
import warnings
from pathlib import Path

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.laws.exact import LinearGaussian
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo import particle_smoother
from physinv.methods.classical.monte_carlo.laplace import descend
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior, fit_mcmc
from physinv.methods.classical.monte_carlo.particle_smoother import ParticleSmoother
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.refine import RefinedRecord
from physinv.methods.classical.monte_carlo.weak_constraint import lowered, weak_constraint
from physinv.methods.problem import NotApplicableError, Problem, RecordAnswer
from physinv.posterior.several_times.particles import Cloud
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
OU = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0, steps=4)
SENSOR = Observation(everything, 0.3)
RECORD = ObservationRecord((0.5, SENSOR), (1.0, SENSOR), ((1.0, 1.5), SENSOR), (2.0, SENSOR))
LAW = LinearGaussian(OU, 2.0, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64)).given(RECORD)
TIMES = [0.0, 0.7, 2.0, 3.0]  # the initial state, between, the end, a forecast


def chains(simulator, record, **options):
    """Chains whose guess at minima is not asked for, since a record has starts of its own."""
    known = {"chains": 4, "iterations": 100, "warm_up": 30, "most": 1, "seed": 0} | options
    model = fit_path_model(simulator, generator=torch.Generator().manual_seed(0))
    return PathPosterior(model, None, **known).given(record)


class Prior(RecordAnswer):
    """Draws that know nothing of the record."""

    def sample(self, final, n, *, generator=None):
        return OU.initial(len(final) * n, generator=generator).reshape(len(final), n, 1)

    def mean(self, final):
        return LAW.mean(final)

    def sample_at(self, y, n, times, *, generator=None):
        raise AssertionError("only initial states are asked for")


def refined(gradients):
    """The prior, moved by Monte Carlo."""
    return RefinedRecord(Prior(), fit_path_model(OU, generator=torch.Generator().manual_seed(0)), RECORD, gradients)


METHODS = {
    "refined": (lambda: refined(40), 4000),
    "gauss-newton": (lambda: weak_constraint(OU, RECORD, functools.partial(descend, steps=3)), 4000),
    "lbfgs": (lambda: weak_constraint(OU, RECORD, functools.partial(lowered, iterations=12, memory=5)), 4000),
    "particles": (lambda: ParticleSmoother(OU, RECORD, 40_000), 4000),
    "mcmc": (lambda: chains(OU, RECORD), 400),
}


@pytest.fixture(scope="module")
def seen():
    generator = torch.Generator().manual_seed(4)
    y = RECORD.observe(OU.simulate(2, [0.0, *RECORD.times], generator=generator)[:, 1:], generator=generator)
    y[1, 2] = math.nan
    return y


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore:mcmc has not converged:UserWarning")  # of frames, 100 effective draws are wanted
def test_smoothed_states_and_forecasts_are_exact(name, seen):
    make, n = METHODS[name]
    answer = make()
    assert isinstance(answer, RecordAnswer)
    drawn = answer.sample_at(seen, n, TIMES, generator=torch.Generator().manual_seed(1)).double()
    mean = LAW.mean_at(seen.double(), TIMES)
    deviation = LAW.deviation_at(TIMES)
    # five standard errors of n draws, of which chains and particles have a sixth that are independent
    error = 5 / math.sqrt(n / 6)
    assert bool(((drawn.mean(1) - mean).abs() < error * deviation).all())
    assert torch.allclose(drawn[0].std(0), deviation, rtol=error / math.sqrt(2))
    assert bool(((answer.mean(seen) - mean[:, 0]).abs() < 0.2 * deviation[0]).all())


@pytest.mark.filterwarnings("ignore:over 1% of the trajectories miss an observed number:UserWarning")
def test_few_gradients_leave_the_initial_states(seen):
    """Only noise on the way is drawn, that leads to what was seen."""
    found = refined(3).sample(seen, 5, generator=torch.Generator().manual_seed(1))
    alone = Prior().sample(seen, 5, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(found, alone, atol=1e-4)


def test_records_of_large_states_are_for_populations():
    """States of more than 40 numbers: chains of one path for whole final states, populations given a record."""
    large = OrnsteinUhlenbeck(dim=41, components=1, steps=2)
    header = Header("ou", large.layout, large.shape, tuple(large.times.tolist()), 20, {}, {})
    splits = [TrajectoryDataset.of_states(large.simulate(20), header, Path("none")) for _ in range(2)]
    record = ObservationRecord((1.0, SENSOR))
    answer = fit_mcmc(Problem(large, *splits))
    assert (answer.particles, answer.given(record).particles) == (0, 64)


def test_likelihoods_of_records_by_particles_are_exact(seen):
    found = ParticleSmoother(OU, RECORD, 40_000).log_evidence(seen[:1])
    assert float(found) == pytest.approx(float(LAW.log_evidence(seen[:1].double())), abs=0.05)  # 1/sqrt(effective)


@pytest.mark.filterwarnings("ignore:mcmc has not converged:UserWarning")
def test_nonlinear_operators():
    """Particles and chains agree where a square and an exponential are seen."""
    square, grown = Observation(torch.square, 0.2), Observation(torch.exp, 0.4)
    record = ObservationRecord((0.5, square), (1.0, Observation(everything, 0.3)), (2.0, grown))
    y, times = torch.tensor([[0.9, 0.7, 2.5]]), [0.0, 1.0, 2.0]
    runs = ParticleSmoother(OU, record, 60_000).sample_at(y, 4000, times, generator=torch.Generator().manual_seed(1))
    found = chains(OU, record).sample_at(y, 400, times, generator=torch.Generator().manual_seed(2))
    assert bool(((runs.mean(1) - found.mean(1)).abs() < 5 * runs.std(1) / math.sqrt(60)).all())  # of 400, 60 count
    assert torch.allclose(runs.std(1), found.std(1), rtol=5 / math.sqrt(120))


def test_few_particles_are_told():
    sharp = Observation(everything, 0.05)
    many, start = ObservationRecord(*((t / 10, sharp) for t in range(1, 20))), torch.Generator().manual_seed(0)
    with pytest.warns(UserWarning, match="fewer than 100 particles that count at some time for 1 of 1 records"):
        ParticleSmoother(OU, many, 500).sample(torch.zeros(1, 19), 10, generator=start)
    averages = ObservationRecord(*(((t / 10, t / 10 + 0.05), sharp) for t in range(1, 20)))  # whose past must be kept
    with pytest.warns(UserWarning, match="fewer than 100 initial states left for 1 of 1 records"):
        ParticleSmoother(OU, averages, 500).sample(torch.zeros(1, 19), 10, generator=start)


def test_the_past_of_long_records_keeps_its_variety():
    """40 numbers and 1000 particles, of which a few would be the ancestors of all: x_0 is as wide as it should be."""
    sensor = Observation(everything, 0.5)
    long = ObservationRecord(*((t / 20, sensor) for t in range(1, 41)))
    exact = LinearGaussian(OU, 2.0, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64)).given(long)
    generator = torch.Generator().manual_seed(3)
    y = long.observe(OU.simulate(1, [0.0, *long.times], generator=generator)[:, 1:], generator=generator)
    drawn = ParticleSmoother(OU, long, 1000).sample_at(y, 2000, [0.0, 1.0], generator=generator).double()
    wide = exact.deviation_at([0.0, 1.0])
    # 1000 particles, of which half count, choose among each other: errors of 1 / sqrt(500) of a deviation, five of them
    assert torch.allclose(drawn[0].std(0), wide, rtol=5 / math.sqrt(2 * 500))
    assert bool(((drawn[0].mean(0) - exact.mean_at(y.double(), [0.0, 1.0])[0]).abs() < 5 * wide / math.sqrt(500)).all())


def test_particles_whose_past_is_rich_are_drawn_as_they_are(monkeypatch, generator):
    """Of 40,000 runs that see one number at the end thousands count: none is drawn backward, which takes far longer."""

    def backward(*args, **kwargs):
        raise AssertionError("drawn backward")

    monkeypatch.setattr(particle_smoother, "draw_backward", backward)
    record = ObservationRecord((2.0, SENSOR))
    law, y = LinearGaussian(OU, 2.0, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64)).given(record), [[0.7]]
    smoother = ParticleSmoother(OU, record, 40_000)
    drawn = smoother.sample_at(torch.tensor(y), 1000, [0.0, 1.0], generator=generator).double()
    deviation = law.deviation_at([0.0, 1.0])
    assert bool(((drawn.mean(1) - law.mean_at(torch.tensor(y, dtype=F64), [0.0, 1.0])).abs() < 0.16 * deviation).all())
    with pytest.raises(AssertionError, match="drawn backward"):
        smoother.sample_at(torch.tensor(y), 20_000, [0.0], generator=generator)


def test_what_has_no_answer_is_refused():
    wide = Observation(lambda x: x @ torch.eye(3), 0.3)
    with pytest.raises(ValueError, match="`operator` of entry 0 must take states of shape"):
        chains(OU, ObservationRecord((1.0, wide)))
    with pytest.raises(ValueError, match="`record` must be given for trajectories"):
        PathPosterior(fit_path_model(OU), None, 4, 4, 1, 1, 0).sample_at([[0.0]], 1, [0.0])
    with pytest.raises(ValueError, match="`times` must be 0 or later"), warnings.catch_warnings():
        ParticleSmoother(OU, RECORD, 100).sample_at(torch.zeros(1, 4), 1, [-1.0])
    assert issubclass(NotApplicableError, ValueError)


def test_laplace_says_where_the_posterior_is_not_gaussian():
    """The square of a number leaves its sign open: one Gaussian holds one of both, and log densities differ by nats."""
    well = DoubleWell(steps=4)
    square = ObservationRecord((well.horizon, Observation(lambda x: x.square(), 0.3)))
    answer = weak_constraint(well, square, functools.partial(descend, steps=5))
    with pytest.warns(UserWarning, match="the posterior is not nearly Gaussian for 2 records"):
        answer.sample(torch.ones(2, 1), 64, generator=torch.Generator().manual_seed(0))
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=4)
    linear = weak_constraint(
        ou, ObservationRecord((1.0, Observation(everything, 0.3))), functools.partial(descend, steps=1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear.sample(torch.ones(2, 1), 64, generator=torch.Generator().manual_seed(0))


def test_copies_of_few_ancestors_count_as_few():
    """Of four particles of which one has nearly all of the weight, one counts, though all have descendants."""
    cloud = Cloud(ObservationRecord((1.0, Observation(everything, 1.0))), torch.zeros(1, 1), torch.zeros(1, 4))
    cloud.log_weights = torch.tensor([[0.97, 0.01, 0.01, 0.01]], dtype=torch.float64).log()
    assert float(cloud.ancestors) == pytest.approx(1 / (0.97**2 + 3e-4))


def test_answers_with_long_paths_are_tried_on_few_trajectories():
    """Heat on 32 x 32 points at four times: a path is x_0 and four fields of noise."""
    times = (0.05, 0.1, 0.15, 0.2)
    seen = Observation(lambda x: x.flatten(1)[:, ::4], noise=0.05)
    record = ObservationRecord(*((t, seen) for t in times))
    lower = functools.partial(descend, steps=1)
    assert weak_constraint(Heat(size=32), record, lower).tried == 2**16 // (5 * 32**2)
    assert weak_constraint(OU, RECORD, lower).tried == 48
