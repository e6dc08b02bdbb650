import math

import pytest
import torch
from trap_cases import normal

from physinv.thermodynamics import bennett, crooks, jarzynski


def works(n, m, spread, difference=0.7, seed=0):
    """Gaussian work, for which Crooks' theorem asks for means of half the variance above the difference."""
    z = normal(n + m, seed=seed)
    half = spread**2 / 2
    return difference + half + spread * z[:n], -difference + half + spread * z[n:]


@pytest.mark.parametrize(("n", "m"), [(20_000, 20_000), (30_000, 3_000)])
def test_all_estimates_find_the_difference(n, m):
    W, V = works(n, m, 1.2)
    for found, sign in ((jarzynski(W), 1), (jarzynski(V), -1), (bennett(W, V), 1)):
        assert abs(sign * found.value - 0.7) < 4 * found.error
    line = crooks(W, V)
    assert abs(line.slope - 1) < 4 * line.error
    assert abs(line.offset - 0.7) < 0.1
    assert line.error < 0.06


def test_bennett_is_right_with_the_error_that_it_tells_and_better_than_one_direction():
    found = [bennett(*works(400, 200, 1.5, seed=i)) for i in range(300)]
    values = torch.tensor([f.value for f in found])
    told = sum(f.error for f in found) / len(found)
    assert abs(float(values.mean()) - 0.7) < 4 * float(values.std()) / len(found) ** 0.5
    assert abs(float(values.std()) / told - 1) < 4 / math.sqrt(2 * len(found)) + 0.05  # error is told to first order
    assert told < jarzynski(works(600, 1, 1.5)[0]).error


def test_the_line_of_crooks_tells_work_in_wrong_units():
    W, V = works(20_000, 20_000, 1.2)
    line = crooks(1.3 * W, 1.3 * V)
    assert abs(line.slope - 1 / 1.3) < 4 * line.error
    assert line.slope < 0.85


def test_few_effective_runs_are_warned_of():
    """The share of exp(-W) is exp(-variance): 5 % at a spread of 1.73."""
    jarzynski(works(20_000, 1, 1.5)[0])
    W, V = works(2000, 2000, 4.0)
    with pytest.warns(UserWarning, match=r"Jarzynski's equality have an effective share of .*take Bennett's"):
        jarzynski(W)
    W, V = works(2000, 2000, 6.0)
    with pytest.warns(UserWarning, match=r"Bennett's estimate have an effective share"):
        bennett(W, V)


def test_work_that_does_not_overlap_gives_no_number():
    """The difference is 1: works of 500 +- 20 and 498 +- 20 leave a gap of hundreds, in which any root is a guess."""
    z = normal(4000)
    with pytest.warns(UserWarning, match=r"does not overlap.* second law the difference is about -49\d.* to 50\d"):
        found = bennett(500 + 20 * z[:2000], 498 + 20 * z[2000:])
    assert math.isnan(found.value)
    assert math.isnan(found.error)


def test_no_work_is_no_difference():
    zero = torch.zeros(100)
    assert abs(bennett(zero, zero).value) < 1e-8
    assert jarzynski(zero).value == 0
