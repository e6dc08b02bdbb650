"""Networks from outside: what can't be stored, or mixes states, is refused; what draws at random is reproducible."""

import sys

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.runs.run import train_run
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

MODULE = '''
import random
import torch
from torch import nn


class Body(nn.Module):
    """Features and time through one hidden layer."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs + 1, 8), nn.SiLU(), nn.Linear(8, outputs))

    def forward(self, features, t):
        return self.body(torch.cat([features, t[:, None]], 1))


class Dropped(Body):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.body.insert(2, nn.Dropout(0.5))


class Unstored(Body):
    """Keeps a random number outside of its buffers."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.shift = random.random()

    def forward(self, features, t):
        return super().forward(features + 3 * self.shift, t)


class Mixing(Body):
    def forward(self, features, t):
        return super().forward(features - features.mean(0), t)


class Empty(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, features, t):
        return torch.zeros(len(features), self.outputs)
'''


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Train a network of the module for some updates, and return its weights."""
    root = tmp_path_factory.mktemp("others")
    (root / "their_networks.py").write_text(MODULE)
    generate(DatasetPlan(OrnsteinUhlenbeck(steps=4), {"train": 40, "valid": 20}), root / "data")
    data = [TrajectoryDataset(root / "data" / "data" / split) for split in ("train", "valid")]
    sys.path.append(str(root))

    def trained(network, run, steps=6, **options):
        settings = Settings(network=f"their_networks:{network}", validate_every=2)
        train_run(run, *data, method="physinv", settings=settings, budget=Budget(steps=steps), **options)
        return (run / "model.safetensors").read_bytes()

    yield trained
    sys.path.remove(str(root))


def test_what_draws_from_the_global_generator_is_reproducible(train, tmp_path):
    whole = train("Dropped", tmp_path / "a")
    torch.manual_seed(7)  # of somebody else
    assert train("Dropped", tmp_path / "b") == whole


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (
            "Unstored",
            "`their_networks:Unstored` must make the answer again .* keep what it needs in parameters",
        ),
        ("Mixing", "`their_networks:Mixing` must see each state of a batch by itself"),
        ("Empty", "must have weights to train, got none"),
    ],
)
def test_others_are_refused_in_one_line(network, told, train, tmp_path):
    with pytest.raises(ValueError, match=told):
        train(network, tmp_path / "run")
