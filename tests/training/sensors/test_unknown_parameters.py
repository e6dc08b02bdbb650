"""Random sensors of processes with unknown parameters: the parameter first, then the state, from any record."""

import dataclasses

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import coverage, crps
from physinv.laws.observation import Observation
from physinv.laws.operators import everything, named
from physinv.laws.record import ObservationRecord
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.priors import LogUniform
from physinv.processes.varying import vary
from physinv.runs.reconstruct import reconstruct
from physinv.runs.records import RecordPlan, reconstruct_record
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.asked import records_of
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from physinv.training.sensors.design import SensorDesign
from physinv.training.sensors.estimate import fit_sensor_estimate
from physinv.training.sensors.process import Sensed, TellsParameters
from simulators.fields.burgers import Burgers
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = vary(
    OrnsteinUhlenbeck(dim=1, components=1, spread=2.0, width=1.0, rate=0.5, noise=0.1, horizon=2.0, steps=4),
    {"rate": LogUniform(0.2, 2.0)},
)
BURGERS = vary(Burgers(size=16, steps=2), {"viscosity": LogUniform(0.02, 0.2)})
RECORD = ObservationRecord((1.0, Observation(everything, 0.2)), (2.0, Observation(everything, 0.2)))


def made(process, name, folder, train):
    generate(DatasetPlan(process, {"train": train, "valid": 100, "test": 8}, 0, name), folder)
    return [TrajectoryDataset(folder / "data" / split).load() for split in ("train", "valid", "test")]


@pytest.mark.parametrize("inner", [OU, BURGERS], ids=["vector", "field"])
def test_sensors_do_not_see_parameters_and_estimates_say_those_that_are_given(inner, generator):
    design = SensorDesign((0.25, 0.75), (0.1, 0.4))
    process = Sensed(horizon=inner.horizon, steps=inner.steps, inner=inner, design=design, rows=(1, 2))
    assert process.unknown == inner.unknown
    assert process.points == inner.inner.shape[-1]
    stacked = inner.simulate(200, generator=generator)[:, list(process.estimated_rows)]
    estimate = fit_sensor_estimate(process, stacked)
    states = process.run(process.initial(3, generator=generator), process.times, generator=generator)
    told = estimate.estimated(states, generator=generator)
    x, given = told[:, -1], inner.values(process.state(states[:, 0]))
    assert torch.equal(inner.values(process.state(x)), given)
    assert torch.equal(process.sensors_of(x)[0], process.sensors_of(states[:, 0])[0])

    # What tells parameters: all the rest, which stays as it is where others are put in.
    own = {f.name: getattr(process, f.name) for f in dataclasses.fields(process)}
    view = TellsParameters(**own | {"priors": inner.priors})
    assert torch.equal(view.values(x), given)
    other = view.joined(view.state(x), 2 * view.values(x))
    assert torch.equal(view.state(other), view.state(x))
    assert torch.equal(view.values(other), 2 * view.values(x))
    for image in process.images(x):
        assert torch.equal(view.values(image), view.values(x))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unknown")
    train, valid, test = made(OU, "ornstein-uhlenbeck", folder / "d", 2000)
    train_run(
        folder / "run",
        train,
        valid,
        method="physinv",
        settings={"width": 32, "validate_every": 100},
        budget=Budget(steps=600),
        observe="random:1",
        observed_noise="0.1-0.4",
        at=[1.0, 2.0],
    )
    return load_run(folder / "run"), test


def test_parameter_and_trajectory_are_those_of_weighted_runs(run, generator):
    times, n = [0.0, 0.5, 1.0, 2.0, 2.5], 200
    truth = OU.simulate(n, times, generator=generator)
    y = RECORD.observe(truth[:, [2, 3], :1], generator=generator)
    y[::4, 0] = torch.nan
    drawn = records_of(run[0]).given(RECORD).sample_at(y, 50, times, generator=generator)
    runs = OU.simulate(100_000, times, generator=generator)
    weights = (-((y[:, None] - runs[None, :, [2, 3], 0]) / 0.2).nan_to_num(0.0).square().sum(2) / 2).softmax(1)
    exact = runs[torch.multinomial(weights, 50, replacement=True, generator=generator)]
    prior = runs[:50].expand(n, *runs[:50].shape)

    def score(x, i, k):
        return float(crps(x[:, :, i, k], truth[:, i, k]))

    for i in range(len(times)):
        assert score(drawn, i, 0) < 1.05 * score(exact, i, 0)
    assert score(drawn, 0, 1) < 1.05 * score(exact, 0, 1) < 0.9 * score(prior, 0, 1)
    found, right = (coverage(x[:, :, 0], truth[:, 0]) for x in (drawn, exact))
    assert abs(float(found - right)) < 0.05
    # A fast decay and a large beginning leave the same numbers.
    found, right = (
        (torch.stack([torch.corrcoef(r[:, 0].T)[0, 1] for r in x]) * truth[:, 0, 0].sign()).mean()
        for x in (drawn, exact)
    )
    assert float(right) > 0.2
    assert abs(float(found - right)) < 0.1


def test_records_of_a_dataset_hold_states_and_parameters(run, tmp_path):
    plan = RecordPlan(at=(1.0, 2.0), observed_noise=0.2, samples=8, frames=(1.0, 3.0))
    reconstruct_record(run[0], run[1], tmp_path / "r.hdf5", plan)
    found = read_reconstruction(tmp_path / "r.hdf5")
    assert found.simulator.unknown == ("rate",)
    assert found.samples.shape == (8, 8, 2)
    assert torch.equal(found.truth, run[1].states(0))
    assert torch.equal(found.frames[:, :, 0, 1], found.samples[:, :, 1])
    assert bool((found.samples[:, :, 1].std(1) > 0).all())


def test_fields_and_the_final_time_alone(tmp_path):
    """Whatever a network of ten updates says: shapes, parameters that vary, and the same at all points."""
    train, valid, test = made(BURGERS, "burgers", tmp_path / "d", 200)
    told = {"method": "regression", "settings": {"width": 8, "validate_every": 5}, "observe": "random:0.5"}
    for at in ((), (0.75, 1.5)):
        folder = tmp_path / f"run{len(at)}"
        train_run(folder, train, valid, budget=Budget(steps=10), observed_noise="0.1-0.2", at=at, **told)
        fitted = load_run(folder)
        if at:
            see = named("every:2", 0.15, (1, 16))
            given = records_of(fitted).given(ObservationRecord(*((t, see) for t in at)))
            samples = given.sample_at(torch.zeros(3, 16), 4, [0.0])[:, :, 0]
        else:
            plan = SamplingPlan(samples=4, observe="every:2", limit=3, certify=0)
            reconstruct(fitted, test, tmp_path / "r.hdf5", plan)
            samples = read_reconstruction(tmp_path / "r.hdf5").samples
        assert samples.shape == (3, 4, 2, 16)
        viscosity = samples[:, :, 1]
        assert bool((viscosity.std(1) > 0).all())
        assert torch.equal(viscosity, viscosity[..., :1].expand_as(viscosity))
        assert bool(((viscosity > 0.0199) & (viscosity < 0.2001)).all())
    unknown = {"observe": "random:0.5", "observed_noise": "log_uniform:0.05:0.2"}
    with pytest.raises(ValueError, match="is told the noise of each trajectory, which is unknown here; give a range"):
        train_run(tmp_path / "x", train, valid, budget=Budget(steps=1), **unknown)
