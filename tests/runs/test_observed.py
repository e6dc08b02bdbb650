"""Runs that are trained for partial observations."""

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import coverage, crps
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import fit_run, load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from simulators.fields.burgers import Burgers
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

NOISE = 0.5


def made(simulator, name, folder, **splits):
    generate(DatasetPlan(simulator, {"train": 400, "valid": 50, "test": 200, **splits}, 0, name), folder)
    return [TrajectoryDataset(folder / "data" / split) for split in ("train", "valid", "test")]


@pytest.fixture(scope="module")
def wells(tmp_path_factory):
    return made(DoubleWell(steps=8), "double-well", tmp_path_factory.mktemp("wells"), train=2000)


@pytest.mark.parametrize("method", ["physinv", "flow-matching"])
def test_samples_score_as_those_of_forward_runs_weighted_by_what_was_seen(method, wells, tmp_path, generator):
    """Noise half as wide as a well: taken for x_T itself, what is seen leads to far too narrow intervals."""
    train, valid, test = wells
    simulator = DoubleWell(steps=8)
    train_run(
        tmp_path / "run",
        train,
        valid,
        method=method,
        settings={"validate_every": 200, "width": 32},
        budget=Budget(steps=600),
        observe="everything",
        observed_noise=NOISE,
    )
    reconstruct(tmp_path / "run", test, tmp_path / "r.hdf5", SamplingPlan(samples=100, certify=2))
    ours = read_reconstruction(tmp_path / "r.hdf5")
    y = ours.observation  # of `everything` it is what was seen
    assert float((y - test.states(-1)).std()) == pytest.approx(NOISE, abs=0.1)  # 200 numbers: four standard errors

    # Importance sampling: forward runs, weighted by the likelihood of each observation.
    runs = simulator.simulate(20_000, generator=generator)
    weights = (-((y - runs[:, -1].T) ** 2) / (2 * NOISE**2)).softmax(1)
    exact = runs[:, 0][torch.multinomial(weights, 100, replacement=True, generator=generator)]
    truth = test.states(0)
    assert float(crps(ours.samples, truth)) < 1.05 * float(crps(exact, truth))
    assert abs(float(coverage(ours.samples, truth)) - float(coverage(exact, truth))) < 0.06
    mean = (weights @ runs[:, 0])[:, 0]
    assert float((ours.samples.mean(1)[:, 0] - mean).square().mean().sqrt()) < 0.3 * float(exact.std(1).mean())


def test_the_observation_belongs_to_the_run(tmp_path):
    train, valid, test = made(Burgers(size=16, steps=4), "burgers", tmp_path / "data", train=100, valid=16, test=5)
    tiny = {"width": 8, "depth": 1, "validate_every": 5, "validate_windows": 64, "fresh": "off"}
    seen = {"observe": "every:4", "observed_noise": 0.1}
    train_run(tmp_path / "run", train, valid, settings=tiny, budget=Budget(steps=10), **seen)
    run = load_run(tmp_path / "run")
    assert run.info["observation"] == {"observe": "every:4", "noise": 0.1, "seed": 0}
    for out, plan in (
        ("a", SamplingPlan(samples=2, certify=1)),
        ("b", SamplingPlan(samples=2, observe="every:4", certify=1)),
    ):
        told = []
        reconstruct(run, test, tmp_path / out, plan, warn=told.append)
        assert not [line for line in told if "Gaussian" in line]
    first, again = (read_reconstruction(tmp_path / name) for name in "ab")
    assert torch.equal(first.samples, again.samples)
    assert first.info["observe"] == "every:4"
    with pytest.raises(ValueError, match=r"is trained for, every:4 and 0\.1, got every:2"):
        reconstruct(run, test, tmp_path / "c", SamplingPlan(observe="every:2"))
    with pytest.raises(ValueError, match=r"was begun with `observation` = .*every:4.*, now None"):
        train_run(tmp_path / "run", train, valid, settings=tiny, budget=Budget(steps=20), resume=True)

    # A run of whole final states says what it does not know of a part of them.
    train_run(tmp_path / "whole", train, valid, method="physinv", settings=tiny, budget=Budget(steps=10))
    told = []
    reconstruct(
        tmp_path / "whole",
        test,
        tmp_path / "d",
        SamplingPlan(samples=2, observe="every:4", certify=0),
        warn=told.append,
    )
    assert [line for line in told if "drawn by a Gaussian update" in line]


@pytest.mark.parametrize(
    ("simulator", "name", "method", "text"),
    [
        (DoubleWell(steps=4), "double-well", "gauss-newton", "`gauss-newton` needs whole final states"),
        (OrnsteinUhlenbeck(steps=4), "ornstein-uhlenbeck", "physinv", "`observe` is for nonlinear processes"),
    ],
)
def test_what_cannot_be_trained_for_it_is_refused(simulator, name, method, text, tmp_path):
    train, valid, _ = made(simulator, name, tmp_path / "data", train=20)
    with pytest.raises(ValueError, match=text):
        train_run(
            tmp_path / "run",
            train,
            valid,
            method=method,
            budget=Budget(steps=2),
            observe="everything",
            observed_noise=1.0,
        )
    assert not (tmp_path / "run" / "run.json").exists()


def test_noise_without_an_observation_is_refused(wells, tmp_path):
    with pytest.raises(ValueError, match="belongs to a partial observation, got 1; give `observe`"):
        train_run(tmp_path / "run", *wells[:2], budget=Budget(steps=2), observed_noise=1.0)


def test_noise_that_nothing_is_seen_with_is_refused(wells, tmp_path):
    run = fit_run(*wells[:2], method="linear")
    with pytest.raises(ValueError, match="belongs to a partial observation, got nan; give `observe`"):
        reconstruct(run, wells[2], tmp_path / "r.hdf5", SamplingPlan(samples=2, observed_noise=float("nan")))
    assert not list(tmp_path.iterdir())
