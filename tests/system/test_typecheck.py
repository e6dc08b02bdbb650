"""The run-time type checker of the tests checks what has arrays of stated shapes, and nothing else."""

import jaxtyping
import pytest
import torch
from typecheck import ALWAYS, THEN

from physinv.config.inputs import describe
from physinv.equations.gaussian import gaussian_log_prob


def wrong():
    return gaussian_log_prob(torch.zeros(()), torch.ones(()), torch.zeros(()))  # an axis of the batch is missing


def test_the_first_calls_of_a_test_are_checked_and_some_of_the_later_ones():
    refused = 0
    for _ in range(THEN):
        try:
            wrong()
        except jaxtyping.TypeCheckError:
            refused += 1
        except Exception:
            pass
    assert refused == ALWAYS + 1


def test_again_in_every_test():
    with pytest.raises(jaxtyping.TypeCheckError):
        wrong()


def test_functions_without_arrays_are_left_alone():
    assert not hasattr(describe, "__wrapped__")
    assert hasattr(gaussian_log_prob, "__wrapped__")
