"""What data and physics do not allow is said before training, with its size; what they allow is not doubted."""

import dataclasses
import math

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.processes.layout import VectorLayout
from physinv.processes.simulator import Simulator
from physinv.training.doubts import training_warnings
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def in_memory(states, simulator):
    """Trajectories as a dataset, in memory."""
    layout = simulator.layout
    if not layout.space:
        return TrajectoryDataset.from_arrays(states, times=simulator.times)
    axes = dict(zip(layout.axes, layout.coordinates, strict=True))
    return TrajectoryDataset.from_arrays(states, times=simulator.times, coordinates=axes, names=layout.names)


def doubts(simulator, generator, count=40, change=lambda x: x):
    train, valid = (in_memory(change(simulator.simulate(n, generator=generator)), simulator) for n in (count, 10))
    return training_warnings(simulator, train, valid)


@pytest.mark.parametrize("simulator", [Heat(size=8, steps=4), DoubleWell(), OrnsteinUhlenbeck(), Burgers(size=32)])
def test_our_processes_are_not_doubted(simulator, generator):
    assert doubts(simulator, generator) == []


def test_a_single_trajectory_shows_no_spread(generator):
    (line,) = doubts(Heat(size=8, steps=4), generator, count=1)
    assert line.startswith("a single trajectory for train: 2 are the least")


def test_a_constant_part_is_named(generator):
    u = torch.randn(20, 5, 1, 8, generator=generator)
    states = torch.cat([u, torch.full_like(u, 3.0)], 2)
    data = TrajectoryDataset.from_arrays(states, times=range(5), coordinates={"x": range(8)}, names=("u", "c"))
    assert training_warnings(Recorded(), data, data) == [
        "`c` is 3 everywhere, at all times of all trajectories: there is nothing to learn about it; leave it out of "
        "the data."
    ]


@dataclasses.dataclass(frozen=True)
class Recorded(Simulator):
    """Physics that nobody knows."""

    title, equation, known = "recorded", "unknown", False
    layout = VectorLayout("x", 1)

    def drift(self, x, t):
        raise AssertionError("nobody knows it")

    def diffusion(self, t):
        raise AssertionError("nobody knows it")

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        raise AssertionError("nobody knows it")


def test_noise_beyond_the_prior_is_told_with_both_sizes(generator):
    simulator = OrnsteinUhlenbeck(dim=1, noise=1e4, rate=0.1)
    lines = doubts(simulator, generator)
    total = 1e4 * float(simulator.times[-1]) ** 0.5
    assert len(lines) == 1
    size = float(lines[0].partition("deviation of ")[2].partition(" until")[0])
    assert abs(size / total - 1) < 5 / (2 * 5 * 40) ** 0.5  # 200 squares of normal numbers
    assert "the posterior is the prior" in lines[0]


def test_noise_that_float32_loses_is_told_with_its_rounding(generator):
    simulator = OrnsteinUhlenbeck(dim=1, noise=1e-4)
    lines = doubts(simulator, generator, change=lambda x: x + 1e6)
    lost = [line for line in lines if "these data cannot hold it" in line]
    assert len(lost) == 1
    assert "float32 rounds values of 1e+06 to 0.12" in lost[0]


@dataclasses.dataclass(frozen=True)
class Stiff(Simulator):
    """Decay at a rate of 30 over an interval of 1: backward the noise grows by e^30."""

    rate: float = 30.0
    title, equation = "stiff", "dx = -r x dt + dW"
    layout = VectorLayout("x", 1)

    def substeps_in(self, duration):
        return 200

    def drift(self, x, t):
        return -self.rate * x

    def diffusion(self, t):
        return 1.0

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 1), generator=generator, device=device, dtype=dtype)


def test_physics_that_explodes_backward_is_told_with_its_size(generator):
    x = torch.randn(40, 1, 1, generator=generator)
    states = torch.cat([x, 0.1 * torch.randn(40, 1, 1, generator=generator)], 1)
    data = in_memory(states, Stiff(steps=1))
    (line,) = training_warnings(Stiff(steps=1), data, data)
    size = float(line.partition("came from by ")[2].partition(" times")[0])
    # the median of |N(0, .1^2)| = .067, amplified by e^30, over a spread of about 1
    assert size == pytest.approx(0.067 * math.exp(30), rel=0.6)  # 16 of them
    assert "from t = 1 to 0" in line
    assert "ill-posed" in line
    assert "`steps`" in line


def test_physics_that_overflows_backward_is_told_as_well(generator):
    """As a wrong rate does, whose silence would speak for it."""
    states = torch.randn(40, 2, 1, generator=generator)
    physics = Stiff(rate=3000.0, steps=1)
    (line,) = training_warnings(physics, in_memory(states, physics), in_memory(states, physics))
    assert "by more than 1e+15 times their spread" in line
    assert "whether or not it is the right one" in line
