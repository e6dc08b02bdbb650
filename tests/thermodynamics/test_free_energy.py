import json
import math

import pytest
import torch
from trap_cases import Trap

from physinv.thermodynamics import free_energy
from simulators.vectors.double_well import DoubleWell


def test_a_dragged_trap():
    """v^2 (tau - 1 + exp(-tau)) for v = 1, tau = 2, up to the square of a step; the free energy stays."""
    found = free_energy(Trap(), "centre", 0.0, 2.0, duration=2.0, runs=4000)
    wanted = 1 + math.exp(-2)
    for work in (found.work, found.back):
        assert abs(float(work.mean()) - wanted) < 4 * float(work.std()) / 4000**0.5
        assert abs(float(work.var()) - 2 * wanted) < 4 * 2 * wanted * (2 / 4000) ** 0.5
    for name, estimate in found.estimates.items():
        assert abs(estimate.value) < 4 * estimate.error, name


def test_the_first_and_the_last_change_are_half_as_large():
    """In two steps of .3 the mean follows the trap by .3 of its lag each; another order of changes takes 1.7."""
    found = free_energy(Trap(), "centre", 0.0, 2.0, duration=0.6, runs=20_000, steps=2)
    lag = wanted = 0.0
    for change in (0.5, 1.0, 0.5):
        wanted += ((lag + change) ** 2 - lag**2) / 2
        lag = 0.7 * (lag + change)
    assert wanted == pytest.approx(1.5725)
    for work in (found.work, found.back):
        assert abs(float(work.mean()) - wanted) < 4 * float(work.std()) / 20_000**0.5


def test_a_stiffening_trap():
    """ln 2, from work of .9361 there and -.5465 back in a time of 1 (moments of a Gaussian, solved as an ODE)."""
    found = free_energy(Trap(), "stiffness", 1.0, 4.0, duration=1.0, runs=4000, steps=200)
    for work, wanted in ((found.work, 0.9361), (found.back, -0.5465)):
        assert abs(float(work.mean()) - wanted) < 4 * float(work.std()) / 4000**0.5
    for name, estimate in found.estimates.items():
        assert abs(estimate.value - math.log(2)) < 4 * estimate.error, name
    assert abs(found.line.slope - 1) < 4 * found.line.error
    assert found.accepted > 0.97


def test_any_number_of_steps_is_right_and_what_is_doubtful_is_told():
    """Five steps of .4 are often refused: the states relax too slowly, and the free energy is right all the same."""
    found = free_energy(Trap(), "stiffness", 1.0, 4.0, duration=2.0, runs=2000, steps=5)
    assert abs(found.estimates["bennett"].value - math.log(2)) < 4 * found.estimates["bennett"].error
    assert any("raise `steps`" in told for told in found.warnings)


def test_the_same_seed_gives_the_same_work_and_json_holds_it():
    a, b, c = (free_energy(Trap(), "centre", 0.0, 1.0, duration=0.5, runs=100, steps=5, seed=s) for s in (0, 0, 1))
    assert torch.equal(a.work, b.work)
    assert not torch.equal(a.work, c.work)
    told = json.loads(json.dumps(a.as_dict()))
    assert told["difference"] == told["difference_in_energy"] == a.estimates["bennett"].value
    assert told["work"]["mean"] == float(a.work.mean())
    assert told["work_backward"]["error"] == pytest.approx(float(a.back.std()) / 10)  # root of 100 runs
    assert told["dissipated"] == pytest.approx(float(a.work.mean() + a.back.mean()))


def test_fast_driving_is_warned_of():
    found = free_energy(Trap(), "centre", 0.0, 8.0, duration=0.1, runs=200, steps=10)
    assert any("an effective share of" in told for told in found.warnings)


def test_estimates_that_contradict_each_other_are_warned_of():
    """Wells 1000 times as high, at once: the effective share looks fine, since no run of those that decide is there."""
    found = free_energy(DoubleWell(), "barrier", 1.0, 1000.0, duration=0.001, runs=200, seed=0)
    assert found.estimates["jarzynski backward"].effective > 0.05
    assert any(told.startswith("Jarzynski's equality backward gives ") for told in found.warnings)
    slow = free_energy(Trap(), "stiffness", 1.0, 4.0, duration=2.0, runs=1000, steps=200)
    assert not slow.warnings


@pytest.mark.parametrize(
    ("name", "first", "last", "duration", "told"),
    [
        ("stifness", 1.0, 2.0, 1.0, "Trap has no parameter `stifness`; did you mean `stiffness`"),
        ("stiffness", 0.0, 2.0, 1.0, "`stiffness` of Trap must be above 0, got 0.0"),
        ("steps", 1.0, 2.0, 1.0, "`steps` of Trap is no real number"),
        ("horizon", 1.0, 2.0, 1.0, "`horizon` of Trap does not change its energy"),
        ("centre", 0.0, 1.0, 0.0, "`duration` must be above 0, got 0"),
    ],
)
def test_mistakes_are_told(name, first, last, duration, told):
    with pytest.raises(ValueError, match=told):
        free_energy(Trap(), name, first, last, duration=duration, runs=100)
