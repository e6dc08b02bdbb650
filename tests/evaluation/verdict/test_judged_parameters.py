"""What is said of the intervals and ranks of unknown parameters."""

import pytest
import torch

from physinv.evaluation.calibration import sbc
from physinv.evaluation.verdict.parameters import judge_parameters


def drawn(n, width=1.0, shift=0.0):
    """Truths from N(0, 1) seen with noise of deviation 1, and draws of the posterior N(y / 2, 1 / 2) or a wrong one."""
    g = torch.Generator().manual_seed(5)
    truth = torch.randn(n, 1, generator=g)
    y = truth + torch.randn(n, 1, generator=g)
    noise = torch.randn(n, 64, 1, generator=g)
    return y[:, None] / 2 + 0.5**0.5 * (width * noise + shift), truth


@pytest.mark.parametrize(
    ("width", "shift", "told"),
    [
        (1.0, 0.0, None),
        (0.8, 0.0, "they are too narrow and cannot be trusted"),
        (1.5, 0.0, "they are too wide and cannot be trusted"),
        (1.05, 0.35, "uneven ranks among its draws"),  # which coverage does not show
    ],
)
def test_wrong_draws_of_a_parameter_are_told_and_exact_ones_are_not(width, shift, told):
    samples, truth = drawn(400, width, shift)
    p = sbc(samples, truth, generator=torch.Generator().manual_seed(0))
    said, warned = judge_parameters(samples, truth, {"rate": p})
    assert len(said) + len(warned) == 1
    assert bool(warned) == (told is not None)
    assert "90 % intervals of `rate` hold the true value in " in (said + warned)[0]
    assert told is None or told in warned[0]


def test_each_of_several_parameters_is_judged_by_itself():
    exact, truth = drawn(400)
    narrow, _ = drawn(400, width=0.5)
    said, warned = judge_parameters(
        torch.cat([exact, narrow], 2), truth.expand(-1, 2), {"rate": 0.5, "observed_noise": 1.0}
    )
    assert ["`rate`" in text for text in said] == [True]
    assert ["`observed_noise`" in text for text in warned] == [True]
