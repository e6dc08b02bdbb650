"""Covariances of priors from few states."""

import math

import pytest
import torch

from physinv.methods.classical.gaussian_prior import fit_covariance
from physinv.processes.layout import FieldLayout, VectorLayout


@pytest.mark.parametrize(("n", "d"), [(40, 6), (5, 6)])
def test_the_shrunk_covariance_is_that_of_ledoit_and_wolf(n, d, generator):
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) @ torch.diag(torch.arange(1.0, d + 1).double())
    x = x - x.mean(0)
    C = x.T @ x / n
    mu, eye = C.trace() / d, torch.eye(d, dtype=torch.float64)
    distance = ((C - mu * eye) ** 2).sum()
    error = sum(((torch.outer(a, a) - C) ** 2).sum() for a in x) / n**2
    rho = min(error, distance) / distance
    assert rho > 0.05  # the formula matters here
    expected = rho * mu * eye + (1 - rho) * C
    found = fit_covariance(x, VectorLayout("x", d))
    assert torch.allclose(found.apply(eye), expected, rtol=1e-10)
    half = found.whiten(found.whiten(eye))
    assert torch.allclose(half @ expected, eye, atol=1e-9)


def test_channels_of_a_periodic_field_are_correlated_mode_by_mode(generator):
    z = torch.randn(4000, 2, 8, generator=generator, dtype=torch.float64)
    x = torch.stack([z[:, 0], 0.6 * z[:, 0].roll(1, -1) + 0.8 * z[:, 1]], dim=1)
    layout = FieldLayout(("a", "b"), ("x",), (tuple(float(i) for i in range(8)),), "PERIODIC")
    covariance = fit_covariance(x - x.mean(0), layout)
    white = covariance.whiten(x)
    joint = torch.einsum("nci,nej->ciej", white, white) / len(x)
    eye = torch.eye(16, dtype=torch.float64).reshape(2, 8, 2, 8)
    # entries of a sample covariance of 4000 standard normal vectors: standard error sqrt(2 / 4000) at most
    assert float((joint - eye).abs().max()) < 5 * math.sqrt(2 / 4000)
    unit = torch.zeros(1, 2, 8, dtype=torch.float64)
    unit[0, 0, 3] = 1
    assert float(covariance.apply(unit)[0, 1, 4]) == pytest.approx(0.6, abs=5 / math.sqrt(4000))
