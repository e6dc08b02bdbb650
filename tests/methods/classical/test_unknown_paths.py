"""Coordinates and density of paths whose parameters are unknown, against the closed forms of the heat equation."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from physinv.methods.classical.monte_carlo.laplace import linearise, newton
from physinv.methods.classical.monte_carlo.path import PathObjective, fit_path_model, values
from physinv.methods.classical.monte_carlo.unknown.bent import bent
from physinv.methods.problem import NotApplicableError
from physinv.processes.parameters import build
from simulators.fields.heat import Heat

HEAT = {"size": 8, "dimension": 1, "diffusivity": {"log_uniform": [0.5, 4.0]}}


def paths(**changes):
    """An objective of one trajectory, and the coordinates of its true initial state without noise on the way."""
    process = build(Heat, HEAT | changes)
    states = process.simulate(1, generator=torch.Generator().manual_seed(3))
    model = fit_path_model(process, generator=torch.Generator().manual_seed(0))
    objective = PathObjective(model, process.hidden(states[:, -1]))
    c = torch.zeros(1, objective.numbers)
    c[:, : model.law.numbers] = model.law.standardise(states[:, 0])
    return process, objective, c


def density(process, objective, c):
    """Minus the log density of initial state, diffusivity and final state, up to a constant, in closed form."""
    law = objective.model.law
    x = law.root(c[:, : law.numbers], objective.final).double()
    at = dataclasses.replace(process.inner, diffusivity=float(process.values(x)[0, 0]))
    x, y = process.state(x), process.state(objective.final).double()
    t0, t1 = torch.zeros(1, dtype=torch.float64), torch.full((1,), at.horizon, dtype=torch.float64)
    gap = (y - at.unmodes(at.decay(t0, t1, x) * at.modes(x), x)).flatten()
    unit = torch.eye(8, dtype=torch.float64)[:, None]
    seen = torch.distributions.MultivariateNormal(
        torch.zeros(8, dtype=torch.float64), at.apply_covariance(unit, t0.expand(8), t1.expand(8)).flatten(1)
    )
    return c[:, : law.numbers].double().square().sum() / 2 - seen.log_prob(gap)


def moved(c, place, z):
    out = c.clone()
    out[:, place] = z
    return out


def test_the_last_step_has_the_noise_that_the_parameter_leaves():
    """One exact step; covariances are larger by a thousandth, which is .004 in eight log variances, and in squares."""
    process, objective, c = paths(steps=1)
    every = [moved(c, 8, z) for z in (-1.5, 0.0, 1.5)]
    ours = torch.cat([values(objective, x) for x in every])
    want = torch.stack([density(process, objective, x) for x in every])
    assert float((want - want[0]).abs().max()) > 3
    assert ours - ours[0] == pytest.approx((want - want[0]).tolist(), rel=0.002, abs=0.01)


def test_noise_that_is_integrated_out_leaves_the_density_of_initial_states():
    """Linear, so that nothing is lost: the same closed form at the values of the parameter that were looked at."""
    process, objective, c = paths(steps=3)
    some, near = bent(objective, linearise(objective, c), late=1.0)
    assert some.numbers == 9
    nodes = some.end.nodes[0].float()
    line = near.centre + (nodes[:, None] - near.centre[:, 8:9]) * near.along(slice(8, 9))[0]
    for z, x in zip(nodes, line, strict=True):
        assert float(x[8]) == pytest.approx(float(z), abs=1e-5)
    ours = torch.cat([values(some, x[None]) for x in line])
    want = torch.stack([density(process, some, some.shifted(x[None])) for x in line])
    assert ours - ours[3] == pytest.approx((want - want[3]).tolist(), rel=0.01, abs=0.02)


def test_coordinates_follow_the_most_probable_path():
    """Two deviations to either side, where it is looked for, the path is the best; a straight line misses by nats."""
    _, objective, c = paths(steps=3)
    some, near = bent(objective, linearise(objective, c))
    held = slice(8, 9)
    assert float(some.bend.terms[..., held].abs().max()) < 1e-6  # nothing along the parameter: volumes stay
    for sign in (-2, 2):
        line = near.centre + sign * near.variances(held).sqrt() * near.along(held)[:, 0]
        best = some.shifted(line)
        for _ in range(3):
            best = newton(objective, linearise(objective, best), held)
        assert torch.equal(best[:, held], line[:, held])
        lowest = float(values(objective, best))
        assert float(values(some, line)) == pytest.approx(lowest, abs=0.05)  # after three Gauss-Newton steps
        assert float(values(objective, line)) > lowest + 5


def test_noise_of_the_way_stays_where_several_parameters_are_unknown():
    _, objective, c = paths(steps=2)
    two = replace(
        objective.model.law, process=replace(objective.model.simulator, priors=objective.model.simulator.priors * 2)
    )
    with pytest.raises(NotApplicableError, match="`late` takes whole final states and one unknown parameter"):
        bent(replace(objective, model=replace(objective.model, law=two)), linearise(objective, c), late=1.0)
