"""A reconstruction names the method that was chosen, for tables and figures."""

import pytest
import torch

from physinv.posterior.reconstruction import Reconstruction
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.mark.parametrize(
    ("run", "called"),
    [({"notes": {"chosen": "increments"}}, "auto (increments)"), ({"notes": {}}, "auto"), ({}, "auto")],
)
def test_the_method_is_called_with_what_it_chose(run, called):
    state = torch.zeros(1, 2)
    info = {"method": "auto", "run": run}
    assert Reconstruction(OrnsteinUhlenbeck(dim=2, steps=2), state, state, state[:, None], info).called == called
