"""Which weights training keeps."""

import pytest
import torch

from physinv.training.checkpoint import Checkpoint


class Average(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = torch.nn.Linear(1, 1, bias=False)


def test_the_last_weights_that_are_not_clearly_worse_are_kept():
    model = Average()
    state = Checkpoint(model, model, {}, torch.optim.SGD(model.parameters(), lr=1.0))

    def judge(step, values):
        state.step = step
        state.judge(values)
        return state.best_step

    assert judge(0, [1.0, 2.0, 3.0]) == 0
    assert judge(1, [0.5, 1.5, 2.5]) == 1  # better everywhere
    assert judge(2, [0.52, 1.48, 2.51]) == 2  # worse by .003 +- .012: not clearly
    assert state.best == pytest.approx(1.5)
    assert judge(3, [0.6, 1.6, 2.62]) == 2  # worse by .107 +- .007
    for step in range(4, 50):  # small steps up, each as good as the last, do not add up: the lowest is the measure
        judge(step, [v + 0.001 * step * (1 + 0.1 * i) for i, v in enumerate([0.5, 1.5, 2.5])])
    assert state.best_step == 2
    with pytest.raises(ValueError, match=r"step 60 is nan, after 1\.5 at best; try a smaller `rate`"):
        judge(60, [float("nan"), 1.0, 1.0])


def test_a_loss_that_is_lost_before_the_first_update_is_not_the_rate_s():
    model = Average()
    state = Checkpoint(model, model, {}, torch.optim.SGD(model.parameters(), lr=1.0))
    with pytest.raises(ValueError, match="before the first update, whatever the learning rate") as found:
        state.judge([float("inf"), 1.0])
    assert "`rate`" not in str(found.value)
