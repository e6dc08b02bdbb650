"""Answers to records are tried on new trajectories: what is worse than the prior, or too narrow, is told and mended."""

import dataclasses
import functools

import pytest
import torch

from physinv.config.seeds import seeds
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.laplace import descend
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.refine import RefinedRecord
from physinv.methods.classical.monte_carlo.weak_constraint import weak_constraint
from physinv.methods.problem import RecordAnswer
from physinv.processes.priors import LogUniform
from physinv.runs.sampling.tried import TriedRecord, remedy_of, try_record, unlike
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=4, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=1.0, steps=2)
LINEAR = ObservationRecord((0.5, Observation(everything, 0.3)), (1.0, Observation(everything, 0.3)))
SQUARE = ObservationRecord((0.0, Observation(torch.square, 1.0)))
STREAM = seeds(0).child("reconstruction", "trial")
FOUR = torch.full((1, 4), 4.0)


class Prior(RecordAnswer):
    """Draws that know nothing of the record."""

    def sample(self, final, n, *, generator=None):
        return OU.initial(len(final) * n, generator=generator).reshape(len(final), n, 4)

    def mean(self, final):
        return torch.zeros(len(final), 4)

    def sample_at(self, y, n, times, *, generator=None):
        raise AssertionError("only initial states are asked for")


class TriedPrior(Prior):
    """The same, which asks for a trial."""

    tried = 48


def laplace(record):
    """The Gaussian around one minimum; of a square there are two, of which it does not know."""
    return weak_constraint(OU, record, functools.partial(descend, steps=5))


def tried(answer, record, y=None):
    y = torch.zeros(1, 4 * len(record.entries)) if y is None else y
    return try_record(answer, OU, record, y, STREAM, remedy_of(0))


def test_one_of_two_signs_is_told_and_mixed_with_the_prior(generator):
    found, (worse, narrow) = tried(laplace(SQUARE), SQUARE)
    assert isinstance(found, TriedRecord)
    assert found.share < 0.6
    assert worse.startswith(f"{1 - found.share:.0%} of the draws are of the prior: on 48 new trajectories draws given ")
    told = "90 % intervals of these draws are too narrow, or biased: on 48 new trajectories they hold"
    assert narrow.startswith(told)
    assert narrow.endswith("; take `--refine 40`, or mcmc.")
    drawn = found.sample_at(FOUR, 4000, [0.0, 1.0, 2.0], generator=generator)
    alone = laplace(SQUARE).sample(FOUR, 1, generator=generator)
    other = (drawn[0, :, 0].sign() != alone[0, 0].sign()).double().mean()
    assert float(other) == pytest.approx((1 - found.share) / 2, abs=5 * 0.25**0.5 / 4000**0.5)
    # States at two times are of one trajectory, whose correlation is exp(-.5) or less where the first is known better.
    correlation = torch.corrcoef(drawn[0, :, :2, 0].T)[0, 1]
    assert 0.4 < float(correlation) < 1


def test_right_draws_are_what_they_were():
    answer = laplace(LINEAR)
    assert tried(answer, LINEAR) == (answer, [])


class Shrunk(RecordAnswer):
    """The exact law of one number given both sensors, its deviation times a factor."""

    tried = 48

    def __init__(self, factor):
        t = torch.tensor([0.5, 1.0])
        start, later = torch.exp(-t / 2), torch.minimum(t[:, None], t)  # of a width of 1; rate and noise of .5
        seen = start[:, None] * start + 0.25 * torch.exp(-(t[:, None] - t).abs() / 2) * (1 - torch.exp(-later))
        self.gain = torch.linalg.solve(seen + 0.09 * torch.eye(2), start)
        self.deviation = factor * (1 - self.gain @ start).sqrt()

    def mean(self, final):
        return (final @ self.gain)[:, None]

    def sample(self, final, n, *, generator=None):
        return self.mean(final)[:, None] + self.deviation * torch.randn(len(final), n, 1, generator=generator)

    def sample_at(self, y, n, times, *, generator=None):
        raise AssertionError("only initial states are asked for")


def test_intervals_that_are_a_fifth_too_narrow_are_told():
    """48 trajectories of one number each see them in few of the trials, and no errors in 48 are no proof of any."""
    process, told = dataclasses.replace(OU, dim=1), {0.8: 0, 1.0: 0}
    for factor in told:
        for seed in range(40):
            stream, y = seeds(seed).child("reconstruction", "trial"), torch.zeros(1, 2)
            told[factor] += bool(try_record(Shrunk(factor), process, LINEAR, y, stream, remedy_of(0))[1])
    assert told[0.8] >= 14  # .59 of 40 by the binomial law of both rounds, less three standard errors; 2 of 48 alone
    assert told[1.0] <= 2


def test_what_is_missing_is_missing_in_the_trial():
    """With nothing but the first number missing, an answer that must have it is told to be wrong."""
    seen = []

    class Watched(type(laplace(LINEAR))):
        def sample(self, final, n, *, generator=None):
            seen.append(final.isnan().sum(0).tolist())
            return super().sample(final, n, generator=generator)

    answer = laplace(LINEAR)
    watched = Watched(answer.model, answer.record, answer.lower)
    y = torch.ones(2, 8)
    y[0, 0] = torch.nan
    tried(watched, LINEAR, y)
    assert seen == [[24, *[0] * 7]]


def test_what_tells_itself_is_not_tried():
    answer = Prior()
    assert tried(answer, LINEAR) == (answer, [])


def test_refined_draws_have_both_signs(generator):
    """Chains do not cross from one sign to the other: they begin at draws that have both."""

    model = fit_path_model(OU, generator=generator)
    found, told = tried(RefinedRecord(TriedPrior(), model, SQUARE, 100), SQUARE)
    assert told == []
    drawn = found.sample(FOUR, 1000, generator=generator)[0].double()
    x = torch.linspace(0, 5, 5001, dtype=torch.float64)
    density = (-x.square() / 2 - (x.square() - 4).square() / 2).softmax(0)
    mean = float(density @ x)
    deviation = float((density @ x.square() - mean**2).sqrt())
    assert 0.4 < float((drawn > 0).double().mean()) < 0.6
    assert float(drawn.abs().mean()) == pytest.approx(mean, abs=5 * deviation / 4000**0.5)
    assert float(drawn.abs().std()) == pytest.approx(deviation, rel=5 / 8000**0.5)


def test_numbers_in_another_unit_are_told(generator):
    y = LINEAR.observe(OU.simulate(500, [0.0, 0.5, 1.0], generator=generator)[:, 1:], generator=generator)
    stream = seeds(0).child("reconstruction", "expected")
    assert unlike(OU, LINEAR, y, stream) == []  # 4000 numbers, of which the largest lie at 3.7 deviations
    y[3, 2] = torch.nan
    (line,) = unlike(OU, LINEAR, 1000 * y, stream)
    assert "of 3999 observed numbers lie outside of the range of what 64 new trajectories show" in line
    y[7, 1] += 40.0  # of deviations of 1: a range of 64 is some 4.7 wide, and ends at some 2.4
    (line,) = unlike(OU, LINEAR, y, stream)
    assert line.startswith("1 of 3999")
    assert 6 < float(line.split("up to ")[1].split()[0]) < 10
    see = Observation(everything, 1.0)
    unknown = ObservationRecord((0.5, see), (1.0, see), level=LogUniform(0.1, 1.0))
    assert unlike(OU, unknown, y, stream) == []


class Sometimes(OrnsteinUhlenbeck):
    """Becomes infinite where it begins far out."""

    def run(self, x, *told, **how):
        states = super().run(x, *told, **how)
        return torch.where((x[:, None, :1] < 1.0).expand_as(states), states, torch.inf)


def test_trajectories_that_become_infinite_are_left_out_of_the_trial(generator):
    process = Sometimes(**{f.name: getattr(OU, f.name) for f in dataclasses.fields(OU)})
    y = LINEAR.observe(OU.simulate(5, [0.0, 0.5, 1.0], generator=generator)[:, 1:], generator=generator)
    assert unlike(process, LINEAR, y, seeds(0).child("reconstruction", "expected")) == []
    _, told = try_record(TriedPrior(), process, LINEAR, y, STREAM, remedy_of(0))
    assert all("on 48 new" not in line for line in told)  # fewer are left
