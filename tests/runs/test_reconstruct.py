"""Sampling plans: what they refuse, and how many states they compute for each observation."""

import dataclasses

import pytest

from physinv.runs.reconstruct import ANSWERS, SamplingPlan


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"answer": "ode"}, "`answer` must be one of samples, mean, flow, mean-flow, got 'ode'"),
        ({"grid": "even"}, "`grid` must be one of stored, linear, log, learned, got 'even'"),
        ({"samples": 0}, "`samples` must be at least 1, got 0"),
        ({"limit": 0}, "`limit` must be at least 1, got 0"),
        ({"steps": -1}, "`steps` must be at least 1, got -1"),
        ({"answer": "flow", "observe": "coarse:2"}, "`observe` needs `answer` samples, got 'flow'"),
    ],
)
def test_wrong_plans_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SamplingPlan(**values)


@pytest.mark.parametrize("answer", ANSWERS)
def test_single_estimates_give_one_state_for_each_observation(answer):
    assert SamplingPlan(answer=answer, samples=5).draws == (5 if answer == "samples" else 1)


def test_plans_are_values():
    plan = SamplingPlan(samples=3)
    assert plan == SamplingPlan(samples=3)
    assert dataclasses.replace(plan, samples=4) != plan
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.samples = 4
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample'"):
        SamplingPlan(sample=3)
