"""Stored times are not the solver's steps: few of them, of any registered process, leave the law at T as it is."""

import dataclasses
import importlib.util
import math

import pytest
import torch

from physinv.processes.registry import simulators

SMALL = {
    "advection-diffusion": {"size": 16, "horizon": 1.5},
    "allen-cahn": {"size": 16},
    "buoyancy": {"size": 16, "horizon": 0.2, "steps": 10},
    "burgers": {"size": 64},
    "gray-scott": {"size": 16, "spin_up": 10.0},
    "heat": {"size": 16},
    "heat-conductivity": {"size": 16},
    "heat-walls": {"size": 16},
    "kpz": {"size": 64},
    "kuramoto-sivashinsky": {"size": 32, "spin_up": 20.0, "horizon": 10.0},
    "navier-stokes": {"size": 16, "spin_up": 0.5},
    "navier-stokes-3d": {"size": 8},
    "particles": {"particles": 6},
    "particles-underdamped": {"particles": 6},
    "wave": {"size": 32},
}


def deviation(sim, starts, times=None):
    """Root mean square over components of the standard deviation at the end."""
    x = sim.initial(starts, generator=torch.Generator().manual_seed(1))
    end = sim.run(x, times, generator=torch.Generator().manual_seed(2))[:, -1]
    return float(sim.layout.moving(end).double().var(0).mean().sqrt())


@pytest.mark.parametrize("name", sorted(set(simulators()) - {"recorded"}))
def test_few_stored_times_give_the_same_spread_at_the_end(name):
    if name == "buoyancy" and importlib.util.find_spec("phi") is None:
        pytest.skip('needs phiflow: pip install "physinv[flow]"')
    sim = simulators()[name](**SMALL.get(name, {}))
    starts = 4000 if len(sim.shape) == 1 else 24 if name == "buoyancy" else 100
    usual = deviation(sim, starts)
    # Starts are the same, noise is not: one component's relative standard error is 1/sqrt(2 n), and the difference of
    # two has sqrt(2) of it.  Four of these for vectors; fields have many components, which are far from independent.
    error = 4 * math.sqrt(1 / starts) if len(sim.shape) == 1 else 0.1
    few = [dataclasses.replace(sim, steps=n) for n in (1, 2)]
    for found in (*(deviation(s, starts) for s in few), deviation(sim, starts, sim.times[[0, -1]])):
        assert found == pytest.approx(usual, rel=error)
    assert all(s.substeps * s.steps >= sim.horizon / s.longest_step * (1 - 1e-6) for s in (sim, *few))


def test_every_simulator_knows_its_longest_step_and_keeps_to_it_by_default():
    for name, cls in simulators().items():
        if name != "recorded":
            sim = cls()
            assert sim.longest_step is not None
            # the step of the default parameters is the one that they name, `inner`
            assert sim.substeps == max(getattr(sim, "inner", 1), 1) or name == "heat-conductivity"
