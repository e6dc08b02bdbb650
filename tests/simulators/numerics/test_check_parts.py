"""Equations of a user whose symbol or nonlinear part returns no modes are refused in one line."""

import pytest
import torch

from simulators.fields.burgers import Burgers
from simulators.numerics.spectral import squared_wavenumbers

CASES = {
    "a number": ({"symbol": lambda self, like: -1.0}, r"`symbol` of Own .*modes of shape \(2, 1, 9\), got -1\.0"),
    "nothing": ({"symbol": lambda self, like: None}, "`symbol` of Own .* got None"),
    "a mode less": (
        {"symbol": lambda self, like: squared_wavenumbers(like)[..., 1:]},
        r"`symbol` of Own .* got Tensor of shape \(1, 1, 8\); make it of squared_wavenumbers",
    ),
    "a field": (
        {"nonlinear": lambda self, y, like: self.unmodes(y, like)},
        r"`nonlinear` of Own must return modes of shape \(2, 1, 9\), got .* \(2, 1, 16\); give self\.modes",
    ),
    "one argument": (
        {"nonlinear": lambda self, y: y},
        r"`nonlinear\(y, like\)` of Own fails: TypeError: .* takes 2 positional arguments but 3 were given",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_returns_no_modes_is_named(case):
    parts, told = CASES[case]
    process = type("Own", (Burgers,), parts)(size=16, steps=2)
    with pytest.raises(ValueError, match=told) as found:
        process.simulate(2, generator=torch.Generator().manual_seed(0))
    assert "\n" not in str(found.value)
