"""How long chains take is said before they begin, by the time of one gradient."""

import re
from dataclasses import replace

import torch

from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.runs.sampling.waiting import waiting
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

RECORD = ObservationRecord((1.0, Observation(everything, 0.3)))
Y = torch.zeros(1, 1)


def test_more_iterations_and_more_trajectories_take_longer():
    model = fit_path_model(DoubleWell(steps=4), generator=torch.Generator().manual_seed(0))
    chains = PathPosterior(model, None, 4, 10**6, 10, 1, 0).given(RECORD)
    line = waiting(chains, Y, 16, 3)
    least, most = map(float, re.search(r"take some (\S+) to (\S+) ", line).groups())
    assert 0 < least < most
    assert "for each of 3 trajectories" in line
    assert waiting(replace(chains, iterations=4), Y, 16, 1) is None  # soon done
    assert waiting(OrnsteinUhlenbeck(dim=1).exact().given(RECORD), Y, 16, 1) is None  # no chains
