"""Problems of four processes, each generated once for a file of tests."""

import pytest
from classical_cases import make

from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.fixture(scope="module")
def heat(tmp_path_factory):
    return make(Heat(steps=2), tmp_path_factory.mktemp("heat") / "d")


@pytest.fixture(scope="module")
def ou(tmp_path_factory):
    simulator = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, horizon=1.0, steps=2)
    return make(simulator, tmp_path_factory.mktemp("ou") / "d", train=4000, test=50)


@pytest.fixture(scope="module")
def burgers(tmp_path_factory):
    return make(
        Burgers(size=32, viscosity=0.1, horizon=1.0, steps=1, inner=8), tmp_path_factory.mktemp("b") / "d", train=500
    )
