"""The Fokker-Planck solver against Ornstein-Uhlenbeck's closed forms, Boltzmann's law, duality and Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2

from physinv.laws.fokker_planck import FokkerPlanck

torch.set_num_threads(1)
Array = NDArray[np.float64]
RATE, NOISE, SPAN = 1.0, 0.5, 1.0
DECAY = np.exp(-RATE * SPAN)
ADDED = NOISE**2 * (1 - DECAY**2) / (2 * RATE)  # variance of x(SPAN) given x(0)


def restoring(x: Array, t: float) -> Array:
    return -RATE * x


def swaying(x: Array, t: float) -> Array:
    return np.sin(3 * t) - x**3


def quadratic(x: Array, t: float) -> Array:
    return -7 * np.sign(x) * x**2


def gaussian(x: Array, mean: float | Array, variance: float) -> Array:
    return np.asarray(np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance))


def crowded(cells: int, wall: float = 1.3) -> Array:
    """Edges between -wall and +wall, 27 times denser in the middle than at the walls."""
    return wall * np.sinh(np.linspace(-4, 4, cells + 1)) / np.sinh(4)


def test_spatial_order_is_two() -> None:
    errors = []
    cells = np.array([50, 100, 200, 400])
    for n in cells:
        solver = FokkerPlanck(restoring, NOISE, np.linspace(-3, 3, n + 1), rtol=1e-9)
        density = solver.forward(gaussian(solver.centers, 0.5, 0.09), 0.0, SPAN)
        exact = gaussian(solver.centers, 0.5 * DECAY, 0.09 * DECAY**2 + ADDED)
        errors.append(np.abs(density - exact).max())
    order = -np.polyfit(np.log(cells), np.log(errors), 1)[0]
    # The next term is of order 4: relative to the leading one (h / width)^2, .1 at the coarsest grid.
    assert order == pytest.approx(2, abs=0.1)


def test_transition_of_point_masses() -> None:
    solver = FokkerPlanck(restoring, NOISE, np.linspace(-3, 3, 601))
    starts = np.array([-0.7, 0.1234])
    exact = gaussian(solver.centers, starts[:, None] * DECAY, ADDED)
    # A start between two centres adds variance <= h^2 / 4 = 2.5e-5 at t = 0, the scheme w^2 / 12 of D with w <= .2:
    # relative change of the variance < 4e-3 and of the density at its peak half of that.
    np.testing.assert_allclose(solver.transition(starts, SPAN), exact, atol=2e-3 * exact.max())


def test_mass_is_conserved_on_a_crowded_grid_with_a_moving_drift() -> None:
    solver = FokkerPlanck(swaying, 0.4, crowded(150, wall=3))
    density = solver.transition(np.array([-2.0, 0.0, 2.5]), 2.0)
    # Multistep methods keep linear invariants up to the rounding of some 1e3 linear solves.
    np.testing.assert_allclose((density * solver.widths).sum(axis=1), 1, atol=1e-11)
    assert density.min() > -1e-8


def test_forward_and_backward_are_dual() -> None:
    solver = FokkerPlanck(swaying, 0.4, crowded(150, wall=3), rtol=1e-9)
    x = solver.centers
    start, values = gaussian(x, -1.0, 0.1), np.cos(2 * x) + x
    later = (solver.forward(start, 0.5, 1.7) * values * solver.widths).sum()
    earlier = (start * solver.backward(values, 0.5, 1.7) * solver.widths).sum()
    assert later == pytest.approx(earlier, abs=1e-6)  # only the time integration differs: some 1e2 rtol


def test_backward_is_the_conditional_expectation() -> None:
    solver = FokkerPlanck(restoring, NOISE, np.linspace(-4, 4, 401))
    inner = np.abs(solver.centers) < 2  # more than 5 standard deviations from the walls after the decay
    moments = solver.backward(np.stack([solver.centers, solver.centers**2]), 0.0, SPAN)[:, inner]
    mean = solver.centers[inner] * DECAY
    # The scheme's drift is f (1 + f' h^2 / 6 D): 5.3e-4 slower decay over one relaxation time.
    np.testing.assert_allclose(moments[0], mean, rtol=6e-4)
    # Twice that on mean^2 <= .54, and its diffusion D (1 + w^2 / 12), w = f h / D <= .32, on ADDED = .108: 6e-4 + 9e-4.
    np.testing.assert_allclose(moments[1], mean**2 + ADDED, atol=1.5e-3)


def test_equilibrium_of_a_double_well_is_boltzmann() -> None:
    solver = FokkerPlanck(lambda x, t: x - x**3, 1.0, np.linspace(-3, 3, 301))
    x = solver.centers
    density = solver.forward(np.full(300, 1 / 6), 0.0, 60.0)  # slowest rate about .4: e^-24 is left
    weight = np.exp(-(x**4 / 4 - x**2 / 2) / 0.5)
    exact = weight / (weight * solver.widths).sum()
    # Each face takes f at its middle: f'' h^3 / 24 D per cell, in sum h^2 / 24 D |f'(x) - f'(0)| < 1e-3 for |x| < 2.
    inner = np.abs(x) < 2
    np.testing.assert_allclose(density[inner], exact[inner], rtol=1e-3)


def test_numerical_diffusion_is_as_documented() -> None:
    solver = FokkerPlanck(lambda x, t: np.ones_like(x), 0.1, np.linspace(-1, 3, 201), rtol=1e-9)
    density = solver.forward(gaussian(solver.centers, 0.0, 0.01), 0.0, 1.0)
    mass = density * solver.widths
    mean = (mass * solver.centers).sum()
    variance = (mass * (solver.centers - mean) ** 2).sum()
    w = 0.02 / 0.005  # f h / D, cell Peclet number 4
    assert mean == pytest.approx(1, abs=1e-6)
    assert variance == pytest.approx(0.01 + 2 * 0.005 * w / 2 / np.tanh(w / 2), abs=1e-6)


def test_posterior_of_a_gaussian_prior() -> None:
    solver = FokkerPlanck(restoring, NOISE, np.linspace(-4, 4, 801))
    prior = gaussian(solver.centers, 0.3, 0.4)
    final = np.array([-0.5, 0.0, 0.8])
    posterior = solver.posterior(prior, final, SPAN)
    gain = 0.4 * DECAY / (0.4 * DECAY**2 + ADDED)
    mean, variance = 0.3 + gain * (final - 0.3 * DECAY), 0.4 * (1 - gain * DECAY)
    mass = posterior * solver.widths
    found = (mass * solver.centers).sum(axis=1)
    # Errors of relative size w^2 / 12 with w = f h / D <= .16 within the posterior's reach: 2e-3.
    np.testing.assert_allclose(mass.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(found, mean, atol=2e-3)
    np.testing.assert_allclose((mass * solver.centers**2).sum(axis=1) - found**2, variance, rtol=4e-3)


def test_posterior_of_two_atoms_and_both_routes_agree() -> None:
    solver = FokkerPlanck(restoring, NOISE, np.linspace(-4, 4, 801))
    final = np.linspace(-0.8, 0.8, 5)
    atoms = solver.centers[[360, 440]]  # about -+.4
    found = solver.posterior((atoms, np.array([0.3, 0.7])), final, SPAN)
    odds = 0.7 / 0.3 * gaussian(final, atoms[1] * DECAY, ADDED) / gaussian(final, atoms[0] * DECAY, ADDED)
    np.testing.assert_allclose(found[:, 1], odds / (1 + odds), atol=1e-3)
    prior = np.zeros(800)
    prior[[360, 440]] = np.array([0.3, 0.7]) / solver.widths[0]
    masses = solver.posterior(prior, final, SPAN)[:, [360, 440]] * solver.widths[0]
    np.testing.assert_allclose(masses, found, atol=1e-5)  # the same grid: only the time integration differs


def test_quadratic_process_converges_and_matches_brute_force() -> None:
    atoms, odds, final = np.array([-1.0, 1.0]), np.array([0.5, 0.5]), np.linspace(-0.1, 0.1, 9)
    solvers = {n: FokkerPlanck(quadratic, 0.03, crowded(n)) for n in (200, 400, 800)}
    found = {n: solver.posterior((atoms, odds), final, 10.0) for n, solver in solvers.items()}
    steps = [np.abs(found[n] - found[2 * n]).max() for n in (200, 400)]
    assert steps[1] < 0.5 * steps[0]  # between first order (upwind near the starts) and second
    assert steps[1] < 1e-3

    # Euler-Maruyama from x = 1 only; p(x | -1) = p(-x | +1) by symmetry.
    generator = torch.Generator().manual_seed(5)
    dt, paths = 0.002, 25_000
    x, noise = torch.ones(paths), torch.empty(paths)
    for _ in range(round(10 / dt)):
        noise.normal_(generator=generator)
        x += -7 * dt * x * x.abs() + 0.03 * dt**0.5 * noise
    bins = np.linspace(-0.08, 0.08, 17)
    count = np.histogram(x.numpy(), bins)[0]
    plus, minus = count[8:], count[:8][::-1]  # how many came to each x > 0 from +1, and from -1
    share = plus / (plus + minus)
    law = np.append(0, np.cumsum(solvers[800].transition(np.array([1.0]), 10.0)[0] * solvers[800].widths))
    mass = np.diff(np.interp(bins, crowded(800), law))
    expected = mass[8:] / (mass[8:] + mass[:8][::-1])
    z = (share - expected) / np.sqrt(expected * (1 - expected) / (plus + minus))
    assert (z**2).sum() < chi2.ppf(1 - 1e-4, df=8)
    assert expected[-1] > 0.58  # and the answer is not a trivial half


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match="`edges` must be at least 3 increasing numbers"):
        FokkerPlanck(restoring, NOISE, np.array([0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="`noise` must be finite and > 0, got 0"):
        FokkerPlanck(restoring, 0.0, np.linspace(-1, 1, 11))
    solver = FokkerPlanck(restoring, NOISE, np.linspace(-1, 1, 11))
    with pytest.raises(ValueError, match="`x0` must be inside the grid"):
        solver.transition(np.array([2.0]), 1.0)
    with pytest.raises(ValueError, match=r"`t1` must be at least `t0` = 1\.0"):
        solver.forward(np.ones(10), 1.0, 0.5)
    with pytest.raises(ValueError, match="must end in the 10 cells"):
        solver.backward(np.ones(11), 0.0, 0.5)
    far = FokkerPlanck(restoring, 0.05, np.linspace(-4, 4, 401))
    with pytest.raises(ValueError, match="`final` must have a resolvable probability"):
        far.posterior((np.array([0.0]), np.array([1.0])), np.array([3.0]), 0.1)
