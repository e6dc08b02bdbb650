"""physinv's own method for nonlinear fields: what it trains, and the same after saving."""

import dataclasses

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods.own.jumps import family_of, load_jumps
from physinv.methods.own.training import fit_jumps
from physinv.methods.problem import Problem
from physinv.methods.saving import Setup
from physinv.training.budget import Budget
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat


def test_it_answers_by_its_jump_and_the_same_after_saving(tmp_path):
    sim = Burgers(size=16, steps=2, horizon=0.5, viscosity=0.2, inner=2)
    generate(DatasetPlan(sim, {"train": 30, "valid": 10, "test": 5}, 0), tmp_path / "d")
    data = {s: TrajectoryDataset(tmp_path / "d" / "data" / s).load() for s in ("train", "valid", "test")}
    settings = Settings(depth=1, width=8, batch=8, validate_every=10, validate_windows=8, fresh="off")
    problem = Problem(sim, data["train"], data["valid"], settings, Budget(steps=20))
    answer, final = fit_jumps(problem), data["test"].states(-1)
    answer = dataclasses.replace(answer, ways=("1",))  # whatever twenty updates were better at
    assert answer.steps is None
    draws = answer.sample(final, 3, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (5, 3, 1, 16)
    assert torch.equal(answer.mean(final), answer.kernel.mean(final, 0))
    assert answer.kernel.jumps[0] == (0, 2)
    assert not torch.equal(answer.mean(final), answer.kernel.prepare(final, 0)[:, 0])  # the network has learned
    assert set(answer.found) == {"1", "steps"}
    setup = Setup(sim, data["train"].times, settings, notes=answer.notes())
    again = load_jumps(setup, answer.tensors())
    assert torch.equal(again.sample(final, 3, generator=torch.Generator().manual_seed(0)), draws)
    assert answer.notes()["model"] == "jumps"
    assert bool(again.trajectories(final, generator=torch.Generator().manual_seed(0)).isfinite().all())


@pytest.mark.parametrize(
    ("size", "dimension", "given", "pairs"),
    [(96, 1, 0, 32), (200, 1, 0, 32), (32, 1, 0, 96), (16, 1, 0, 192), (8, 1, 0, 256), (16, 2, 0, 32), (32, 1, 8, 8)],
)
def test_updates_of_small_fields_see_as_many_numbers_as_those_of_larger_ones(size, dimension, given, pairs):
    """What an update takes beside its batch is the same for 8 points and for 96; a batch that is given stays."""
    sim = Heat(size=size, dimension=dimension, steps=2)
    settings = family_of(Setup(sim, torch.linspace(0, 1, 3), Settings(batch=given)))[1]
    assert settings.batch == pairs
    assert (settings.rate, settings.validate_windows) == (4e-3, max(64, 2**15 // size**dimension))
