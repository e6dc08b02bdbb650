"""The linear estimate: for linear-Gaussian processes it is the exact posterior."""

import pytest
import torch

from physinv.generate import generate
from physinv.linear_estimate import fit_linear
from physinv.trajectories import TrajectoryDataset
from simulators.heat import Heat
from simulators.ornstein_uhlenbeck import OrnsteinUhlenbeck

N = 2000


def splits(simulator, name, folder):
    generate(simulator, name, {"train": N, "valid": 500, "test": 500}, 0, folder)
    return (TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test"))


@pytest.mark.parametrize(
    ("name", "simulator"),
    [
        ("heat", Heat(size=8, dimension=1, steps=2, noise=0.5)),
        ("ornstein-uhlenbeck", OrnsteinUhlenbeck(dim=3, components=1, spread=0.0, steps=2)),
    ],
)
def test_it_is_the_exact_posterior_of_a_linear_gaussian_process(name, simulator, tmp_path):
    train, valid, test = splits(simulator, name, tmp_path / "d")
    found, truth, final = fit_linear(simulator, train, valid), test.states(0), test.states(-1)
    mean = simulator.exact().mean(final)
    missed = float((mean - truth).square().mean())
    # ordinary least squares with d inputs: the excess of the squared error is d/N of what is missed; five times that
    d = truth[0].numel()
    assert float((found.mean(final) - mean).square().mean()) < 5 * d / N * missed
    assert float((final - truth).square().mean()) > 1.3 * missed  # the observation itself is no such estimate
    draws = found.sample(final, 50, generator=torch.Generator().manual_seed(0))
    spread = float((draws - draws.mean(1, keepdim=True)).square().mean()) * 50 / 49
    assert spread == pytest.approx(missed, rel=5 * (2 / 500) ** 0.5)  # 500 residuals, independent in time only
    assert torch.allclose(draws.mean(1), found.mean(final), atol=6 * (spread / 50) ** 0.5 * 1.5)
