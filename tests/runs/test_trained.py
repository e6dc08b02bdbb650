"""Runs answer what a user gives them, checked, whatever the method."""

import numpy as np
import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget
from simulators.vectors.double_well import DoubleWell

pytestmark = pytest.mark.usefixtures("few_judges")


@pytest.fixture(scope="module", params=["linear", "ensemble-kalman", "physinv", "regression"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    plan = DatasetPlan(DoubleWell(dimension=2, steps=4), {"train": 200, "valid": 40, "test": 6}, 0, "double-well")
    generate(plan, folder / "d")
    train, valid = (TrajectoryDataset(folder / "d" / "data" / s).load() for s in ("train", "valid"))
    small = {"width": 8, "depth": 1, "batch": 64, "validate_windows": 64}
    train_run(folder / "run", train, valid, method=request.param, settings=small, budget=Budget(steps=4))
    return load_run(folder / "run")


def seed():
    return torch.Generator().manual_seed(3)


FINAL = torch.tensor([[1.0, -0.5], [0.2, 0.9]])


def test_arrays_lists_and_other_precisions_are_the_same_states(run):
    samples = run.sample(FINAL, 3, generator=seed())
    assert samples.shape == (2, 3, 2)
    assert torch.equal(samples, run.answer.sample(FINAL, 3, generator=seed()))
    for same in (FINAL.numpy(), FINAL.double(), FINAL.double().numpy(), np.asfortranarray(FINAL.numpy())):
        assert torch.equal(run.sample(same, 3, generator=seed()), samples)
    assert torch.equal(run.sample([[1.0, -0.5], [0.2, 0.9]], 3, generator=seed()), samples)
    assert torch.equal(run.mean(FINAL.double().numpy()), run.mean(FINAL))


@pytest.mark.parametrize(
    ("final", "n", "generator", "told"),
    [
        (torch.zeros(2, 3), 2, None, r"`final` must have shape \(batch, 2\), got \(2, 3\); is it of another process"),
        (
            torch.zeros(2),
            2,
            None,
            r"`final` must have shape \(batch, 2\), got \(2,\); for a single state give final\[None",
        ),
        (torch.tensor([[0.0, torch.nan]]), 2, None, "`final` must be finite, got NaN or infinity in state 0"),
        (torch.zeros(0, 2), 2, None, "`final` must hold one state or more"),
        (FINAL, 0, None, "`n` must be at least 1, got 0"),
        ("x", 2, None, "`final` must be"),
    ],
    ids=["shape", "batch", "nan", "empty", "none", "text"],
)
def test_what_cannot_be_answered_is_one_line(run, final, n, generator, told):
    with pytest.raises((ValueError, TypeError), match=f"^{told}") as caught:
        run.sample(final, n, generator=generator)
    assert "\n" not in str(caught.value)
