"""Where the new trajectories of trials begin: the process, a prior that is given, kept states of data."""

import pytest
import torch

from physinv.laws.prior import Prior
from physinv.methods.problem import Answer
from physinv.processes.recorded import Recorded
from physinv.runs.summary import TrainingSummary
from physinv.runs.trained import Run
from physinv.runs.trials.starts import starts_of, starts_of_process
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0, steps=2)


class Nobody(Answer):
    """An answer that is never asked."""


class Wide(Prior):
    """A normal law of deviation 5."""

    def draw(self, n, *, generator=None):
        return 5 * torch.randn(n, 2, generator=generator)


def run_of(process, kept=0, prior=None):
    summary = TrainingSummary(None, torch.arange(float(kept))[:, None], None) if kept else None
    return Run(process, Nobody(), process.times, {}, torch.device("cpu"), summary, prior=prior)


def test_what_a_prior_was_learned_from_comes_before_it_and_it_before_the_process(generator):
    assert starts_of(run_of(OU, kept=40, prior=Wide())).count == 20
    starts = starts_of(run_of(OU, kept=30, prior=Wide()))
    for draw in (starts.truth, starts.prior):
        assert float(draw(2000, generator).std()) == pytest.approx(5.0, rel=0.06)  # four standard errors of 4000
    own = starts_of(run_of(OU))
    assert float(own.truth(2000, generator).std()) == pytest.approx(1.0, rel=0.06)


def test_kept_states_are_truths_or_the_prior_and_never_both(generator):
    """Of 40 states 20 are truths, each once; the prior are the others, each once before one comes again."""
    starts = starts_of(run_of(Recorded(), kept=40))
    truth, prior = (draw(64, generator)[:, 0].long().tolist() for draw in (starts.truth, starts.prior))
    assert sorted(truth) == list(range(0, 40, 2))
    assert starts.count == 20
    assert len(prior) == 64
    for begin in (0, 20, 40):
        assert sorted(prior[begin : begin + 20]) == list(range(1, 40, 2))
    assert starts_of(run_of(Recorded(), kept=30)) is None
    assert starts_of(run_of(Recorded())) is None
    assert starts_of_process(Recorded()) is None
