"""Budgets: exactly one of updates and seconds, positive; shares of them."""

import math

import pytest

from physinv.training.budget import Budget


def test_exactly_one_of_updates_and_seconds():
    for wrong in ({}, {"steps": 3, "seconds": 1.0}):
        with pytest.raises(ValueError, match="exactly one of `steps` and `seconds`"):
            Budget(**wrong)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"`steps` of a Budget must be at least 1, got {wrong}"):
            Budget(steps=wrong)
    for wrong in (0.0, -2.5, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"`seconds` of a Budget must be positive and finite, got {wrong}"):
            Budget(seconds=wrong)


def test_shares():
    assert Budget(steps=10).share(0.5) == Budget(steps=5)
    assert Budget(steps=1).share(0.1) == Budget(steps=1)
    assert Budget(seconds=10.0).share(0.25) == Budget(seconds=2.5)


def test_what_is_used_up():
    assert Budget(steps=10).used(5, 1e6) == 0.5
    assert Budget(seconds=10.0).used(10**6, 5.0) == 0.5


def test_budgets_that_outlast_everybody_are_refused():
    assert Budget(steps=10**10).steps == 10**10
    with pytest.raises(ValueError, match="`steps` of a Budget must be at most 10000000000, got 9223372036854775807"):
        Budget(steps=2**63 - 1)
