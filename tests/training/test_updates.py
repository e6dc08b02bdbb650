"""Updates: the schedule of the learning rate, the average of the weights, and what is left alone."""

import math

import pytest
import torch

from physinv.config.settings import Settings
from physinv.training.updates import Updates, schedule


class Line(torch.nn.Module):
    """Two weights, one of which is frozen."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor([1.0]))
        self.frozen = torch.nn.Parameter(torch.tensor([5.0]), requires_grad=False)


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    assert schedule(0.0) == pytest.approx(0.05)  # 1e-3 of the training over the 2 % of warm-up: never 0
    assert schedule(0.015) == pytest.approx(0.75)
    assert schedule(0.02) == pytest.approx(1.0)
    assert schedule(0.02 + 0.98 / 3) == pytest.approx(0.75)  # (1 + cos(pi/3)) / 2
    assert schedule(0.51) == pytest.approx(0.5)
    assert schedule(1.0) == pytest.approx(0.0, abs=1e-12)
    assert schedule(1.7) == pytest.approx(0.0, abs=1e-12)


def test_one_update_by_hand():
    """AdamW's first step is the rate times the sign of the gradient, beside the decay; its average forgets by 2/11."""
    line, rate = Line(), 0.1
    updates = Updates(line, Settings(weight_decay=0.2, ema=0.999), rate)
    updates.step(3 * line.slope.sum(), progress=0.02, count=1)
    stepped = 1.0 - rate * 0.2 - rate
    assert float(line.slope.detach()) == pytest.approx(stepped, rel=1e-6)
    assert float(updates.average.slope) == pytest.approx(2 / 11 + 9 / 11 * stepped, rel=1e-6)
    assert updates.rate == rate
    assert float(line.frozen) == 5.0


def test_averages_forget_as_slowly_as_the_setting_says():
    line = Line()
    updates = Updates(line, Settings(weight_decay=0.0, ema=0.5), 0.1)
    for count in (1001, 1002):
        before = float(updates.average.slope)
        updates.step(line.slope.sum(), progress=0.02, count=count)
        assert float(updates.average.slope) == pytest.approx((before + float(line.slope.detach())) / 2, rel=1e-5)


def test_gradients_are_clipped():
    """Of two steps with gradients 1e6 and 1 the second hardly counts in Adam, unless both are clipped to norm 1."""
    line = Line()
    updates = Updates(line, Settings(weight_decay=0.0, clip=1.0), 0.1)
    updates.step(1e6 * line.slope.sum(), progress=0.02, count=1)
    updates.step(-line.slope.sum(), progress=0.02, count=2)
    # m = (-.1 + .9 * .1) / (1 - .9^2), v = 1: a move of +.1 * .01 / .19
    assert float(line.slope.detach()) == pytest.approx(0.9 + 0.1 * 0.01 / 0.19, rel=1e-4)
    assert not math.isclose(float(line.slope.detach()), 0.9 - 0.1 * 0.09 / 0.19, rel_tol=1e-3)


@pytest.mark.parametrize("size", [0.5, 1.0, 2.0])  # below the limit, at it and above
def test_gradients_are_scaled_to_the_limit_only_above_it(size):
    line = Line()
    Updates(line, Settings(clip=1.0), 0.1).step(size * line.slope.sum(), progress=0.02, count=1)
    assert line.slope.grad is not None
    assert float(line.slope.grad) == pytest.approx(min(size, 1.0), rel=2e-6)


def test_weights_of_two_kinds_are_clipped_together():
    model = torch.nn.ModuleList([torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False).double()])
    updates = Updates(model, Settings(clip=1.0), 1e-3)
    one, two = (layer.weight for layer in model)
    updates.step(3.0 * one.sum() + 4.0 * two.sum(), progress=0.5, count=1)
    assert torch.allclose(torch.stack([one.grad.double(), two.grad]).flatten(), torch.tensor([0.6, 0.8]).double())
