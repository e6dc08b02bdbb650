"""How good a posterior is by its own densities: ``log p(x_0 | x_T)`` of the truth, and the bracket of ``log p(x_T)``.

Both belong to the answer of a run and not to single samples, so they are computed where the run is at hand, for the
first trajectories of a reconstruction, and stored with it.  What has no density says so in one line.
"""

from __future__ import annotations

__all__ = ["certified", "certify", "reversal_behind", "truth_density"]

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.laws.exact import Density
from physinv.methods.own.score import OwnPosterior
from physinv.methods.problem import Answer
from physinv.posterior.bracket import Bracket, bracket
from physinv.posterior.weigh import Reversal
from physinv.processes.simulator import Simulator

_MOST, _NUMBERS, _FEWEST = 64, 2**10, 8  # trajectories whose densities are computed, and numbers in their states
_DRAWS = 4  # of the reversal for each of them: the error of the bracket is that of the trajectories


def certified(numbers: int) -> int:
    """Return the number of trajectories whose densities are computed, where no other is asked for.

    Args:
        numbers: Numbers in a state.

    Example:
        >>> certified(2), certified(64), certified(1024)
        (64, 16, 8)
    """
    return min(_MOST, max(_FEWEST, _NUMBERS // numbers))


def certify(
    answer: Answer,
    simulator: Simulator,
    data: TrajectoryDataset,
    final: Float[Tensor, "n *state"],
    *,
    whole: bool,
    generator: torch.Generator | None = None,
) -> dict[str, Any]:
    """Compute the densities of the first trajectories of a dataset under an answer.

    Args:
        answer: The answer of a run, as samples are drawn from it.
        simulator: The process.
        data: Trajectories.
        final: What the answer is given in the place of the first final states, on its device; it says how many.
        whole: Whether these are the final states themselves, not estimates of them.
        generator: Source of the draws of the reversal, on the same device.

    Returns:
        Figures by name, and what is not known as sentences, fit for JSON.
    """
    found: dict[str, Any] = {"truths": len(final), "told": []}
    numbers = simulator.layout.moving(final[:1]).numel()
    found["numbers"] = numbers
    if simulator.unknown:
        names = ", ".join(simulator.unknown)
        return found | {"told": [f"No log density: {names} and the state are unknown together."]}

    # The density of the truth.
    try:
        each = truth_density(answer, data.states(0, limit=len(final)).to(final), final) / numbers
        found |= {"log_prob": float(each.mean()), "log_prob_error": _error(each)}
    except ValueError as error:
        found["told"].append(f"No log density of the truth: {error}")

    # The bracket of the evidence of the same trajectories.
    if not whole:
        found["told"].append("No bracket of log p(x_T): it is of whole final states, these are observed in part.")
        return _finite(found)
    try:
        paths = data.trajectories(slice(0, len(final))).to(final)
        made = bracket(reversal_behind(answer), paths, data.times, draws=_DRAWS, generator=generator)
        found |= _figures(made)
    except ValueError as error:
        found["told"].append(f"No bracket of log p(x_T): {error}")
    return _finite(found)


@torch.no_grad()
def truth_density(
    answer: Answer, truth: Float[Tensor, "n *state"], final: Float[Tensor, "n *state"]
) -> Float[Tensor, " n"]:
    """Return ``log p(x_0 | x_T)`` of true initial states under an answer, in nats.

    Args:
        answer: The answer.
        truth: True initial states.
        final: What the answer is given.

    Raises:
        ValueError: If the answer has no density.
    """
    if not isinstance(answer, Density):
        raise ValueError("this method draws samples and has no density.")
    return answer.log_prob(truth, final).double()


def reversal_behind(answer: Answer) -> Reversal:
    """Return the chain of steps or jumps that the samples of an answer are drawn along.

    Args:
        answer: The answer.

    Raises:
        ValueError: If there is none, or samples are mapped behind it.
    """
    if not isinstance(answer, OwnPosterior):
        raise ValueError("this method has no reversal in steps.")
    if answer.values is not None:
        raise ValueError("a map of values stands behind the reversal, and samples are what comes out of the map.")
    return answer.reversal


def _finite(found: dict[str, Any]) -> dict[str, Any]:
    """The figures, None in the place of those that are not finite."""
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in found.items()}


def _figures(made: Bracket) -> dict[str, Any]:
    lower, upper = made.bounds
    return {
        "lower": lower,
        "upper": upper,
        "width": made.width,
        "width_error": made.width_error,
        "width_per_number": made.width_per_number,
        "draws": _DRAWS,
        "prior": made.weighed.prior,
    }


def _error(x: Tensor) -> float:
    """Standard error of a mean; not a number of a single value."""
    return float(x.std()) / math.sqrt(len(x)) if len(x) > 1 else math.nan
