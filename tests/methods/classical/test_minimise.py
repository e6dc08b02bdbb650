"""Minima that miss what is observed: they are told without a truth, and a second search leads to lower ones."""

import functools
import warnings
from dataclasses import dataclass, replace

import pytest
import torch

from physinv.laws.covariance import isotropic
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.forward import Forward
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.classical.minimise import lbfgs, misses
from physinv.methods.classical.monte_carlo.laplace import descend
from physinv.methods.classical.monte_carlo.weak_constraint import weak_constraint
from physinv.methods.classical.strong_constraint import strong_constraint
from physinv.methods.classical.variational import fit_lbfgs
from simulators.vectors.lorenz import Lorenz63
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0, steps=4)


@dataclass(frozen=True)
class Coarse(Lorenz63):
    """Lorenz 1963 in few steps."""

    @property
    def longest_step(self):
        return 0.05


def chaotic(down):
    """The answer to one number of a chaotic state at five times, whose sign tells of wrong valleys; truths, numbers."""
    process = Coarse(noise=0.0, spread=6.0, horizon=1.0, steps=5)
    known = process.initial(64, generator=torch.Generator().manual_seed(7))
    forward, prior = Forward(process, torch.zeros(3), isotropic(1.0)), gaussian_prior_of(process, known)
    times = [0.2, 0.4, 0.6, 0.8, 1.0]
    record = ObservationRecord(*((t, Observation(lambda x: x[:, :1], 0.5)) for t in times))
    generator = torch.Generator().manual_seed(0)
    truth = process.initial(4, generator=generator)
    y = record.observe(process.run(truth, [0.0, *times], noise=False)[:, 1:], generator=generator)
    return strong_constraint(forward, prior, record, down, 10), truth, y


def test_truths_are_not_told():
    """They are standard normal, residuals too: five deviations are left by 1 % at most, by what is larger always."""
    generator = torch.Generator().manual_seed(0)
    for n in (1, 10, 1000):
        r, u = torch.randn(2, 4000, n, generator=generator)
        numbers, large = torch.full((4000,), n), r.square().mean(1) > 0.99
        assert float(misses(u, r, numbers).double().mean()) < 0.01
        assert bool(misses(u, 3.5 * r, numbers)[large].all())
        assert bool(misses(4 * r, 0 * u, numbers)[large].all())
    assert bool(misses(torch.zeros(1, 1), torch.tensor([[torch.nan]]), torch.ones(1, dtype=torch.long)).all())


def test_shrinking_errors_lead_out_of_a_wrong_valley():
    """All four searches that begin with the state at the last time end in costs above 400; the truth has at most 10."""
    answer, truth, y = chaotic(functools.partial(lbfgs, iterations=10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = answer.mean(y)
    (objective,) = answer.objectives(y)
    values = [objective.value(answer.prior.standardise(x)) for x in (found, truth)]
    assert bool((values[0] < values[1]).all())


def test_a_search_that_does_not_reach_what_is_seen_says_so():
    answer, _, y = chaotic(lambda objective, u: u)
    with pytest.warns(UserWarning, match="was not found, in . of 4: in the median it misses"):
        answer.mean(y)
    with pytest.warns(UserWarning, match="was not found, in . of 4: in the median it misses"):
        answer.sample(y, 2, generator=torch.Generator().manual_seed(0))


def test_paths_leave_wrong_valleys_and_say_where_they_do_not():
    """A sensor that is no monotone function of the state has many minima; one of eight is found from draws alone."""
    sensor = Observation(lambda x: x + torch.sin(8 * x), 0.05)
    record, generator = ObservationRecord(*((t, sensor) for t in (0.5, 1.0, 2.0))), torch.Generator().manual_seed(0)
    y = record.observe(OU.simulate(8, [0.0, 0.5, 1.0, 2.0], generator=generator)[:, 1:], generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weak_constraint(OU, record, functools.partial(descend, steps=5)).mean(y)
    still = weak_constraint(OU, record, lambda objective, c: descend(objective, c, 0))
    with pytest.warns(UserWarning, match="was not found, in 8 of 8"):
        still.sample(y, 2, generator=generator)


def test_final_states_that_are_missed_are_told(ou):
    problem, _, final = ou
    answer = fit_lbfgs(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer.sample(final, 2)
    still = replace(answer, minimise=lambda objective, u: u + 30)
    with pytest.warns(UserWarning, match=f"was not found, in {len(final)} of {len(final)}: "):
        still.mean(final)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replace(still, told=False).mean(final)
    given = answer.given(ObservationRecord((1.0, Observation(everything, 0.1))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given.mean(final)
