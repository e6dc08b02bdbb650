"""A given physics is held against the increments: the right one leaves white noise, wrong ones are told apart."""

import numpy as np
import pytest
import torch
from recorded_cases import recorded

from physinv.evaluation.physics.increments import check_physics, fit_noise, physics_warnings
from physinv.processes.given import give_physics
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import build
from physinv.processes.recorded import Recorded
from simulators.fields.burgers import Burgers
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=2, rate=2.0, noise=0.3, horizon=1.0, steps=20)
N = 256 * 20 * 2  # numbers in the residuals


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    states = OU.simulate(256, generator=torch.Generator().manual_seed(0))
    return recorded(tmp_path_factory.mktemp("ou"), VectorLayout("q", 2), OU.times, {"train": states})["train"]


def given(data, name="ornstein-uhlenbeck", **values):
    return give_physics(build(Recorded, data.config["parameters"]), name, {"dim": 2, **values})


def test_the_right_physics_leaves_white_noise(walks):
    (check,) = check_physics(walks, given(walks, rate=2.0, noise=0.3))
    # standard errors: 1 / sqrt N of the mean and of the correlation, sqrt(2 / N) of the variance
    assert check.mean == pytest.approx(0, abs=4.5 / N**0.5)
    assert check.variance == pytest.approx(1, abs=4.5 * (2 / N) ** 0.5)
    assert check.autocorrelation == pytest.approx(0, abs=4.5 / N**0.5)
    assert physics_warnings([check]) == [] or check.explained < 0.5


def test_the_noise_is_fitted(walks):
    """With the right drift to its standard error of 1 / sqrt(2 N)."""
    found = fit_noise(walks, given(walks, rate=2.0, noise=7.0))
    assert found.inner.noise == pytest.approx(0.3, rel=4.5 / (2 * N) ** 0.5)
    assert (found.inner.rate, found.times.tolist()) == (2.0, walks.times.tolist())


def test_wrong_drift_and_wrong_noise_are_told(walks):
    (check,) = check_physics(walks, given(walks, rate=2.0, noise=0.15))
    assert check.variance == pytest.approx(4, rel=4.5 * (2 / N) ** 0.5)
    assert "residuals of variance" in physics_warnings([check])[0]
    # without its drift the decay from the start remains, which goes the same way in every step
    (check,) = check_physics(walks, fit_noise(walks, given(walks, rate=1e-6)))
    assert check.autocorrelation > 0.2
    assert check.explained == pytest.approx(0, abs=1e-4)
    assert "remember the last step" in physics_warnings([check])[0]


def test_coloured_noise_and_other_units(tmp_path):
    """Burgers on a box of length 1: variance 1 by the covariance of its own noise, which is in units of the data."""
    burgers, turn = Burgers(size=16, viscosity=0.3, noise=0.4, horizon=0.2, steps=4), 2 * np.pi
    states = burgers.simulate(100, generator=torch.Generator().manual_seed(0)) / turn
    layout = burgers.layout
    layout = type(layout)("u", "x", [np.arange(16) / 16], "PERIODIC")
    data = recorded(tmp_path, layout, burgers.times, {"train": states})["train"]
    physics = give_physics(build(Recorded, data.config["parameters"]), "burgers", {"viscosity": 0.3 / turn**2})
    found = fit_noise(data, physics)
    # 100 x 4 x 10 noisy modes; the flow stretches noise within an interval, by less than 5 %
    assert found.inner.noise == pytest.approx(0.4, rel=0.05 + 4.5 / (2 * 4000) ** 0.5)
    (check,) = check_physics(data, found)
    assert check.name == "u"
    assert check.variance == pytest.approx(1, abs=1e-3)
    assert abs(check.autocorrelation) < 0.1
    (wrong,) = check_physics(data, fit_noise(data, give_physics(physics.recorded, "burgers", {"viscosity": 0.5})))
    assert wrong.explained < check.explained
