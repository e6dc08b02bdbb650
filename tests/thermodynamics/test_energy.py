import torch
from trap_cases import F64, Trap, gaussian, normal

from physinv.thermodynamics.energy import along, geometric, reduced, slope
from simulators.vectors.double_well import DoubleWell


def test_energies_are_over_the_temperature():
    well, x = DoubleWell(temperature=0.25), normal(10, 1)
    torch.testing.assert_close(reduced(well)(x), 4 * (x[:, 0] ** 2 - 1) ** 2)
    torch.testing.assert_close(slope(reduced(well), x)[1], 16 * x * (x**2 - 1))


def test_paths_begin_and_end_where_they_are_asked_to():
    x = normal(10, 1)
    path = geometric(gaussian(1.0), gaussian(4.0, 1.0))
    torch.testing.assert_close(path(0.0)(x), gaussian(1.0)(x))
    torch.testing.assert_close(path(1.0)(x), gaussian(4.0, 1.0)(x))
    at = along(Trap(), "centre", 0.1, 0.3)
    assert (at(0.0).centre, at(1.0).centre) == (0.1, 0.3)
    assert abs(at(0.25).centre - 0.15) < 1e-12
    assert x.dtype == F64
