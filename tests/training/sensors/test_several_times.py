"""Random sensors at several times: joint estimates in closed form, and runs that answer records of them."""

import math
import re

import numpy as np
import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import coverage, crps
from physinv.laws.described import EntryText, record_of
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.priors import LogUniform
from physinv.runs.reconstruct import reconstruct
from physinv.runs.records import RecordPlan, reconstruct_record
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.asked import records_of
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from physinv.training.final_estimate import covariance_rows
from physinv.training.sensors.design import SensorDesign
from physinv.training.sensors.estimate import fit_sensor_estimate
from physinv.training.sensors.process import Sensed
from simulators.fields.burgers import Burgers
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

DESIGN = SensorDesign((0.25, 0.75), (0.1, 0.4))
BURGERS, VECTOR, WELL = Burgers(size=8, steps=4), OrnsteinUhlenbeck(dim=3, steps=4), DoubleWell(steps=8)


def sensed(process, rows):
    return Sensed(horizon=process.horizon, steps=process.steps, inner=process, design=DESIGN, rows=rows)


@pytest.mark.parametrize("rows", [(2, 4), (1, 3)], ids=["with the last", "before the last"])
@pytest.mark.parametrize("inner", [BURGERS, VECTOR], ids=["field", "vector"])
def test_estimates_are_the_best_linear_ones_of_all_that_is_seen(inner, rows, generator):
    """Against the formula in observation space, trajectory by trajectory, with the same mean and covariance."""
    process = sensed(inner, rows)
    times = sorted({0, *rows, 4})
    states = inner.simulate(300, generator=generator).double()
    stacked = states[:, times]
    estimate = fit_sensor_estimate(process, stacked)
    mean, C = covariance_rows(inner.layout, stacked.flatten(1, 2), DESIGN.noise[0])
    mask, level = process.sensors(5, generator=generator, device=None)
    y = states[:5, list(rows)] + torch.randn(states[:5, list(rows)].shape, generator=generator).double()
    found = estimate(y, mask, level.double())
    assert torch.equal(process.sensors_of(found)[0], mask)
    n = inner.shape[0] * math.prod(inner.shape[1:])
    for i in range(5):
        seen = torch.cat(
            [at.nonzero()[:, 0] + n * times.index(row) for row, at in zip(rows, mask[i].chunk(2), strict=True)]
        )
        told = torch.cat([part.flatten()[at] for part, at in zip(y[i], mask[i].chunk(2), strict=True)])
        gram = C[seen][:, seen] + DESIGN.deviation(level[i : i + 1].double()) ** 2 * torch.eye(len(seen)).double()
        exact = mean.flatten() + C[:, seen] @ torch.linalg.solve(gram, told - mean.flatten()[seen])
        exact = exact.reshape(len(times), *inner.shape)
        # directions with less than 1e-3 of the variance of the noise are left out
        near = 0.02 * float(states.std())
        assert torch.allclose(process.state(found)[i], exact[-1], atol=near)
        others = found[i, inner.shape[0] : inner.shape[0] * len(times)].reshape(len(times) - 1, *inner.shape)
        assert torch.allclose(others, exact[:-1], atol=near)


@pytest.mark.parametrize("inner", [BURGERS, VECTOR], ids=["field", "vector"])
def test_trajectories_tell_the_estimates_of_what_is_seen_of_them(inner, generator):
    process = sensed(inner, (2, 4))
    x = process.initial(400, generator=generator)
    states = process.run(x, process.times, generator=generator)
    estimate = fit_sensor_estimate(process, inner.simulate(300, generator=generator)[:, [0, 2, 4]])
    told = estimate.estimated(states, generator=generator)
    assert torch.equal(told[:, :-1, : inner.shape[0]], states[:, :-1, : inner.shape[0]])
    still = told[:, :, inner.shape[0] :]
    assert torch.equal(still, still[:, :1].expand_as(still))
    assert torch.equal(process.sensors_of(told[:, 0])[0], process.sensors_of(x)[0])
    assert process.layout.shape == process.shape == told.shape[2:]
    # where the last state is seen, the best estimate is not further off than the sensor; its moments are of 300 states
    mask, level = process.sensors_of(told[:, 0])
    last = mask.reshape(400, 2, -1)[:, 1]
    gap = (told[:, -1, : inner.shape[0]] - states[:, -1, : inner.shape[0]]).flatten(1)
    noise = DESIGN.deviation(level)[:, None].expand_as(last)
    assert float(gap[last].square().mean()) < 1.1 * float(noise[last].square().mean())


def test_estimates_and_sensors_go_where_the_points_go(generator):
    """The image of what is told of a trajectory is what is told of its image."""
    process = sensed(BURGERS, (2, 4))
    states = process.run(process.initial(4, generator=generator), process.times, generator=generator)
    estimate = fit_sensor_estimate(process, BURGERS.simulate(300, generator=generator)[:, [0, 2, 4]])
    told = estimate.estimated(states, generator=generator)[:, -1]
    parts = [told[:, i : i + 1] for i in range(3)]  # x_T, and the estimates at times 0 and 2
    for image, *alone in zip(process.images(told), *map(BURGERS.images, parts), strict=True):
        assert torch.equal(image[:, :3], torch.cat(alone, 1))
        before, after = (process.sensors_of(x)[0].reshape(4, 2, 8) for x in (told, image))
        for k in range(2):  # what is seen shows the same numbers but for signs, in other places
            shown = [torch.where(m[:, k], x[:, 0], torch.zeros(())).abs() for m, x in ((before, told), (after, image))]
            assert torch.allclose(*(s.sort(1).values for s in shown), rtol=1e-5)


@pytest.fixture(scope="module")
def anyhow(tmp_path_factory):
    """A run for records of the double well at two times, with any noise, and its data."""
    folder = tmp_path_factory.mktemp("records")
    generate(DatasetPlan(WELL, {"train": 2000, "valid": 50, "test": 200}, 0, "double-well"), folder / "d")
    train, valid, test = (TrajectoryDataset(folder / "d" / "data" / split) for split in ("train", "valid", "test"))
    train_run(
        folder / "run",
        train,
        valid,
        method="physinv",
        settings={"validate_every": 200, "width": 32},
        budget=Budget(steps=800),
        observe="random:1",
        observed_noise="0.2-1.0",
        at=[0.5, 0.25],
    )
    return load_run(folder / "run"), test


def record(noise, times=(0.25, 0.5)):
    return record_of(tuple(EntryText(at=[t], observe="everything", noise=noise) for t in times), WELL.shape)


@pytest.mark.parametrize("noise", [0.25, 0.8])
def test_one_run_answers_records_of_every_noise(noise, anyhow, generator):
    """As well as forward runs that are weighted by the likelihood of each record, and with sensors that failed."""
    run, _ = anyhow
    states = WELL.simulate(300, [0.0, 0.25, 0.5], generator=generator)
    y, truth = record(noise).observe(states[:, 1:], generator=generator), states[:, 0]
    y[::3, 0] = torch.nan
    drawn = records_of(run).given(record(noise)).sample(y, 100, generator=generator)
    runs = WELL.simulate(20_000, [0.0, 0.25, 0.5], generator=generator)
    gaps = (y[:, None] - runs[None, :, 1:, 0]).nan_to_num(0.0) / noise
    weights = (-gaps.square().sum(2) / 2).softmax(1)
    exact = runs[:, 0][torch.multinomial(weights, 100, replacement=True, generator=generator)]
    assert float(crps(drawn, truth)) < 1.05 * float(crps(exact, truth))
    assert abs(float(coverage(drawn, truth)) - float(coverage(exact, truth))) < 0.06
    # the final time alone tells less
    last = (-gaps[:, :, 1].square() / 2).softmax(1)
    less = runs[:, 0][torch.multinomial(last, 100, replacement=True, generator=generator)]
    assert float(crps(drawn, truth)) < 0.97 * float(crps(less, truth))


def test_frames_are_those_of_paths_from_the_draws(anyhow, generator):
    """As good as those of weighted runs, between the observations and after them, and as correlated with x_0."""
    run, times = anyhow[0], [0.0, 0.125, 0.25, 0.375, 0.5, 0.75]
    states = WELL.simulate(100, times, generator=generator)
    y = record(0.4).observe(states[:, [2, 4]], generator=generator)
    drawn = records_of(run).given(record(0.4)).sample_at(y, 50, times, generator=generator)
    runs = WELL.simulate(20_000, times, generator=generator)
    weights = (-((y[:, None] - runs[None, :, [2, 4], 0]) / 0.4).square().sum(2) / 2).softmax(1)
    exact = runs[torch.multinomial(weights, 50, replacement=True, generator=generator)]
    for i in range(1, len(times)):
        assert float(crps(drawn[:, :, i], states[:, i])) < 1.05 * float(crps(exact[:, :, i], states[:, i]))
    own, right = (
        torch.stack([torch.corrcoef(x[..., 0].T)[0] for x in some]).nan_to_num(0.0).mean(0) for some in (drawn, exact)
    )
    assert torch.allclose(own, right, atol=4.5 * 0.02)  # of 100 rows with 50 draws each, the difference of two means


def test_a_record_of_a_dataset_is_reconstructed(anyhow, tmp_path):
    run, test = anyhow
    plan = RecordPlan(
        observe="everything", at=(0.25, 0.5), observed_noise=0.3, samples=8, limit=20, frames=(0.0, 0.25, 1.0)
    )
    reconstruct_record(run, test, tmp_path / "r.hdf5", plan)
    found = read_reconstruction(tmp_path / "r.hdf5")
    assert found.frames.shape == (20, 8, 3, 1)
    assert torch.equal(found.frames[:, :, 0], found.samples)
    assert found.samples.shape == (20, 8, 1)
    assert found.seen.shape == (20, 2)
    assert torch.equal(found.truth, test.states(0, limit=20))


def test_noise_that_is_not_given_is_in_the_middle_of_the_range(anyhow, tmp_path):
    run, test = anyhow
    for i, noise in enumerate([None, math.sqrt(0.2)]):
        plan = RecordPlan(at=(0.25, 0.5), observed_noise=noise, samples=2, limit=2)
        reconstruct_record(run, test, tmp_path / f"{i}.hdf5", plan)
    one, two = (read_reconstruction(tmp_path / f"{i}.hdf5") for i in range(2))
    assert torch.equal(one.seen, two.seen)
    assert torch.equal(one.samples, two.samples)


def test_what_the_run_is_not_trained_for_is_refused(anyhow, tmp_path):
    run, test = anyhow
    with pytest.raises(ValueError, match=re.escape("sensors that see several times; give `at` = 0.25,0.5")):
        reconstruct(run, test, tmp_path / "x.hdf5", SamplingPlan(observe="everything"))
    see = Observation(everything, 0.3)
    for asked, text in (
        (record(0.3, (0.5,)), "at each of the times 0.25, 0.5, got 0.5"),
        (ObservationRecord((0.25, see), (0.5, Observation(everything, 0.4))), "one noise, the same at all times"),
        (ObservationRecord((0.25, see), (0.5, see), level=LogUniform(0.2, 0.5)), "one noise, the same at all times"),
        (ObservationRecord((0.25, see), ((0.25, 0.5), see)), "one entry of a record at each of the times"),
        (record(3.0), "`observed_noise` must lie between 0.2 and 1"),
        (ObservationRecord((0.25, see), (0.5, Observation(lambda x: 2 * x, 0.3))), "see all channels of a point"),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            records_of(run).given(asked)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"observe": "random:1", "at": [0.3]}, "`at` must be different stored times, 0 to 0.5 in 8 steps, got 0.3"),
        ({"observe": "random:1", "at": [0.5, 0.5]}, "`at` must be different stored times"),
        ({"observe": "everything", "at": [0.5]}, "`at` is for random sensors, got it with everything"),
        ({"observe": "random:1", "at": 0.5}, "`at` must be numbers along one axis, got shape (); give a list"),
        ({"observe": "random:1", "at": np.array([0.1])}, "`at` must be different stored times"),
        ({"at": [0.5]}, "`at` belongs to a partial observation; give `observe`"),
        ({"at": torch.tensor([0.25, 0.5])}, "`at` belongs to a partial observation; give `observe`"),
        ({"at": 0.5}, "`at` must be numbers along one axis"),
    ],
)
def test_times_that_can_not_be_seen_are_refused(asked, text, anyhow, tmp_path):
    _, test = anyhow
    with pytest.raises(ValueError, match=re.escape(text)):
        train_run(tmp_path / "r", test, test, budget=Budget(steps=1), **asked)


def test_a_run_for_one_observation_answers_no_records(anyhow, tmp_path):
    _, test = anyhow
    train_run(
        tmp_path / "r", test, test, method="linear", budget=Budget(steps=1), observe="everything", observed_noise=0.3
    )
    with pytest.raises(ValueError, match="trained for `observe` = everything of final states and answers no records"):
        records_of(load_run(tmp_path / "r"))
