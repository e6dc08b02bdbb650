"""A score that is the gradient of an energy: no curl, density ratios, and Langevin moves made exact by their test."""

import math

import pytest
import torch

import physinv as pi
from physinv.evaluation.two_sample import c2st
from physinv.models.build import build_model
from physinv.models.energy import EnergyModel, build_energy
from physinv.thermodynamics import MALA, tuned
from physinv.training.objectives.denoising import denoising_loss
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=2, steps=8, spread=2.0)
SETTINGS = {"width": 32, "depth": 2, "batch": 256, "rate": 6e-3, "validate_windows": 500, "components": 2}
TIME = 0.5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("energy")
    pi.generate(pi.DatasetPlan(OU, {"train": 2000, "valid": 500}, 0, "ornstein-uhlenbeck"), folder)
    return [pi.TrajectoryDataset(folder / "data" / split).load() for split in ("train", "valid")]


@pytest.fixture(scope="module")
def trained(data):
    """Three Gaussians around a reference law of two, so that the network has something to learn."""
    model = build_energy(OU, data[0], SETTINGS)
    pi.fit(model, OU, *data, settings=SETTINGS, budget=pi.Budget(steps=300), loss=denoising_loss)
    return model


def disturbed(model):
    """The model with weights that are no longer 0, in float64."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model.double()


def curl(model, x):
    """The largest difference of the Jacobian of a score from its transpose."""
    t = torch.full((1,), TIME, dtype=x.dtype)
    slopes = [torch.autograd.functional.jacobian(lambda y: model(y, t)[0], row[None])[:, 0] for row in x]
    return max(float((J - J.T).abs().max()) for J in slopes)


def test_there_is_no_curl_whatever_the_weights(data):
    x = torch.randn(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert curl(disturbed(build_energy(OU, data[0], SETTINGS)), x) < 1e-6
    assert curl(disturbed(build_model(OU, data[0], SETTINGS)), x) > 1e-3


def test_the_network_sees_times_from_0_to_1_by_their_logarithms(data):
    seen = []

    class Listening(torch.nn.Linear):
        def forward(self, features, tau):
            seen.append(tau)
            return super().forward(features)

    reference = build_energy(OU, data[0], SETTINGS).reference
    model = EnergyModel(reference, Listening(reference.channels_in, 1), (0.25, 2.0)).double()
    model.energy(torch.zeros(3, 2, dtype=torch.float64), torch.tensor([0.0, 0.25, 2.0], dtype=torch.float64))
    assert seen[0].tolist() == pytest.approx([0, math.log(2) / math.log(9), 1])


def test_the_score_is_minus_the_gradient_of_the_energy(data):
    model = disturbed(build_energy(OU, data[0], SETTINGS))
    x = torch.randn(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (slope,) = torch.autograd.grad(model.energy(x, TIME).sum(), x)
    torch.testing.assert_close(model(x, torch.full((10,), TIME, dtype=torch.float64)), -slope)


def test_untrained_it_is_the_reference_law(data):
    model = build_energy(OU, data[0], SETTINGS)
    x, t = torch.randn(5, 2), torch.full((5,), TIME)
    torch.testing.assert_close(model(x, t), model.reference.score(x, t))
    torch.testing.assert_close(model.energy(x, t), -model.reference.log_prob(x, t))


def test_energies_tell_log_density_ratios(trained):
    """Up to a constant, and at least twice as well as the reference law; an energy twice too large would fail."""
    law = OU.marginal(TIME)
    x = law.sample(2000, generator=torch.Generator().manual_seed(2)).float()
    with torch.no_grad():
        excess = {
            "learned": trained.energy(x, TIME) + law.log_prob(x.double()),
            "reference": -trained.reference.log_prob(x, torch.full((2000,), TIME)) + law.log_prob(x.double()),
        }
    spread = {name: float(e.std()) for name, e in excess.items()}
    assert spread["learned"] < spread["reference"] / 2, spread


def test_adjusted_langevin_moves_are_exact_for_the_mixture(trained):
    """From the reference law to the mixture of three; without Metropolis' test the same steps end elsewhere."""
    law, generator = OU.marginal(TIME), torch.Generator().manual_seed(3)

    def energy(x):
        return trained.energy(x, TIME)

    x = law.sample(1000, generator=generator).float() + 0.5 * torch.randn(1000, 2, generator=generator)
    move, x = tuned(MALA(0.05), energy, x, rounds=40, generator=generator)
    y = x
    for _ in range(40):
        x = move(energy, x, generator=generator).x
        z = torch.randn(y.shape, generator=generator)
        y = (y + move.size * trained(y, torch.full((1000,), TIME)) + (2 * move.size) ** 0.5 * z).detach()
    exact = law.sample(1000, generator=generator).float()
    assert float(c2st(x, exact, generator=generator)) < 0.55
    assert float(c2st(y, exact, generator=generator)) > 0.6
