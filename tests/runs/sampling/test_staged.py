"""Two stages for nonlinear fields that are seen in part: not worse than draws of the prior, however little is seen."""

import pytest
import torch

from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import crps
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.layout import VectorLayout
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.runs.sampling.staged import best_share
from physinv.training.budget import Budget
from simulators.fields.burgers import Burgers

LAYOUT = VectorLayout("position", 2)


def case(width, bias, generator, n=200):
    """Truths that are known to .3, draws of a width around what is known of them, off by a bias, and prior draws."""
    known = torch.randn(n, 2, generator=generator) * 0.91**0.5
    truth = known + 0.3 * torch.randn(n, 2, generator=generator)
    drawn = known[:, None] + bias + width * torch.randn(n, 50, 2, generator=generator)
    return drawn, torch.randn(50, 2, generator=generator), truth


def test_right_draws_are_kept(generator):
    assert best_share(LAYOUT, *case(0.3, 0.0, generator)) > 0.95


def test_draws_that_know_nothing_are_those_of_the_prior(generator):
    """The parabola has its minimum at 0 then, up to the chance of 200 truths, over the distance of the two laws."""
    _, prior, truth = case(0.3, 0.0, generator)
    assert best_share(LAYOUT, 5 + 3 * torch.randn(200, 50, 2, generator=generator), prior, truth) < 0.05
    assert best_share(LAYOUT, prior[None, :10].expand(200, 10, 2) + 5, prior, truth) < 0.05


def test_in_between_the_share_is_that_of_the_best_mixture(generator):
    drawn, prior, truth = case(0.02, 0.8, generator)
    share = best_share(LAYOUT, drawn, prior, truth)

    def score(k):
        """Fair CRPS of mixtures of many draws; of a share k / 10, with the same numbers each time."""
        many, fill = drawn.repeat(1, 2, 1)[:, : 10 * k], prior.repeat(2, 1)[: 100 - 10 * k]
        return float(crps(torch.cat([many, fill.expand(200, *fill.shape)], 1), truth))

    scores = [score(k) for k in range(11)]
    assert 0.1 < share < 0.9
    assert abs(scores.index(min(scores)) / 10 - share) <= 0.1
    assert min(scores) < min(scores[0], scores[-1]) - 0.02


@pytest.fixture(scope="module")
def burgers(tmp_path_factory):
    """A run of next to no training, and its test data."""
    folder, process = tmp_path_factory.mktemp("staged"), Burgers(size=32, steps=4)
    generate(DatasetPlan(process, {"train": 60, "valid": 20, "test": 100}, 0, "burgers"), folder / "d")
    train, valid, test = (TrajectoryDataset(folder / "d" / "data" / s) for s in ("train", "valid", "test"))
    train_run(folder / "run", train, valid, method="physinv", settings={"width": 16}, budget=Budget(steps=60))
    return load_run(folder / "run"), test


@pytest.mark.parametrize(("observe", "noise"), [("every:16", 3.0), ("every:16", 1e-4), ("every:2", 1e-4)])
def test_draws_are_not_worse_than_those_of_the_prior(observe, noise, burgers, tmp_path):
    run, test = burgers
    plan = SamplingPlan(samples=16, observe=observe, observed_noise=noise, certify=0)
    reconstruct(run, test, tmp_path / "r.hdf5", plan)
    found = read_reconstruction(tmp_path / "r.hdf5")
    prior = run.simulator.initial(1600, generator=seeds(1).child("known").generator()).reshape(100, 16, 1, 32)
    ours, theirs = float(crps(found.samples, found.truth)), float(crps(prior, found.truth))
    assert ours < 1.02 * theirs  # the standard error of their difference
    if observe == "every:2":
        assert ours < 0.8 * theirs


def test_a_share_of_the_prior_is_told(burgers, tmp_path):
    run, test = burgers
    told = []
    plan = SamplingPlan(samples=2, limit=2, observe="every:16", observed_noise=100.0, certify=0)
    reconstruct(run, test, tmp_path / "r.hdf5", plan, warn=told.append)
    assert "were drawn by a Gaussian update" in told[0]
    assert (tmp_path / "r.hdf5").exists()
