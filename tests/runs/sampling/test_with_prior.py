"""Runs that hold a prior: used under another process, and refused where they fit nothing."""

from dataclasses import replace

import pytest
import torch

from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.laws.observation import Observation
from physinv.runs.evidence import evidence_of
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.with_prior import fit_with_prior, load_prior
from physinv.training.budget import Budget
from simulators.fields.heat import Heat

HEAT = Heat(size=8, dimension=1, steps=2, horizon=0.1)
QUICK = {"width": 4, "depth": 1, "batch": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heat") / "d"
    generate(DatasetPlan(HEAT, {"train": 2000, "valid": 20, "test": 40}, 0, "heat"), folder)
    return {s: TrajectoryDataset(folder / "data" / s) for s in ("train", "valid", "test")}


@pytest.fixture(scope="module")
def prior(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "prior"
    train_run(run, data["train"], data["valid"], method="prior", settings=QUICK, budget=Budget(steps=1))
    return run


def test_one_prior_serves_the_process_of_its_data_and_another_one(prior, data):
    """Means of draws beside those of the exact posterior, of either diffusivity; the other's are elsewhere."""
    sensors, truth = Observation(lambda x: x[..., ::2], 0.05), data["test"].states(0)
    found = {}
    for diffusivity in (1.0, 3.0):
        run = fit_with_prior(prior, method="dps", parameters={"diffusivity": diffusivity}, options={"steps": 3})
        process = replace(HEAT, diffusivity=diffusivity)
        assert run.simulator == process  # size, horizon and steps are those of the prior's data
        generator = seeds(0).child("test", "noise").generator()
        y = sensors.observe(process.run(truth, process.times, generator=generator)[:, -1], generator=generator)
        exact = process.exact().given(sensors).mean(y)
        drawn = run.answer.given(sensors).sample(y, 64, generator=generator)
        found[diffusivity] = (y, exact)
        spread = float(drawn.std(1).square().mean().sqrt())
        # 64 draws leave an eighth of the spread in their mean; the spectrum is known to 4 %
        assert float((drawn.mean(1) - exact).square().mean().sqrt()) < spread * (1 / 8 + 0.06)
    (y, _), (_, other) = found[1.0], found[3.0]
    wrong = HEAT.exact().given(sensors).mean(found[3.0][0]) - other
    assert float(wrong.square().mean().sqrt()) > 0.1  # with the diffusivity of the prior's data


def test_the_prior_of_a_run_is_what_was_trained(prior, data):
    law = load_prior(prior)
    drawn = law.draw(2000, generator=torch.Generator().manual_seed(0))
    want = data["train"].states(0)
    assert torch.allclose(drawn.std(0), want.std(0), rtol=0.15)


def test_verbs_that_fit_no_prior_refuse_it_in_one_line(prior, data, tmp_path):
    with pytest.raises(
        ValueError, match="holds a prior, which knows no observation; give it to a method and a process"
    ):
        load_run(prior)
    with pytest.raises(ValueError, match="holds a prior"):
        evidence_of(prior, data["test"])
    train_run(tmp_path / "other", data["train"], data["valid"], method="linear", budget=Budget(steps=1))
    with pytest.raises(ValueError, match="is a run of method `linear`, no prior; make one with"):
        load_prior(tmp_path / "other")
    with pytest.raises(ValueError, match=r"method `flow-matching` takes no prior of a run; take one of .*mcmc, dps"):
        fit_with_prior(prior, method="flow-matching")
    with pytest.raises(
        ValueError, match=r"must have states of shape \(1, 8\) as the prior in .*, got \(1, 16\) of heat"
    ):
        fit_with_prior(prior, method="dps", simulator="heat", parameters={"size": 16})
    with pytest.raises(ValueError, match="known parameters with a given prior, got diffusivity"):
        fit_with_prior(prior, method="mcmc", parameters={"diffusivity": {"uniform": [0.5, 1.5]}})
