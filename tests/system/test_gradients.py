"""One solver step of every registered simulator is differentiable: in the state and in each float parameter.

``torch.autograd.gradcheck`` holds the derivatives against central differences, in double precision, noise included.
"""

import dataclasses
import math

import pytest
import torch

from physinv.processes.parameters import build
from physinv.processes.registry import simulators

TINY = {
    "heat": {"size": 4, "dimension": 1},
    "ornstein-uhlenbeck": {"dim": 2},
    "double-well": {"dimension": 2},
    "cox-ingersoll-ross": {"noise": 0.5},
    "lorenz-96": {"sites": 5},
    "multiplicative-heat": {"size": 4},
    "burgers": {"size": 8},
    "kuramoto-sivashinsky": {"size": 32, "spin_up": 1.0},
    "navier-stokes": {"size": 4},
    "navier-stokes-3d": {"size": 4},
    "allen-cahn": {"size": 8, "dimension": 1},
    "gray-scott": {"size": 4, "spin_up": 5.0},
    "kpz": {"size": 16},
    "particles": {"particles": 3},
    "particles-underdamped": {"particles": 3},
    "advection-diffusion": {"size": 4},
    "heat-conductivity": {"size": 4, "dimension": 1},
    "heat-walls": {"size": 4, "dimension": 1},
    "wave": {"size": 4},
}
"""Settings that keep the Jacobian small; a simulator without an entry is taken as it is."""

LENGTH = 0.01
"""Of the step."""

SKIPPED = {
    "recorded": "has no physics",
    "buoyancy": "its pressure solve is iterative, derivatives are as exact as its `tolerance`",
}
"""Simulators without derivatives, and why."""

NOT_IN = {
    "horizon": "the times of a step are arguments of it",
    "box": "0 means that there is no box",
}
"""Parameters without derivatives, and why."""

MOST = 192  # numbers in a state: the numerical Jacobian takes two steps for each


def step_once(simulator, x, dw, length):
    t = x.new_zeros(len(x))
    return simulator.step(simulator, x, t, t + length, dw)


def floats(simulator):
    return [f.name for f in dataclasses.fields(simulator) if isinstance(f.default, float) and f.name not in NOT_IN]


def lowest(simulator, name):
    return next(f.metadata["minimum"] for f in dataclasses.fields(simulator) if f.name == name)


@pytest.mark.parametrize("name", sorted(simulators()))
def test_a_step_is_differentiable(name):
    if name in SKIPPED:
        pytest.skip(SKIPPED[name])
    sim = build(simulators()[name], TINY.get(name, {}))
    raised = {n: getattr(sim, n) + 0.01 for n in floats(sim) if getattr(sim, n) == lowest(sim, n)}
    sim = dataclasses.replace(sim, **raised)  # differences look at both sides
    generator, length = torch.Generator().manual_seed(1), LENGTH
    states = 2 if math.prod(sim.shape) <= 64 else 1  # the Jacobian of two is four times as large
    x = sim.initial(states, generator=generator, dtype=torch.float64)
    assert x[0].numel() <= MOST, f"give `{name}` a tiny setting"
    dw = length**0.5 * torch.randn((sim.step.draws, *x.shape), generator=generator, dtype=torch.float64)
    x = step_once(sim, x, dw, length).detach()  # off the kinks and symmetries that a start may have
    assert torch.autograd.gradcheck(lambda y: step_once(sim, y, dw, length), (x.requires_grad_(),))

    names = floats(sim)
    values = tuple(torch.tensor(getattr(sim, n), dtype=torch.float64, requires_grad=True) for n in names)

    def of_parameters(*given):
        return step_once(dataclasses.replace(sim, **dict(zip(names, given, strict=True))), x.detach(), dw, length)

    out = of_parameters(*values)
    assert torch.allclose(out, step_once(sim, x, dw, length), atol=1e-12)  # a tensor stands for a number
    if out.requires_grad:
        assert torch.autograd.gradcheck(of_parameters, values)
    gradients = torch.autograd.grad(out.square().sum(), values, allow_unused=True) if out.requires_grad else []
    felt = {n for n, g in zip(names, gradients, strict=False) if g is not None and float(g.abs()) > 0}
    assert felt, f"no float parameter of `{name}` acts on a step"
