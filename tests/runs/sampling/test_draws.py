"""Draws of a batch of observations: what an answer from outside returns for them is checked each time."""

import re
import warnings

import pytest
import torch

from physinv.methods.problem import RowsWarning
from physinv.runs.sampling.draws import drawn_states, heard
from physinv.runs.sampling.plan import SamplingPlan

FINAL = torch.zeros(3, 2)


class Draws:
    """An answer that is right for up to two observations, on which those from outside are tried."""

    def __init__(self, part, wrong):
        self.part, self.wrong = part, wrong

    def sample(self, final, n, *, generator=None):
        return self._of("sample", final, torch.zeros(len(final), n, 2))

    def mean(self, final):
        return self._of("mean", final, torch.zeros(len(final), 2))

    def _of(self, part, final, found):
        return self.wrong(found) if part == self.part and len(final) > 2 else found


def draw(answer, final, kind):
    plan = SamplingPlan(samples=4, answer=kind)
    return drawn_states(None, answer, None, final, plan, torch.Generator())


@pytest.mark.parametrize(
    ("part", "wrong", "message"),
    [
        ("sample", lambda x: {}[0], "`sample` of Draws ends with KeyError: 0"),
        ("sample", lambda x: x.transpose(0, 1), "`sample` of Draws must return a tensor (3, 4, *state), got Tensor"),
        ("sample", lambda x: x[..., 0], "`sample` of Draws must return a tensor (3, 4, *state), got Tensor"),
        ("sample", lambda x: x.numpy(), "`sample` of Draws must return a tensor (3, 4, *state), got ndarray"),
        ("mean", lambda x: x[:1], "`mean` of Draws must return a tensor (3, *state), got Tensor of shape (1, 2)"),
        ("mean", lambda x: x[:, 0], "`mean` of Draws must return a tensor (3, *state), got Tensor of shape (3,)"),
    ],
)
def test_answers_from_outside_are_checked_for_each_batch(part, wrong, message):
    answer, kind = Draws(part, wrong), "samples" if part == "sample" else "mean"
    count = 4 if part == "sample" else 1
    assert draw(answer, FINAL[:2], kind).shape == (2, count, 2)
    with pytest.raises(ValueError, match=re.escape(message)):
        draw(answer, FINAL, kind)


def test_a_warning_of_rows_is_told_once_for_all_batches():
    def bad(numbers):
        return f"{len(numbers)} rows, up to {max(numbers):g}"

    told = ["before"]
    for numbers in ([1.0, 3.0], [], [2.0], [4.0]):
        with heard(told):
            warnings.warn("each time the same", stacklevel=1)
            if numbers:
                warnings.warn(RowsWarning(numbers, bad), stacklevel=1)
    assert told == ["before", "each time the same", "4 rows, up to 4"]
