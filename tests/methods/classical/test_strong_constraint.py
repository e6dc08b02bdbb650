"""The most probable initial state given a record: against dense algebra where processes are linear, and Burgers."""

import functools
import math

import pytest
import torch

from physinv.laws.covariance import diagonal, isotropic
from physinv.laws.observation import Observation
from physinv.laws.operators import named
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.forward import Forward
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.classical.minimise import gauss_newton, lbfgs
from physinv.methods.classical.record_objective import RecordObjective, SeenErrors, quiet, states_at
from physinv.methods.classical.strong_constraint import strong_constraint
from physinv.methods.problem import NotApplicableError
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.navier_stokes import NavierStokes

F64 = torch.float64
HEAT = Heat(size=8, steps=2, noise=0.0)
LATE, EARLY = named("every:2", 0.05, HEAT.shape), Observation(lambda x: x[..., 1::4, :], 0.1)
RECORD = ObservationRecord((HEAT.horizon, LATE), (0.25 * HEAT.horizon, EARLY))
SEEN = sum(RECORD.sizes(torch.zeros(1, *HEAT.shape)))
SHAPES = ((SEEN,), (SEEN, SEEN), (1, SEEN))
DOWN = {
    "lbfgs": functools.partial(lbfgs, iterations=20),
    "gauss-newton": functools.partial(gauss_newton, outer=2, inner=10),
}


def plain(process, draws=64):
    """Solver and prior of a process."""
    known = process.initial(draws, generator=torch.Generator().manual_seed(7))
    return Forward(process, torch.zeros(process.shape), isotropic(1.0)), gaussian_prior_of(process, known)


def dense(record, process, prior):
    """What is seen of each coordinate of the prior, in float64, and the noise of each number."""
    eye = torch.eye(prior.mean.numel(), dtype=F64)
    like = torch.zeros(len(eye), *process.shape, dtype=F64)
    seen = record.clean(states_at(process, prior.root(eye, like), record.times))
    centre = record.clean(states_at(process, prior.mean[None].to(like), record.times))
    return (seen - centre).T, record.deviations(like[:1]), centre[0]


@pytest.mark.parametrize("name", DOWN)
def test_linear_processes_are_answered_exactly(name):
    forward, prior = plain(HEAT)
    answer = strong_constraint(forward, prior, RECORD, DOWN[name], 40)
    generator = torch.Generator().manual_seed(0)
    truth = HEAT.initial(2, generator=generator)
    y = RECORD.observe(states_at(HEAT, truth, RECORD.times), generator=generator)
    y[1, ::3] = math.nan
    found, drawn = answer.mean(y), answer.sample(y, 100, generator=generator)
    K, sigma, centre = dense(RECORD, HEAT, prior)
    for row in range(2):
        there = y[row].isfinite()
        A = K[there] / sigma[there, None]
        H = torch.eye(K.shape[1], dtype=F64) + A.T @ A
        u = torch.linalg.solve(H, A.T @ ((y[row].double() - centre)[there] / sigma[there]))
        exact = prior.root(u[None], torch.zeros(1, *HEAT.shape, dtype=F64))[0]
        assert float((found[row] - exact).norm() / exact.norm()) < 5e-3  # float32, and 20 steps
        like = torch.zeros(K.shape[1], *HEAT.shape, dtype=F64)
        roots = prior.covariance.root(torch.linalg.cholesky(torch.linalg.inv(H)).T.reshape(like.shape))
        wide = roots.square().sum().sqrt()  # the trace of the covariance
        assert float(drawn[row].var(0).sum().sqrt() / wide) == pytest.approx(
            1.0, abs=0.12
        )  # five errors of 100 draws, of ten numbers each


def test_the_mean_of_what_noise_adds_is_taken_off_and_missing_numbers_do_not_count():
    """At the mean of the prior the residual is E^(-1/2) (H F m + b - y), by dense algebra; errors count double."""
    _, prior = plain(HEAT)
    K, sigma, centre = dense(RECORD, HEAT, prior)
    bias, root, y = (torch.randn(*n, generator=torch.Generator().manual_seed(3), dtype=F64) for n in SHAPES)
    y[0, 1::3] = math.nan
    errors = SeenErrors(bias, 0.02 * root @ root.T)
    found = RecordObjective(HEAT, prior, RECORD, y, errors, soft=2.0).residual(torch.zeros(1, K.shape[1], dtype=F64))[0]
    there = y[0].isfinite()
    E = (errors.covariance + sigma.square().diag())[there][:, there]
    gap = (centre + bias - y[0])[there, None]
    wanted = torch.linalg.solve_triangular(torch.linalg.cholesky(E), gap, upper=False)[:, 0] / 2
    assert torch.allclose(found[there], wanted, rtol=1e-6, atol=1e-8)
    assert not bool(found[~there].any())


def test_what_was_seen_in_part_before_a_window_is_left_out_of_it():
    """A mean over times on both sides of the beginning says nothing of the states after it alone."""
    _, prior = plain(HEAT)
    T = HEAT.horizon
    mean = Observation(lambda x: x[..., ::4, :], 0.1)
    record = ObservationRecord(((0.25 * T, 0.75 * T), mean), (T, LATE))
    sizes = record.sizes(torch.zeros(1, *HEAT.shape))
    y = torch.randn(1, sum(sizes), generator=torch.Generator().manual_seed(3))
    later = RecordObjective(HEAT, prior, record, y).within(0.5 * T, 1.0, prior)
    assert [entry.times for entry in later.record.entries] == [(T,)]
    last = [entry.times for entry in record.entries].index((T,))
    assert torch.equal(later.seen, y[:, sum(sizes[:last]) : sum(sizes[: last + 1])])


def test_noise_on_the_way_counts_as_an_error():
    """At T by the law of final states; at other times from pairs of runs, to the error of 200 of them."""
    process = Heat(size=8, steps=2, noise=1.0)
    law, observation = process.exact(), named("every:2", 0.02, process.shape)
    known = process.initial(8, generator=torch.Generator().manual_seed(7))
    R = law.sde.variance(0.0, torch.full((1,), process.horizon, dtype=F64), torch.zeros(1, *process.shape, dtype=F64))[
        0
    ]
    forward = Forward(process, torch.zeros(process.shape), diagonal(process.modes, process.unmodes, R))
    prior, generator = gaussian_prior_of(process, known), torch.Generator().manual_seed(0)
    final = process.simulate(2, generator=generator)[:, -1]
    y = observation.observe(final, generator=generator)
    answer = strong_constraint(forward, prior, ObservationRecord((process.horizon, observation)), DOWN["lbfgs"], 60)
    exact = law.given(observation).mean(y.double())
    assert float((answer.mean(y.flatten(1)) - exact).norm() / exact.norm()) < 5e-3
    both = ObservationRecord((process.horizon, observation), (process.horizon / 2, observation))
    errors = strong_constraint(forward, prior, both, DOWN["lbfgs"], 60).errors
    rows = len(errors.bias) // 2
    assert torch.allclose(
        errors.covariance.diagonal()[:rows].mean(), answer.errors.covariance.diagonal().mean(), rtol=0.15
    )
    with pytest.raises(NotApplicableError, match="states after the initial one need whole paths"):
        answer.sample_at(y.flatten(1), 1, [0.0, 0.1])


def test_a_nonlinear_process_is_brought_below_the_truth():
    """The minimum has a smaller cost than the truth, and half of the prior's error at most."""
    process = Burgers(size=32, noise=0.0, steps=2)
    assert quiet(process)
    assert not quiet(Burgers(size=32))
    forward, prior = plain(process, 400)
    observation = named("every:2", 0.02, process.shape)
    record, generator = ObservationRecord((process.horizon, observation)), torch.Generator().manual_seed(1)
    truth = process.initial(2, generator=generator)
    y = record.observe(states_at(process, truth, record.times), generator=generator)
    answer = strong_constraint(forward, prior, record, DOWN["lbfgs"], 60)
    found = answer.mean(y)
    (objective,) = answer.objectives(y)
    values = [objective.value(prior.standardise(x)) for x in (found, truth)]
    assert bool((values[0] < values[1]).all())
    assert float((found - truth).norm() / truth.norm()) < 0.5
    path = answer.sample_at(y, 3, [process.horizon, 0.0], generator=torch.Generator().manual_seed(2))
    again = states_at(process, path[:, :, 1].flatten(0, 1), [process.horizon])
    assert torch.allclose(path[:, :, 0].flatten(0, 1), again[:, 0], atol=1e-5)


def test_the_size_of_a_process_decides_how_a_record_is_answered(tmp_path):
    """Whole paths of small processes; initial states alone of fields that have been spun up, whose law is not known."""
    from physinv.data.dataset import TrajectoryDataset
    from physinv.data.generate import generate
    from physinv.data.plan import DatasetPlan
    from physinv.methods.classical.monte_carlo.weak_constraint import WeakConstraint
    from physinv.methods.classical.strong_constraint import StrongConstraint
    from physinv.methods.classical.variational import fit_lbfgs
    from physinv.methods.problem import Problem

    for i, (process, kind) in enumerate(
        ((Heat(size=8, steps=2), WeakConstraint), (NavierStokes(size=8, steps=1, spin_up=0.5), StrongConstraint))
    ):
        made = generate(DatasetPlan(process, {"train": 30, "valid": 8, "test": 4}, 0, ""), tmp_path / str(i))
        data = [TrajectoryDataset(made / "data" / split).load() for split in ("train", "valid")]
        answer = fit_lbfgs(Problem(process, *data), iterations=5)
        given = answer.given(ObservationRecord((process.horizon, named("every:2", 0.1, process.shape))))
        assert isinstance(given, kind)
        assert bool(given.mean(torch.zeros(1, 16)).isfinite().all())


def test_draws_given_sharp_sensors_are_wide_enough_or_say_that_they_are_not():
    """Few iterations leave out what is seen least sharply: the variance of draws falls short, and a warning says so."""
    forward, prior = plain(HEAT)
    generator = torch.Generator().manual_seed(0)
    sharp = ObservationRecord((0.25 * HEAT.horizon, named("every:2", 1e-3, HEAT.shape)), (HEAT.horizon, LATE))
    y = sharp.observe(states_at(HEAT, HEAT.initial(1, generator=generator), sharp.times), generator=generator)
    K, sigma, _ = dense(sharp, HEAT, prior)
    white = (K / sigma[:, None]).T @ (K / sigma[:, None])
    exact = float(torch.linalg.inv(torch.eye(len(white), dtype=F64) + white).trace())

    def variance(iterations):
        answer = strong_constraint(forward, prior, sharp, DOWN["lbfgs"], iterations)
        u = prior.standardise(answer.sample(y, 100, generator=generator)[0])
        return float(u.var(0).sum())

    assert variance(200) == pytest.approx(exact, rel=0.1)
    with pytest.warns(UserWarning, match="draws of Laplace's Gaussian are too narrow"):
        assert variance(2) < 0.9 * exact
