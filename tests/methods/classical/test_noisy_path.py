"""The cost function of an initial state and of the noise on the way: the law of the noise, and coordinates."""

import pytest
import torch
from classical_cases import make

from physinv.methods.classical.gaussian_prior import fit_gaussian_prior
from physinv.methods.classical.noisy_path import NoisyPath, PathCost, fit_noisy_path
from simulators.fields.heat import Heat


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    simulator = Heat(size=8, steps=8)
    return make(simulator, tmp_path_factory.mktemp("noisy") / "d", train=200)


def test_the_noise_of_each_part_is_that_of_the_process(noisy):
    problem, _, _ = noisy
    path = fit_noisy_path(problem, trajectories=200)
    assert path.times.tolist() == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    sde, like = problem.simulator, torch.zeros(1, 1, 8, 8)
    exact = float(sde.variance(0.0, torch.full((1,), 0.05), like).mean())
    for covariance in path.covariances:
        # 200 runs of 40 independent modes
        assert float(covariance.parts["variance"].mean()) == pytest.approx(exact, rel=5 * (2 / (200 * 40)) ** 0.5)


def test_a_process_without_noise_has_one_part(tmp_path):
    problem, _, _ = make(Heat(size=8, steps=4, noise=0.0), tmp_path / "d", train=20)
    path = fit_noisy_path(problem, trajectories=20)
    assert path.parts == 1
    assert path.times.tolist() == pytest.approx([0, 0.2])


def test_coordinates_and_tensors_give_the_same_states_again(noisy):
    problem, truth, final = noisy
    path = fit_noisy_path(problem, trajectories=200)
    cost = PathCost(path, fit_gaussian_prior(problem), final)
    u = cost.without_noise(truth)
    assert u.shape == (len(truth), 4 * 64)
    assert torch.allclose(cost.initial(u), truth, atol=1e-4)

    # Without noise the residual is the difference from where the physics leads, in units of the last part's noise.
    reached = truth
    for part in range(4):
        reached = path.carried(reached, part)
    gap = path.covariances[-1].whiten(reached - final).flatten(1)
    assert torch.allclose(cost.residual(u), gap, atol=1e-2)
    again = PathCost(NoisyPath.from_tensors(problem.simulator, path.tensors()), cost.prior, final)
    assert torch.equal(again.residual(u), cost.residual(u))
