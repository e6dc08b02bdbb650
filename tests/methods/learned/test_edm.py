"""Sampling along the probability flow of a diffusion model, with denoisers that are known."""

import pytest
import torch

from physinv.methods.learned.edm import heun, noise_levels


def carried(variance, steps):
    """Variance of draws over the true one, for data of ``N(0, variance)``: the flow is linear in the noise."""

    def denoise(y, sigma):
        return variance / (variance + sigma**2) * y

    draw = heun(denoise, torch.ones(1, 1, dtype=torch.float64), noise_levels(steps))
    return float(draw) ** 2 / variance


def test_white_data_are_drawn_exactly_by_any_number_of_steps():
    for steps in (2, 5, 20):
        assert carried(1.0, steps) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("variance", [0.2, 0.6, 3.0])
def test_the_variance_of_other_data_is_of_second_order_in_the_step(variance):
    errors = [abs(carried(variance, steps) - 1) for steps in (20, 40)]
    assert errors[0] < 0.03  # steps in sigma itself have 7 % even for white data
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
