"""Observe a part of the final states in a comparison: what each method is given in the place of whole ones."""

from __future__ import annotations

__all__ = ["fitted_to"]

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from physinv.config.seeds import seeds
from physinv.laws.operators import named
from physinv.laws.record import ObservationRecord
from physinv.methods.auto import underlying
from physinv.methods.problem import Answer, NotApplicableError, Problem, TakesRecords
from physinv.methods.registry import METHODS, fit_method
from physinv.methods.saving import loading_of
from physinv.runs.observed import with_observations
from physinv.training.final_estimate import FinalEstimate


def fitted_to(
    problem: Problem, method: str, options: Mapping[str, Any], final: Tensor, seen: Mapping[str, Any] | None
) -> tuple[Answer, Answer, Tensor]:
    """Fit a method, and return what it is asked with.

    Args:
        problem: The problem, with whole final states.
        method: Name of the method.
        options: Its options.
        final: Final states to reconstruct from.
        seen: What is seen of them, ``observe`` and ``noise``; None: all, without noise.

    Returns:
        The fitted method; the answer that draws; and what it is asked with: final states, estimates of them for
        methods that are trained for what is seen, or the observed numbers for methods that answer records.

    Raises:
        NotApplicableError: If the method needs whole final states.
    """
    if seen is None:
        fitted = fit_method(method, problem, options)
        return fitted, underlying(fitted), final
    observation = named(seen["observe"], seen["noise"], problem.train.shape, seed=problem.seed)
    generator = seeds(problem.seed).child("observation", "noise", 0).generator(final.device)
    y = observation.observe(final, generator=generator)

    # Trained for what is seen, or asked for a record of one time.
    if loading_of(METHODS.find(method)).partial:
        problem = with_observations(problem, method, {**seen, "seed": problem.seed})
        assert isinstance(problem.observed, FinalEstimate)  # just put there
        fitted = fit_method(method, problem, options)
        return fitted, underlying(fitted), problem.observed(y)
    fitted = fit_method(method, problem, options)
    answer = underlying(fitted)
    if not isinstance(answer, TakesRecords):
        raise NotApplicableError("the method needs whole final states.")
    record = ObservationRecord((float(problem.simulator.horizon), observation))
    return fitted, answer.given(record), y.flatten(1)
