import pytest
import torch
from trap_cases import F64, gaussian, grid_log_z, normal, source

from physinv.thermodynamics import HMC, MALA, Metropolis, tuned

MOVES = [Metropolis(0.8), MALA(0.15), HMC(0.35, 4)]
N = 20_000


def well(x):
    return 2 * (x[:, 0] ** 2 - 1) ** 2 + x[:, 0] / 2


def exact_states(n):
    """Draws of the tilted double well by its distribution function."""
    x = torch.linspace(-4, 4, 20_001, dtype=F64)
    ladder = (-well(x[:, None])).softmax(0).cumsum(0)
    return x[torch.searchsorted(ladder, torch.rand(n, dtype=F64, generator=source())).clamp(max=20_000)][:, None]


@pytest.mark.parametrize("move", MOVES, ids=lambda m: type(m).__name__)
def test_a_law_stays_as_it_is(move):
    """Means of x and x^2 over 20000 independent chains, to four standard errors; no term may have a wrong sign."""
    x, generator = exact_states(N), source(1)
    grid = torch.linspace(-4, 4, 20_001, dtype=F64)
    p = (-well(grid[:, None])).softmax(0)
    for _ in range(25):
        x = move(well, x, generator=generator).x
    for power in (1, 2):
        wanted = float((p * grid**power).sum())
        values = x[:, 0] ** power
        assert abs(float(values.mean()) - wanted) < 4 * float(values.std()) / N**0.5, power


@pytest.mark.parametrize("move", MOVES, ids=lambda m: type(m).__name__)
def test_other_states_come_to_the_law(move):
    x, generator = torch.full((4000, 1), 2.5, dtype=F64), source()
    for _ in range(80):
        x = move(gaussian(0.49, 0.5), x, generator=generator).x
    assert abs(float(x.mean()) - 0.5) < 4 * 0.7 / 4000**0.5
    assert abs(float(x.var()) - 0.49) < 4 * 0.49 * (2 / 4000) ** 0.5


def test_a_langevin_step_has_the_size_that_it_is_given():
    """Down a slope of 2 nothing is refused: steps of .3 have the mean -.6 and the variance .6."""
    found = MALA(0.3)(lambda x: 2 * x[:, 0], torch.zeros(N, 1, dtype=F64), generator=source())
    assert bool(found.accepted.all())
    assert abs(float(found.x.mean()) + 0.6) < 4 * (0.6 / N) ** 0.5
    assert abs(float(found.x.var()) - 0.6) < 4 * 0.6 * (2 / N) ** 0.5


def test_without_the_test_the_law_is_another_one():
    """Euler's step of size e on N(0, 1) has the variance 1 / (1 - e/2): MALA with the same step has 1."""
    size, x, y, generator = 0.8, normal(N, 1), normal(N, 1), source()
    for _ in range(20):
        x = x - size * x + (2 * size) ** 0.5 * torch.randn(N, 1, dtype=F64, generator=generator)
        y = MALA(size)(gaussian(1.0), y, generator=generator).x
    error = 4 * (2 / N) ** 0.5
    assert abs(float(x.var()) - 1 / (1 - size / 2)) < error / (1 - size / 2)
    assert abs(float(y.var()) - 1) < error


@pytest.mark.parametrize("move", MOVES, ids=lambda m: type(m).__name__)
def test_what_has_no_energy_is_refused_and_energies_are_those_of_the_states(move):
    def box(x):
        return torch.where(x.abs() < 1, x**2, torch.nan)[:, 0]

    x, generator = torch.zeros(500, 1, dtype=F64), source()
    for _ in range(20):
        x, energy, accepted = move(box, x, generator=generator)
        assert bool((x.abs() < 1).all())
        torch.testing.assert_close(energy, box(x))
    assert 0 < float(accepted.double().mean()) < 1


def test_components_of_size_0_stay():
    x = normal(100, 2)
    for kind in (Metropolis, MALA, HMC):
        y = kind(torch.tensor([[0.5, 0.0]], dtype=F64))(gaussian(1.0), x, generator=source()).x
        assert bool((y[:, 1] == x[:, 1]).all())
        assert bool((y[:, 0] != x[:, 0]).any())


@pytest.mark.parametrize("move", [Metropolis(100.0), MALA(1e-4), HMC(1e-3, 4)], ids=lambda m: type(m).__name__)
def test_sizes_are_tuned_to_the_share_of_accepted_proposals(move):
    move, x = tuned(move, gaussian(1.0), normal(1000, 10), rounds=150, generator=source())
    found = [move(gaussian(1.0), x, generator=source(i)).accepted.double().mean() for i in range(10)]
    assert abs(float(sum(found)) / 10 - move.wanted) < 0.12


def test_a_wider_law_takes_moves_that_are_wider():
    assert Metropolis(0.5).scaled(2).size == 1.0
    assert MALA(0.5).scaled(2).size == 2.0
    assert HMC(0.5, 3).scaled(2) == HMC(1.0, 3)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match=r"`size` of MALA must not be negative, got -1"):
        MALA(-1.0)
    with pytest.raises(ValueError, match=r"`leaps` must be at least 1, got 0"):
        HMC(0.1, 0)


def test_the_constant_of_the_tests_is_right():
    assert abs(grid_log_z(gaussian(1.0), reach=10) - 0.9189385332) < 1e-8
