"""Random sensors: their law, their estimates in closed form, and runs that are asked for any of them."""

import dataclasses
import re

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import coverage, crps
from physinv.laws.observation import Observation
from physinv.laws.operators import everything, named
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from physinv.training.final_estimate import covariance_rows, fit_final_estimate
from physinv.training.sensors.design import SensorDesign, read_design
from physinv.training.sensors.estimate import fit_sensor_estimate
from physinv.training.sensors.process import Sensed
from simulators.fields.burgers import Burgers
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

DESIGN = SensorDesign((0.25, 0.75), (0.1, 0.4))
BURGERS = Burgers(size=16, steps=4)


def sensed(process, design=DESIGN):
    return Sensed(horizon=process.horizon, steps=process.steps, inner=process, design=design)


def estimated(estimate, final, generator):
    """Estimates of final states that have sensors."""
    times = estimate.process.steps + 1
    states = final[:, None].expand(-1, times, *final.shape[1:])
    return estimate.estimated(states, generator=generator)[:, -1]


def test_sensors_follow_their_law(generator):
    mask, level = DESIGN.draw(20_000, 8, generator=generator, device=None)
    counts = mask.sum(1)
    assert sorted(set(counts.tolist())) == [2, 3, 4, 5, 6]
    assert float(counts.double().mean()) == pytest.approx(4, abs=0.05)  # deviation 1.2, five standard errors
    assert bool((mask.double().mean(0) - 0.5).abs().max() < 0.02)  # 5 x .5 / root of 20000
    assert DESIGN.deviation(torch.tensor([-1.0, 0.0, 1.0])).tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert DESIGN.level(0.2) == pytest.approx(0)
    assert float(level.mean()) == pytest.approx(0, abs=0.02)  # numbers from 0 to 1 have the mean square below as well
    assert float(level.square().mean()) == pytest.approx(1 / 3, abs=0.01)
    assert read_design("random:.25-.75", "0.1-0.4") == DESIGN


@pytest.mark.parametrize(
    ("observe", "noise", "text"),
    [
        ("random:0.5-0.1", "0.1", "`observe` must have fractions LOW-HIGH"),
        ("random:0.5-1.5", "0.1", "`observe` must have fractions LOW-HIGH"),
        ("random:half", "0.1", "`observe` must be a range such as"),
        ("random", "0.1", "`observe` must be a range such as"),
        ("random:0.5", "0-0.1", "`observed_noise` must have deviations"),
        ("random:0.5", "1e-300", "`observed_noise` must have deviations LOW-HIGH of 1e-38 to 3e38"),
        ("random:0.5", "0.1-", "`observed_noise` must be a range"),
    ],
)
def test_words_of_another_form_are_refused(observe, noise, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        read_design(observe, noise)


@pytest.mark.parametrize("process", [BURGERS, OrnsteinUhlenbeck(dim=3, steps=4)])
def test_estimates_are_the_best_linear_ones_of_every_mask(process, generator):
    """Against the formula in observation space, mask by mask, with the same mean and covariance."""
    final = process.simulate(300, generator=generator)[:, -1].double()
    estimate = fit_sensor_estimate(sensed(process), final[:, None])
    mean, C = covariance_rows(process.layout, final, DESIGN.noise[0])
    mask, level = DESIGN.draw(6, estimate.process.points, generator=generator, device=None)
    y = final[:6] + torch.randn(final[:6].shape, generator=generator).double()
    found = estimate(y, mask, level.double())
    assert torch.equal(estimate.process.sensors_of(found)[0], mask)
    assert torch.allclose(estimate.process.sensors_of(found)[1], level.double())
    for i in range(6):
        at = mask[i].nonzero()[:, 0]
        gram = C[at][:, at] + DESIGN.deviation(level[i : i + 1].double()) ** 2 * torch.eye(len(at)).double()
        expected = mean.flatten() + C[:, at] @ torch.linalg.solve(gram, (y[i].flatten() - mean.flatten())[at])
        # directions with less than 1e-3 of the variance of the noise are left out
        assert torch.allclose(estimate.process.state(found)[i].flatten(), expected, atol=0.02 * float(final.std()))


def test_noise_that_hides_everything_leaves_the_mean(generator):
    final = BURGERS.simulate(50, generator=generator)[:, -1]
    estimate = fit_sensor_estimate(sensed(BURGERS, SensorDesign((0.25, 0.75), (1e4, 1e4))), final[:, None])
    mask, level = estimate.process.design.draw(50, estimate.process.points, generator=generator, device=None)
    start = estimate.process.with_sensors(final, mask, level)
    found = estimated(estimate, start, generator)
    # of the largest variance of some .3 a share of .3 / 1e8 for each of 12 sensors is left, times a gap of 1e4
    assert float((estimate.process.state(found) - estimate.mean.reshape(1, 1, -1)).abs().max()) < 1e-2


def test_noise_of_a_sensor_has_the_deviation_of_its_design(generator):
    """Estimates are linear in what is seen: they scatter around that of the state itself by gain times deviation."""
    process = OrnsteinUhlenbeck(dim=1, steps=4)
    final = process.simulate(2000, generator=generator)[:, -1]
    estimate = fit_sensor_estimate(sensed(process, SensorDesign((1.0, 1.0), (0.2, 0.2))), final[:, None])
    mask, level = torch.ones(2000, 1, dtype=torch.bool), torch.zeros(2000)
    start = estimate.process.with_sensors(final, mask, level)
    found = estimate.process.state(estimated(estimate, start, generator))
    still = estimate.process.state(estimate(final, mask, level))
    V = final.var()
    gain = V / (V + 0.2**2)
    # of 2000 numbers the deviation is known to 1.6 %, here to three standard errors
    assert float((found - still).std() / gain) == pytest.approx(0.2, rel=0.05)


def test_sensors_sharper_than_any_digit_are_exact(generator):
    """Twelve of sixteen points of states of three directions, all of which are found then."""
    basis = torch.randn(3, 16, generator=generator)
    final = (torch.randn(50, 3, generator=generator) @ basis)[:, None]
    design = SensorDesign((0.75, 0.75), (1e-30, 1e-30))
    estimate = fit_sensor_estimate(sensed(BURGERS, design), final[:, None])
    mask, level = design.draw(50, 16, generator=generator, device=None)
    start = estimate.process.with_sensors(final, mask, level)
    seen = estimated(estimate, start, generator)
    found = estimate.process.state(seen)
    assert float((found - final).abs()[mask[:, None]].max()) < 1e-3


def test_one_mask_of_many_is_estimated_as_that_mask_alone(generator):
    final = BURGERS.simulate(300, generator=generator)[:, -1]
    observation = named("every:4", 0.2, BURGERS.shape)
    reader = fit_sensor_estimate(sensed(BURGERS), final[:, None]).at(observation)
    y = observation.observe(final[:5], generator=generator)
    alone = fit_final_estimate(BURGERS.layout, final, observation)(y)
    # both choose among four covariances, by errors under different masks
    assert float((reader.plain(reader(y)) - alone).norm()) < 0.25 * float(alone.norm())
    assert reader.mask.nonzero()[:, 0].tolist() == [0, 4, 8, 12]


def test_sensors_go_where_the_points_go(generator):
    """The image of a state with sensors shows the image of the state at the image of its sensors."""
    process = sensed(BURGERS)
    x = process.initial(3, generator=generator)
    mask, _ = process.sensors_of(x)
    for image, alone in zip(process.images(x), BURGERS.images(process.state(x)), strict=True):
        assert torch.equal(process.state(image), alone)
        moved, _ = process.sensors_of(image)
        shown = torch.where(mask, process.state(x)[:, 0], torch.zeros(()))
        assert torch.allclose(
            torch.where(moved, alone[:, 0], torch.zeros(())).abs().sum(1), shown.abs().sum(1), rtol=1e-5
        )
        assert torch.equal(moved.sum(1), mask.sum(1))


def test_the_physics_does_not_see_the_sensors(generator):
    process = sensed(BURGERS)
    x = process.initial(3, generator=generator)
    seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
    run = process.run(x, process.times[:2], noise=False)
    assert torch.allclose(run[:, -1, :1], BURGERS.run(x[:, :1], process.times[:2], noise=False)[:, -1])
    assert torch.equal(run[:, -1, 1:], x[:, 1:])
    assert process.simulate(2, generator=seeds[0]).shape == (2, 5, 3, 16)
    assert process.diffusion(torch.zeros(2))[:, 1:].abs().max() == 0


@pytest.fixture(scope="module")
def anyhow(tmp_path_factory):
    """A run for any noise on the double well, and its data."""
    folder = tmp_path_factory.mktemp("sensors")
    generate(
        DatasetPlan(DoubleWell(steps=8), {"train": 2000, "valid": 50, "test": 200}, 0, "double-well"), folder / "d"
    )
    train, valid, test = (TrajectoryDataset(folder / "d" / "data" / split) for split in ("train", "valid", "test"))
    train_run(
        folder / "run",
        train,
        valid,
        method="physinv",
        settings={"validate_every": 200, "width": 32, "rate": 3e-3},
        budget=Budget(steps=400),
        observe="random:1",
        observed_noise="0.2-1.0",
    )
    return load_run(folder / "run"), test


@pytest.mark.parametrize("noise", [0.25, 0.8])
def test_one_run_answers_every_level_of_the_noise(noise, anyhow, tmp_path, generator):
    run, test = anyhow
    plan = SamplingPlan(samples=100, observe="everything", observed_noise=noise)
    reconstruct(run, test, tmp_path / "r.hdf5", plan)
    ours = read_reconstruction(tmp_path / "r.hdf5")
    y, truth = ours.observation, test.states(0)
    assert float((y - test.states(-1)).std()) == pytest.approx(noise, rel=0.2)  # four standard errors of 200
    assert ours.samples.shape == (200, 100, 1)

    # Importance sampling: forward runs, weighted by the likelihood of each observation.
    runs = DoubleWell(steps=8).simulate(20_000, generator=generator)
    weights = (-((y - runs[:, -1].T) ** 2) / (2 * noise**2)).softmax(1)
    exact = runs[:, 0][torch.multinomial(weights, 100, replacement=True, generator=generator)]
    assert float(crps(ours.samples, truth)) < 1.05 * float(crps(exact, truth))
    assert abs(float(coverage(ours.samples, truth)) - float(coverage(exact, truth))) < 0.06


def test_what_the_run_is_not_trained_for_is_refused(anyhow, tmp_path):
    run, test = anyhow
    for plan, text in (
        (SamplingPlan(), "trained for any sensors (random:1); say which"),
        (SamplingPlan(observe="everything", observed_noise=3.0), "`observed_noise` must lie between 0.2 and 1"),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            reconstruct(run, test, tmp_path / "x.hdf5", plan)
    with pytest.raises(ValueError, match="sensors that see all channels of a point"):
        run.partial.at(Observation(lambda x: 2 * everything(x), 0.5))
    with pytest.raises(ValueError, match="`observed_noise` must be one number"):
        train_run(tmp_path / "r", test, test, budget=Budget(steps=1), observe="everything", observed_noise="0.1-0.2")
    wide = dataclasses.replace(BURGERS, size=4096)
    with pytest.raises(ValueError, match="states of at most 2048 numbers"):
        fit_sensor_estimate(sensed(wide), torch.zeros(2, 1, 1, 4096))
