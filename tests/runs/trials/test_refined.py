"""Refinement of draws given a record is left out where it makes exact draws worse, and kept where it does not."""

import re
from dataclasses import dataclass, replace

import pytest
import torch

from physinv.config.seeds import seeds
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.refine import RefinedRecord, refine_given
from physinv.methods.classical.smoothing.given_start import trajectories_given
from physinv.methods.problem import RecordAnswer
from physinv.processes.simulator import Simulator
from physinv.runs.sampling.refining import refined_if_better
from physinv.runs.trials.starts import starts_of_process
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.3, horizon=1.0, steps=4)
SQUARES, NUMBERS = (ObservationRecord((1.0, Observation(f, 0.05))) for f in (torch.square, torch.clone))


@dataclass(frozen=True)
class Weighted(RecordAnswer):
    """Exact draws: runs of the process, weighted by what is seen of them."""

    process: Simulator
    record: ObservationRecord

    def mean(self, final):
        return self.sample(final, 100).mean(1)

    def sample_at(self, y, n, times, *, generator=None):
        grid = sorted({0.0, *times, *self.record.times})
        runs = self.process.simulate(40_000, grid, generator=generator)
        seen = self.record.entries[0].observation.operator(runs[:, grid.index(1.0)])
        weights = (-((y[:, None] - seen) / 0.05).square().sum(2) / 2).softmax(1)
        found = runs[torch.multinomial(weights, n, replacement=True, generator=generator)]
        return found[:, :, [grid.index(t) for t in times]]


@pytest.mark.parametrize(("record", "better"), [(SQUARES, False), (NUMBERS, True)])
def test_refinement_is_left_out_where_it_makes_draws_worse(record, better, generator):
    """Of squares the law of paths is linearised where they tell nothing: at the middle of two peaks."""
    model = fit_path_model(OU, generator=generator)
    refined = RefinedRecord(Weighted(OU, record), model, record, 8)
    answer, told = refined_if_better(refined, torch.ones(1, 1), seeds(0).child("trial"), starts_of_process(OU))
    assert (answer is refined) == better
    assert (told == []) == better
    counts = [
        re.match(r"refinement is left out: on (\d+) new trajectories it makes samples worse", line) for line in told
    ]
    assert all(48 < int(count[1]) <= 192 for count in counts)  # a few do not tell: the loss is heavy-tailed


def test_there_is_no_trial_of_refinement_without_a_prior_and_of_unknown_parameters(generator):
    refined = RefinedRecord(Weighted(OU, SQUARES), fit_path_model(OU, generator=generator), SQUARES, 8)
    assert refined_if_better(refined, torch.ones(1, 1), seeds(0), None) == (refined, [])


def test_trajectories_that_miss_what_was_seen_are_told(generator):
    """Noise of .001 on the way does not lead from 0 to 1; noise of .3 does."""
    starts, y = torch.zeros(1, 50, 1), torch.ones(1, 1)
    for process, told in ((replace(OU, noise=0.001), True), (OU, False)):
        for way in (
            lambda p: trajectories_given(p, NUMBERS, starts, y, [0.0, 1.0], 8, generator=generator),
            lambda p: refine_given(fit_path_model(p, generator=generator), NUMBERS, starts, y, 0, generator=generator),
        ):
            if told:
                with pytest.warns(UserWarning, match="miss an observed number by more than 5 standard deviations"):
                    way(process)
            else:
                way(process)


def test_noise_on_the_way_is_drawn_given_each_sample(generator):
    """From 0 the end is N(0, v), and N(v / (v + s), v s / (v + s)) given that 1 was seen with noise of variance s."""
    v, seen = 0.3**2 * (1 - torch.tensor(-1.0).exp().item()), 0.05**2
    starts, model = torch.zeros(1, 4000, 1), fit_path_model(OU, generator=generator)
    ends = refine_given(model, NUMBERS, starts, torch.ones(1, 1), 0, times=(0.0, 1.0), generator=generator)[0, :, 1, 0]
    deviation = (v * seen / (v + seen)) ** 0.5
    assert float(ends.mean()) == pytest.approx(v / (v + seen), abs=5 * deviation / 4000**0.5)
    assert float(ends.std()) == pytest.approx(deviation, rel=5 / 8000**0.5)
