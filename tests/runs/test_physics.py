"""The noise of given physics is told in the unit in which it is given."""

import math

import numpy as np
import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.runs.physics import fitted_noise, physics_of


@pytest.mark.parametrize("length", [2 * math.pi, 1.0])
def test_the_fitted_noise_is_told_as_it_is_given(length, generator):
    """Given the number that is told, the physics is the one that was fitted; also where lengths are converted."""
    states = 0.3 * torch.randn((40, 3, 1, 16), generator=generator)
    data = TrajectoryDataset.from_arrays(
        states, times=[0.0, 0.1, 0.2], coordinates={"x": length * np.arange(16) / 16}, names="u", boundary="periodic"
    )
    given = {"viscosity": 0.01}
    fitted = physics_of(data, "burgers", given)
    told = fitted_noise(data, fitted, "burgers", given)
    again = {**given, "noise": told}
    assert physics_of(data, "burgers", again).inner.noise == pytest.approx(fitted.inner.noise, rel=1e-6)
    assert fitted_noise(data, fitted, "burgers", again) is None
