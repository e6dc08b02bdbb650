"""Densities of conditional flows and diffusions, against the exact ones of Ornstein-Uhlenbeck and heat."""

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods.learned.conditional import fit_conditional_diffusion, fit_flow_matching
from physinv.methods.problem import Problem
from physinv.posterior import likelihood
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

FITS = [fit_conditional_diffusion, fit_flow_matching]
MIXTURE = OrnsteinUhlenbeck(dim=1, components=2, width=0.4, noise=0.8, steps=2)
RING = Heat(size=8, dimension=1, steps=2, noise=0.5)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    made = {}

    def problem(simulator, steps, width=32):
        if simulator not in made:
            folder = tmp_path_factory.mktemp("data") / "d"
            generate(DatasetPlan(simulator, {"train": 2000, "valid": 400, "test": 200}, 0, "any"), folder)
            made[simulator] = [TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test")]
        train, valid, test = made[simulator]
        settings = Settings(width=width, depth=2, rate=5e-3, batch=512, validate_windows=400)
        return Problem(simulator, train, valid, settings, Budget(steps=steps)), test.states(0), test.states(-1)

    return problem


@pytest.mark.parametrize("fit", FITS)
def test_an_untrained_flow_has_the_density_of_the_linear_estimate(fit, make):
    """Networks begin at 0, where flow and diffusion are those of white noise around the linear estimate."""
    problem, truth, final = make(RING, 1, width=4)
    truth, final = truth[:50], final[:50]
    answer = fit(problem)
    for p in answer.model.network.parameters():
        torch.nn.init.zeros_(p)
    linear = answer.model.coordinates.linear
    ours, known = answer.log_prob(truth, final), linear.log_prob(truth, final)
    # 8 numbers: the solver errs by 1e-4, and a diffusion starts at sigma = .002 and ends at 80: 1/80^2 each
    assert torch.allclose(ours, known, atol=8 * 2e-3)
    assert float(known.std()) > 1


@pytest.mark.parametrize("fit", FITS)
def test_the_density_of_a_trained_flow_is_normalised_and_nearly_exact(fit, make):
    problem, truth, final = make(MIXTURE, 800)
    answer, exact = fit(problem), MIXTURE.exact()
    gap = answer.log_prob(truth, final) - exact.log_prob(truth, final)
    # the mean of the gap is the Kullback-Leibler divergence, which falls with training: .05 here
    assert float(gap.mean()) == pytest.approx(0.0, abs=0.1)
    linear = answer.model.coordinates.linear
    assert float((linear.log_prob(truth, final) - exact.log_prob(truth, final)).mean()) < -0.3
    grid = torch.linspace(-8, 8, 801)[:, None]
    for x in final[:2]:
        density = answer.log_prob(grid, x.expand(len(grid), 1)).exp()
        assert float(density.sum() * 16 / 800) == pytest.approx(1, abs=0.01)  # rectangles; tolerance 1e-4 of the solver


def test_one_probe_is_right_on_average(make, monkeypatch):
    problem, truth, final = make(RING, 30, width=4)
    truth, final = truth[:25], final[:25]
    answer = fit_flow_matching(problem)
    exact = answer.log_prob(truth, final)
    monkeypatch.setattr(likelihood, "EXACT_DIVERGENCE", 4)
    guessed = answer.log_prob(truth, final)
    assert not torch.equal(guessed, exact)
    error = float((guessed - exact).std()) / len(truth) ** 0.5
    assert float((guessed - exact).mean()) == pytest.approx(0.0, abs=5 * error)
    assert torch.equal(guessed, answer.log_prob(truth, final))  # a fixed seed
