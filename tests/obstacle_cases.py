"""Fields around obstacles, for the tests of projection and smoke."""

import importlib.util

import pytest
import torch

flow = pytest.mark.skipif(importlib.util.find_spec("phi") is None, reason='needs phiflow: pip install "physinv[flow]"')


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def norm(*fields):
    return sum(f.square().sum((1, 2)) for f in fields).sqrt()
