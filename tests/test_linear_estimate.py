"""The linear estimate: for linear-Gaussian processes it is the exact posterior."""

import pytest
import torch

from physinv.generate import generate
from physinv.linear_estimate import fit_linear
from physinv.trajectories import TrajectoryDataset
from simulators.heat import Heat
from simulators.heat_conductivity import HeatConductivity
from simulators.ornstein_uhlenbeck import OrnsteinUhlenbeck

N = 2000


def splits(simulator, name, folder, n=N):
    generate(simulator, name, {"train": n, "valid": 500, "test": 500}, 0, folder)
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


def test_what_is_static_is_copied_and_symmetries_are_kept(tmp_path):
    simulator = HeatConductivity(size=8, dimension=1, steps=2)
    train, valid, test = splits(simulator, "conductivity", tmp_path / "d", n=100)
    found, truth, final = fit_linear(simulator, train, valid), test.states(0), test.states(-1)
    draws = found.sample(final, 3, generator=torch.Generator().manual_seed(0))
    known = simulator.layout.names.index(simulator.layout.static[0])
    assert torch.equal(found.mean(final)[:, known], final[:, known])
    assert torch.equal(draws[:, :, known], final[:, None, known].expand(-1, 3, -1))
    # the density is over what moves: that of its Gaussian
    moving = simulator.layout.moving
    law = torch.distributions.Normal(moving(found.mean(final)), moving(found.deviation[None]))
    want = law.log_prob(moving(truth)).flatten(1).sum(1)
    assert torch.allclose(found.log_prob(truth, final), want, atol=1e-4)
    for image, mirrored in zip(simulator.images(final), simulator.images(found.mean(final)), strict=True):
        assert torch.allclose(found.mean(image), mirrored, atol=1e-4)
