"""The problem of a simulator, generated once for a file of tests."""

import pytest
from learned_cases import OBSERVATIONS

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods.problem import Problem
from physinv.training.budget import Budget


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Problem and test data of a simulator, generated once for each."""
    made = {}

    def problem(simulator, steps, *, trajectories=2000, **settings):
        key = (simulator, trajectories)
        if key not in made:
            folder = tmp_path_factory.mktemp("data")
            sizes = {"train": trajectories, "valid": max(trajectories // 4, 8), "test": min(trajectories, OBSERVATIONS)}
            generate(DatasetPlan(simulator, sizes, 0, "any"), folder / "d")
            made[key] = [TrajectoryDataset(folder / "d" / "data" / s).load() for s in sizes]
        train, valid, test = made[key]
        settings = Settings(**{"validate_windows": 2048} | settings)
        return Problem(simulator, train, valid, settings=settings, budget=Budget(steps=steps)), test

    return problem
