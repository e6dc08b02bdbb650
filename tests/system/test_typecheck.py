"""The run-time type checker of the tests checks what has arrays of stated shapes, and nothing else."""

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from typecheck import EVERY

from physinv.config.inputs import describe
from physinv.equations.gaussian import gaussian_log_prob


def wrong():
    return gaussian_log_prob(torch.zeros(()), torch.ones(()), torch.zeros(()))  # an axis of the batch is missing


def test_the_first_call_of_a_test_is_checked_and_some_of_the_later_ones():
    refused = []
    for call in range(2 * EVERY):
        try:
            wrong()
        except BeartypeCallHintViolation:
            refused.append(call)
        except Exception:
            pass
    assert refused == [0, EVERY]


def test_again_in_every_test():
    with pytest.raises(BeartypeCallHintViolation):
        wrong()


def test_axes_of_one_name_are_as_long_in_arguments_and_in_what_is_returned():
    with pytest.raises(BeartypeCallHintViolation):
        gaussian_log_prob(torch.zeros(3, 2), torch.ones(2), torch.zeros(2, 2))  # three densities of two states


def test_functions_without_arrays_are_left_alone():
    assert not hasattr(describe, "__wrapped__")
    assert hasattr(gaussian_log_prob, "__wrapped__")
