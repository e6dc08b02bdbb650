"""The work of one cell: honest costs, whoever calls the networks."""

import pytest
import torch
from comparison_cases import small
from torch import nn

from physinv.comparison.cell import Job, run_cell
from physinv.comparison.cells import Cell
from physinv.comparison.evaluations import count_evaluations
from physinv.processes.parameters import build
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def test_network_evaluations_and_weights_are_counted_whoever_calls():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))

        def forward(self, x):
            return self.network(x)

    class Keyworded(Wrapped):
        def forward(self, *, x):
            return self.network(x)

    model = Wrapped()
    with count_evaluations() as count:
        model(torch.zeros(5, 2))
        model.network(torch.zeros(7, 2))
        nn.ReLU()(torch.zeros(9))  # nothing to learn: no network
        Keyworded()(x=torch.zeros(4, 2))
    assert count.states == 16
    assert list(count.weights.values()) == [17, 17]  # 2 x 3 + 3 + 3 x 2 + 2, of each of the two networks
    model(torch.zeros(5, 2))
    assert count.states == 16


def test_one_solver_step_of_one_draw_is_one_evaluation(tmp_path):
    """physinv takes one evaluation a step (two images of the symmetry are one call each): 8 stored steps."""
    from physinv.data.generate import generate
    from physinv.data.plan import DatasetPlan

    config = Cell(small(methods=["physinv"], parameters={"steps": 8}, observations=20), "physinv", 0).config
    simulator = build(OrnsteinUhlenbeck, config["parameters"])
    generate(DatasetPlan(simulator, config["splits"], 0, "ornstein-uhlenbeck"), tmp_path / "d")
    result = run_cell(Job(config, str(tmp_path / "d" / "data"), "", None, "cpu", 1))
    assert result["cost"]["network_evaluations"] == 8
    assert result["metrics"]["physics_residual"] == pytest.approx(1, abs=0.5)


def test_a_choice_is_recorded_and_what_was_chosen_keeps_what_it_can_do(tmp_path):
    from physinv.data.generate import generate
    from physinv.data.plan import DatasetPlan

    config = Cell(small(methods=["auto"], observations=20), "auto", 0).config
    config["options"] = {"candidates": ["exact"]}
    simulator = build(OrnsteinUhlenbeck, config["parameters"])
    generate(DatasetPlan(simulator, config["splits"], 0, "ornstein-uhlenbeck"), tmp_path / "d")
    result = run_cell(Job(config, str(tmp_path / "d" / "data"), "", None, "cpu", 1))
    assert [trial["method"] for trial in result["notes"]["trials"]] == ["linear", "exact"]
    assert result["notes"]["chosen"] == "exact"  # of a mixture: better by more than the noise of 50 observations
    assert "log_prob" in result["metrics"]


def test_a_part_of_final_states_may_be_seen(tmp_path):
    """A third of the points with noise: worse than all, as calibrated; cells of whole states keep their keys."""
    from physinv.data.generate import generate
    from physinv.data.plan import DatasetPlan

    seen, heat = {"observe": "sensors:0.3", "noise": 0.1}, {"simulator": "heat", "parameters": {"size": 8, "steps": 2}}
    whole, part = (Cell(small(**heat, **more), "exact", 0) for more in ({}, {"observation": seen}))
    assert "observation" not in whole.config
    assert whole.key != part.key
    generate(DatasetPlan(Heat(size=8, steps=2), part.config["splits"], 0, "heat"), tmp_path / "d")
    results = [
        run_cell(Job(config, str(tmp_path / "d" / "data"), "", None, "cpu", 1))
        for config in (whole.config, part.config, part.config | {"method": "physics"})
    ]
    assert results[1]["metrics"]["crps"] > 1.1 * results[0]["metrics"]["crps"]
    assert results[1]["metrics"]["coverage_90"] == pytest.approx(results[0]["metrics"]["coverage_90"], abs=0.1)
    assert results[2]["error"] == "does not apply: the method needs whole final states."


def test_methods_that_can_are_trained_for_what_is_seen(tmp_path):
    from physinv.data.generate import generate
    from physinv.data.plan import DatasetPlan

    seen = {"observe": "sensors:0.5", "noise": 0.2}
    cell = Cell(small(methods=["regression"], observation=seen, observations=10), "regression", 0)
    simulator = build(OrnsteinUhlenbeck, cell.config["parameters"])
    generate(DatasetPlan(simulator, cell.config["splits"], 0, "ornstein-uhlenbeck"), tmp_path / "d")
    result = run_cell(Job(cell.config, str(tmp_path / "d" / "data"), "", None, "cpu", 1))
    assert result["error"] is None
    assert result["metrics"]["relative_l2"] > 0
