"""Trajectories given initial states and a record: against dense algebra, and against weighted runs of a double well."""

import dataclasses

import pytest
import torch

from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.smoothing.given_start import trajectories_given
from physinv.methods.problem import NotApplicableError
from physinv.processes.recorded import Recorded
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
OU = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=1.0, steps=4)
RECORD = ObservationRecord((0.5, Observation(everything, 0.3)), (1.0, Observation(everything, 0.3)))


def smoother(y, times, seen=(0.5, 1.0)):
    """Mean and covariance of states at some times, given numbers at others, of one component."""
    t = torch.tensor([*times, *seen], dtype=F64)
    early, gap = torch.minimum(t[:, None], t), (t[:, None] - t).abs()
    whole = torch.exp(-(t[:, None] + t) / 2) + 0.25 * torch.exp(-gap / 2) * (1 - torch.exp(-early))
    n = len(times)
    told = y.isfinite()
    cross, own = whole[:n, n:][:, told], whole[n:, n:][told][:, told] + 0.09 * torch.eye(int(told.sum()), dtype=F64)
    gain = torch.linalg.solve(own, cross.T).T
    return gain @ y[told], whole[:n, :n] - gain @ cross.T


@pytest.mark.parametrize("gradients", [0, 8])
def test_frames_are_those_of_the_exact_smoother(gradients, generator):
    """Means, and all covariances of x_0, of frames between, at and after the observations; also with one missing."""
    times, y, n = [0.25, 0.0, 0.5, 1.0, 1.5], torch.tensor([[1.2, -0.7], [0.4, torch.nan]]), 4000
    laws = [smoother(row.double(), times) for row in y]
    starts = torch.stack(
        [mean[1] + cov[1, 1].sqrt() * torch.randn(n, 1, generator=generator, dtype=F64) for mean, cov in laws]
    ).float()
    found = trajectories_given(OU, RECORD, starts, y, times, gradients, generator=generator)
    assert torch.equal(found[:, :, 1], starts)
    for drawn, (mean, cov) in zip(found[..., 0].double(), laws, strict=True):
        assert torch.allclose(drawn.mean(0), mean, atol=4.5 * float(cov.diagonal().max().sqrt()) / n**0.5)
        error = ((cov.diagonal()[:, None] * cov.diagonal() + cov**2) / n).sqrt()
        assert bool(((torch.cov(drawn.T) - cov).abs() < 4.5 * error).all())


def test_frames_of_a_double_well_are_those_of_weighted_runs(generator):
    """Given initial states that are right, whose paths cross the barrier or do not: mean, deviation and share right."""
    well = DoubleWell(steps=8)
    T = float(well.horizon)
    record = ObservationRecord((T, Observation(everything, 0.3)))
    times, y = [0.0, T / 4, T / 2, 3 * T / 4], torch.tensor([[0.6]])
    runs = well.simulate(100_000, [*times, T], generator=generator)
    weights = record.log_prob(y.expand(len(runs), -1), runs[:, -1:]).double().softmax(0)
    n = 1000
    pick = torch.multinomial(weights, n, replacement=True, generator=generator)
    exact = runs[pick, :4, 0].double()
    found = trajectories_given(well, record, runs[pick, 0][None], y, times, 16, generator=generator)[
        0, :, :, 0
    ].double()
    assert torch.equal(found[:, 0], exact[:, 0])
    error = exact.std(0) / n**0.5
    assert bool(((found.mean(0) - exact.mean(0)).abs() <= 4.5 * 2**0.5 * error).all())
    assert bool(((found.std(0) / exact.std(0)).log().abs() < 4.5 * n**-0.5).all())
    crossed = [((x[:, :1] < 0) & (x > 0)).double().mean(0) for x in (found, exact)]  # .03 to .1 of the paths
    assert bool(((crossed[0] - crossed[1]).abs() < 4.5 * (2 * 0.1 / n) ** 0.5).all())


def test_processes_without_noise_or_physics(generator):
    still = dataclasses.replace(OU, noise=0.0)
    starts = torch.randn(1, 3, 1, generator=generator)
    found = trajectories_given(still, RECORD, starts, torch.zeros(1, 2), [0.0, 1.0, 2.0], 8)
    decay = torch.tensor([0.0, -0.5, -1.0]).exp()
    assert torch.allclose(found[0, :, :, 0], starts[0] * decay, rtol=1e-5)
    with pytest.raises(NotApplicableError, match="the physics must be known for states at later times"):
        trajectories_given(Recorded(), RECORD, starts, torch.zeros(1, 2), [1.0], 8)
