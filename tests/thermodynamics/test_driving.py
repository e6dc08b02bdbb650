import math
from dataclasses import dataclass

import pytest
import torch
from trap_cases import F64, gaussian, normal, source

from physinv.thermodynamics import (
    HMC,
    MALA,
    Metropolis,
    annealed_importance,
    drive,
    geometric,
    sandwich,
    simulated_annealing,
)
from physinv.thermodynamics.energy import slope
from physinv.thermodynamics.moves import Move, Moved

D = 10
FIRST, LAST = 1 / 9, 1 / 4  # precisions
PATH = geometric(gaussian(1 / FIRST), gaussian(1 / LAST))
RATIO = D / 2 * math.log(FIRST / LAST)  # log Z_1 / Z_0


@dataclass(frozen=True)
class Perfect(Move):
    """Independent draws of a round Gaussian around 0, whose precision is that of its energy."""

    wanted = 1.0

    def __call__(self, energy, x, *, generator=None):
        precision = 2 * float(energy(torch.ones(1, D, dtype=F64))) / D
        y = torch.randn(x.shape, dtype=F64, generator=generator) / precision**0.5
        return Moved(y, energy(y), torch.ones(len(x), dtype=torch.bool))


@dataclass(frozen=True)
class Unadjusted(Move):
    """The same step as MALA without the test: for its bias alone, never in an estimator."""

    wanted = 1.0

    def __call__(self, energy, x, *, generator=None):
        y = x - self.size * slope(energy, x)[1]
        y = y + (2 * self.size) ** 0.5 * torch.randn(x.shape, dtype=F64, generator=generator)
        return Moved(y, energy(y), torch.ones(len(x), dtype=torch.bool))


def test_perfect_transitions_leave_the_gap_that_the_levels_make():
    """The sum of both divergences of neighbouring laws, d/2 (change of precision) (9 - 4) / levels."""
    found = sandwich(
        PATH, 3 * normal(4000, D), 2 * normal(4000, D, seed=1), Perfect(0.0), levels=50, generator=source()
    )
    gap = D / 2 * (LAST - FIRST) * (1 / FIRST - 1 / LAST) / 50
    assert abs(found.gap - gap) < 4 * found.gap_error
    assert found.gap_error < gap / 4
    assert found.bounds[0] < RATIO < found.bounds[1]


@pytest.mark.parametrize(("move", "granted"), [(HMC(1.8, 2), 0.02), (MALA(3.0), 0.03)], ids=["HMC", "MALA"])
def test_bounds_from_both_sides_close_in(move, granted):
    """Gaps fall as one over the levels: with 100 ten times what benchmarks/thermodynamics.py must show with 1000."""
    found = sandwich(PATH, 3 * normal(1000, D), 2 * normal(1000, D, seed=1), move, levels=100, generator=source())
    assert -3 * found.gap_error < found.gap < 10 * granted
    for weights, sign in ((found.forward, 1), (found.backward, -1)):
        assert abs(sign * weights.log_mean - RATIO) < 4 * weights.error
        assert weights.error < 0.02
    assert found.bounds[0] < RATIO + 3 * found.forward.lower_error
    assert found.bounds[1] > RATIO - 3 * found.backward.lower_error


def unadjusted_bound(size, levels):
    """The mean log weight of AIS with unadjusted moves, whose states stay Gaussian: s -> (1 - h l)^2 s + 2 h."""
    total, s = 0.0, 1 / FIRST
    for k in range(1, levels + 1):
        total -= D / 2 * (LAST - FIRST) / levels * s
        precision = FIRST + (LAST - FIRST) * k / levels
        s = (1 - size * precision) ** 2 * s + 2 * size
    return total


@pytest.mark.parametrize(("size", "bias"), [(0.6, -0.22), (1.6, -0.65)])
def test_an_unadjusted_move_is_biased_whatever_the_number_of_runs_and_levels(size, bias):
    """Its variance is 1 / (l (1 - h l / 2)): in the limit the log is off by d/2 log((1 - h l_1/2) / (1 - h l_0/2))."""
    assert abs(unadjusted_bound(size, 100_000) - RATIO - bias) < 0.003
    assert abs(D / 2 * math.log((1 - size * LAST / 2) / (1 - size * FIRST / 2)) - bias) < 0.001
    x = 3 * normal(1000, D)
    wrong = annealed_importance(PATH, x, Unadjusted(size), levels=100, generator=source())
    right = annealed_importance(PATH, x, MALA(size), levels=100, generator=source())
    assert abs(wrong.lower - unadjusted_bound(size, 100)) < 4 * wrong.lower_error
    assert wrong.log_mean < RATIO - 5 * wrong.error
    assert abs(right.log_mean - RATIO) < 4 * right.error


def test_work_is_counted_before_the_relaxation():
    """Two changes with a perfect move between: by hand, and not the other way round."""
    x = normal(5, D)
    levels = [gaussian(1.0), gaussian(0.5), gaussian(0.25)]
    y = Perfect(0.0)(levels[1], x, generator=source(3)).x
    wanted = levels[1](x) - levels[0](x) + levels[2](y) - levels[1](y)
    torch.testing.assert_close(drive(levels, x, Perfect(0.0), generator=source(3)).work, wanted)


def test_moves_may_differ_from_level_to_level():
    x, levels = normal(5, D), [gaussian(1.0)] * 4
    found = drive(levels, x, [MALA(0.1), Metropolis(0.0)], generator=source())
    assert bool((found.work == 0).all())
    assert found.weights.log_mean == 0
    with pytest.raises(ValueError, match=r"one for each of the 2 energies between, got 1"):
        drive(levels, x, [MALA(0.1)])
    with pytest.raises(ValueError, match=r"`energies` must hold the first and the last one at least, got 1"):
        drive(levels[:1], x, [])


def test_simulated_annealing_finds_the_lower_of_two_wells():
    def energy(x):
        return 20 * (x[:, 0] ** 2 - 1) ** 2 + 4 * x[:, 0]

    x = torch.ones(200, 1, dtype=F64)  # all in the upper one
    cold = [2 ** (-k / 10) for k in range(100)]
    best, least = simulated_annealing(energy, x, Metropolis(1.0), [10 * T for T in cold], generator=source())
    assert float((best < 0).double().mean()) > 0.95
    torch.testing.assert_close(least, energy(best))
    grid = torch.linspace(-2, 0, 20_001, dtype=F64)[:, None]
    assert abs(float(least.min() - energy(grid).min())) < 1e-3
    with pytest.raises(ValueError, match=r"`temperatures` must be positive, got 0"):
        simulated_annealing(energy, x, Metropolis(1.0), [0.0])


def test_a_hard_wall_costs_the_runs_behind_it():
    """From N(0, 1) to its right half: Z_1 / Z_0 = 1/2."""

    def half(x):
        return torch.where(x[:, 0] > 0, gaussian(1.0)(x), torch.inf)

    path, first = geometric(gaussian(1.0), half), normal(4000, 1)
    found = annealed_importance(path, first, Metropolis(1.0), levels=10, generator=source())
    assert abs(float(found.log_mean) - math.log(0.5)) < 4 * float(found.error)
