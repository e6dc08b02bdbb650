"""How long chains take is said before they begin, by the time of one gradient."""

import itertools
from dataclasses import replace

import torch

from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior
from physinv.methods.classical.monte_carlo.particle_smoother import ParticleSmoother
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.runs.sampling.waiting import waiting
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

RECORD = ObservationRecord((1.0, Observation(everything, 0.3)))
Y = torch.zeros(1, 1)


def test_the_time_of_a_gradient_times_their_number_is_told(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: 0.01 * next(clock))  # a gradient takes .01 s
    model = fit_path_model(DoubleWell(steps=4), generator=torch.Generator().manual_seed(0))
    chains = PathPosterior(model, None, 4, 10**6, 10, 1, 0).given(RECORD)
    line = waiting(chains, Y, 16, 3)
    assert "take some 6.7e+02 to 1.7e+03 minutes for each of 3 trajectories" in line  # 4e6 of them, up to 10 for 4
    assert waiting(replace(chains, iterations=10), Y, 16, 3) is None  # 120 of them
    assert "3.6 to 7.8 s" in waiting(replace(chains, iterations=70), Y, 16, 30)  # 360 of them, up to 780
    assert waiting(OrnsteinUhlenbeck(dim=1).exact().given(RECORD), Y, 16, 1) is None  # no chains


def test_the_time_of_particles_is_that_of_a_fiftieth_of_them(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: 0.5 * next(clock))  # these take half a second
    particles = ParticleSmoother(DoubleWell(steps=4), RECORD, 200_000)
    line = waiting(particles, Y, 16, 3)
    assert "200000 particles take some 25 s for each of 3 trajectories" in line
    assert waiting(particles, Y, 16, 1) is None  # 25 s
    assert waiting(replace(particles, particles=1000), Y, 16, 300) is None  # not worth a trial
