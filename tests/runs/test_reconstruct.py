"""Sampling plans: what they refuse, and how many states they compute for each observation."""

import dataclasses

import pytest

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import ANSWERS, SamplingPlan, reconstruct
from physinv.runs.run import fit_run
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"answer": "ode"}, "`answer` must be one of samples, mean, flow, mean-flow, got 'ode'"),
        ({"grid": "even"}, "`grid` must be one of stored, linear, log, learned, got 'even'"),
        ({"samples": 0}, "`samples` must be at least 1, got 0"),
        ({"limit": 0}, "`limit` must be at least 1, got 0"),
        ({"steps": -1}, "`steps` must be at least 1, got -1"),
        ({"answer": "flow", "observe": "coarse:2"}, "`observe` needs `answer` samples, got 'flow'"),
        ({"refine": -4}, "`refine` must be 0 or more"),
        ({"refine": 20, "answer": "mean"}, "moves samples given the whole final state, got 20 with `answer` 'mean'"),
    ],
)
def test_wrong_plans_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SamplingPlan(**values)


@pytest.mark.parametrize("answer", ANSWERS)
def test_single_estimates_give_one_state_for_each_observation(answer):
    assert SamplingPlan(answer=answer, samples=5).draws == (5 if answer == "samples" else 1)


def test_plans_are_values():
    plan = SamplingPlan(samples=3)
    assert plan == SamplingPlan(samples=3)
    assert dataclasses.replace(plan, samples=4) != plan
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.samples = 4
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample'"):
        SamplingPlan(sample=3)


def test_refined_samples_of_a_wrong_method_are_exact(tmp_path):
    simulator = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0, steps=2)
    generate(DatasetPlan(simulator, {"train": 50, "valid": 20, "test": 4}, 0, "ornstein-uhlenbeck"), tmp_path / "d")
    data = {s: TrajectoryDataset(tmp_path / "d" / "data" / s) for s in ("train", "valid", "test")}
    run = fit_run(data["train"], data["valid"], method="physics")  # an estimate without spread
    reconstruct(run, data["test"], tmp_path / "x.hdf5", SamplingPlan(samples=400, refine=40))
    found = read_reconstruction(tmp_path / "x.hdf5")
    assert found.info["refine"] == 40
    law = simulator.exact().posterior(found.observation)
    deviation = (law.means.square() + law.covs.diagonal(dim1=-2, dim2=-1)).mul(law.weights[..., None]).sum(1)
    deviation = (deviation - law.mean().square()).sqrt()
    assert bool(((found.samples.mean(1) - law.mean()).abs() < 5 * deviation / 20).all())  # 20: root of 400 draws
    assert bool(((found.samples.std(1) / deviation - 1).abs() < 0.2).all())  # 5 / sqrt(2 400), and tails
