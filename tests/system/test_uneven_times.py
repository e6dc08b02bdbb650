"""Where stored times are uneven, whatever runs the physics takes the steps that each interval asks for."""

from typing import ClassVar

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.physics.residual import physics_residual
from physinv.methods.classical.physics import fit_physics
from physinv.methods.problem import Problem
from physinv.models.jumps.backward import backward_solution
from physinv.models.jumps.base import Jump
from physinv.models.references.smoother_tables import physics_backward
from physinv.processes.layout import VectorLayout
from physinv.processes.simulator import Simulator
from physinv.training.budget import Budget


class Stiff(Simulator):
    """``dx = -x^3 dt + dW / 2``, whose solver steps are no longer than .1; it notes the steps of its flow."""

    title, equation = "stiff", "dx = -x^3 dt + dW / 2"
    layout = VectorLayout("x", 1)
    longest_step = 0.1
    asked: ClassVar[list[float]] = []

    @property
    def times(self):
        return torch.tensor([0.0, 0.1, 0.5], dtype=torch.float64)

    def drift(self, x, t):
        return -(x**3)

    def diffusion(self, t):
        return 0.5

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 1), generator=generator, device=device, dtype=dtype)

    def drift_flow(self, x, t0, t1):
        self.asked += (t1 - t0).tolist()
        return super().drift_flow(x, t0, t1)


@pytest.fixture
def asked():
    Stiff.asked.clear()
    return Stiff.asked


def test_the_residual_takes_one_step_in_the_short_interval_and_four_in_the_long_one(asked, generator):
    physics_residual(Stiff().simulate(1, generator=generator), Stiff(), Stiff().times)
    assert asked == pytest.approx([0.1] * 5)


def test_the_physics_backward_takes_the_steps_of_each_state_of_a_batch(asked, generator):
    x = torch.randn(4, 1, generator=generator)
    t, dt = torch.tensor([0.5, 0.1, 0.5, 0.1]), torch.tensor([0.4, 0.1, 0.4, 0.1])
    together = physics_backward(Stiff(), x, t, dt)
    assert asked == pytest.approx([-0.1] * 10)
    for i in range(4):  # in the order of the batch, and whatever else is in it
        assert torch.equal(together[i : i + 1], physics_backward(Stiff(), x[i : i + 1], t[i : i + 1], dt[i : i + 1]))


def test_a_jump_over_both_intervals_takes_five_steps_back(asked, generator):
    box = torch.full((3, 1), 9.0)
    backward_solution(Stiff(), torch.randn(1, 1, generator=generator), Jump(0, 2), Stiff().times, -box, box)
    assert asked == pytest.approx([-0.1] * 5)


def test_the_physics_alone_runs_over_the_solver_steps(asked, tmp_path):
    generate(DatasetPlan(Stiff(), {"train": 3}, 0, "any"), tmp_path / "d")
    data = TrajectoryDataset(tmp_path / "d" / "data" / "train").load()
    answer = fit_physics(Problem(Stiff(), data, data, budget=Budget(steps=1)))
    asked.clear()
    answer.mean(data.states(-1, limit=1))
    assert asked == pytest.approx([-0.1] * 5)
