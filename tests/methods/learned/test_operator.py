"""The Fourier neural operator."""

import dataclasses

import pytest
import torch
from learned_cases import RING, missed, pair

from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.learned.coordinates import conditional_coordinates, fit_coordinates
from physinv.methods.learned.operator import Operator, build_operator, count_weights, fit_fno
from physinv.methods.learned.regression import Regressed, Regression, fit_regression, squared_error


def test_an_fno_learns_a_fourier_multiplier(make):
    pytest.importorskip("neuralop")
    problem, test = make(RING, 120, rate=2e-2)
    (truth, final), exact = pair(test), RING.exact()
    linear = fit_linear(problem.simulator, problem.train, problem.valid)
    blind = dataclasses.replace(linear, weights=0 * linear.weights, deviation=truth.std() * torch.ones(1, 8))
    coordinates = fit_coordinates(problem, blind)
    model = Regression(coordinates, build_operator(coordinates, 4, 8, 0))
    assert isinstance(model.network, Operator)
    problem.minimise(model, squared_error)
    gain = float((problem.train.states(0) * problem.train.states(-1)).sum() / problem.train.states(-1).square().sum())
    pointwise = missed(gain * final, exact.mean(final), truth)
    assert pointwise > 0.02
    assert missed(Regressed(model).mean(final), exact.mean(final), truth) < 0.3 * pointwise


def test_an_fno_is_of_the_size_of_the_unet(make):
    pytest.importorskip("neuralop")
    problem, _ = make(RING, 2)
    fno, unet = (count_weights(fit(problem).model.network) for fit in (fit_fno, fit_regression))
    assert fno == pytest.approx(unet, rel=0.25)  # channels come in whole numbers
    features, t = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0)), torch.ones(3)
    network = build_operator(conditional_coordinates(problem), 4, 8, 0).requires_grad_(False)
    out = network(features, t)
    assert float(out.std()) > 1e-3
    assert torch.allclose(network(features.roll(3, -1), t), out.roll(3, -1), atol=1e-5)
