"""The metric of the quadratic process, counted by hand."""

import torch

from simulators.vectors.quadratic import quadratic_q


def test_quadratic_q_counts_both_branches():
    x0 = torch.tensor([1.0, 1.05, 0.95, -1.0, -1.2, 0.0, float("nan"), -0.95])
    assert quadratic_q(x0).item() == 2 * 2 / 8  # three hits at +1, two at -1, three misses
    assert quadratic_q(x0, tolerance=0.21).item() == 2 * 3 / 8
