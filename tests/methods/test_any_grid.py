"""Recorded fields on grids of any size train, load and draw, by the law of increments and with learned physics."""

import numpy as np
import pytest
import torch
from recorded_cases import recorded

from physinv.processes.layout import FieldLayout
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget

GRIDS = [((5,), "WALL"), ((37,), "PERIODIC"), ((11, 13), "WALL,PERIODIC"), ((1, 6), "OPEN")]


@pytest.mark.parametrize("method", ["increments", "physinv"])
@pytest.mark.parametrize(("sides", "boundary"), GRIDS)
def test_a_training_step_and_draws(sides, boundary, method, tmp_path, generator):
    rng = np.random.default_rng(0)
    layout = FieldLayout("u", ("x", "y")[: len(sides)], [range(n) for n in sides], boundary)
    first = rng.normal(size=(20, 1, 1, *sides))
    states = np.concatenate([first, 0.8 * first, 0.6 * first], 1) + 0.05 * rng.normal(size=(20, 3, 1, *sides))
    data = recorded(tmp_path / "d", layout, [0.0, 1.0, 2.0], {"train": states[:14], "valid": states[14:]})
    settings = {"width": 4, "depth": 2, "batch": 8, "validate_windows": 8}
    train_run(tmp_path / "run", data["train"], data["valid"], method=method, settings=settings, budget=Budget(steps=4))
    answer, final = load_run(tmp_path / "run").answer, data["valid"].states(-1)
    drawn = answer.sample(final, 2, generator=generator)
    assert drawn.shape == (6, 2, 1, *sides)
    assert bool(drawn.isfinite().all())
    assert not torch.equal(drawn[:, 0], drawn[:, 1])
