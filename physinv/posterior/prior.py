"""The log density of the initial states that weights of a reversal are made with, and where it comes from."""

from __future__ import annotations

__all__ = ["CLOSED_FORM", "PriorDensity", "prior_of"]

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from physinv.equations.sde import SDE
from physinv.models.references.base import ReferenceLaw
from physinv.processes.simulator import Simulator

CLOSED_FORM = "closed form"
"""What a prior is called that the process knows a formula for."""


class PriorDensity(NamedTuple):
    """The density of the initial states.

    Attributes:
        log_prob: ``x_0 -> log p(x_0)``, ``(batch, *state) -> (batch,)``, nats.
        source: Where it comes from, in a few words.
    """

    log_prob: Callable[[Tensor], Tensor]
    source: str


def prior_of(sde: SDE, reference: ReferenceLaw | None, start: float = 0.0) -> PriorDensity:
    """Return the log density of initial states: the formula of the process, else the reference law of the score.

    The reference law was fitted to the initial states of the training data.  What is computed with it is the evidence
    under that law, and says so in its ``source``.

    Args:
        sde: The process.
        reference: The reference law of its score; None where there is none.
        start: The time of the states, in units of time.

    Raises:
        ValueError: If neither is known.
    """
    if isinstance(sde, Simulator) and start == 0:
        process = sde

        def log_prior(x: Tensor) -> Tensor:
            found = process.log_prior(x)
            assert found is not None  # asked below
            return found

        if process.log_prior(torch.zeros((1, *process.shape))) is not None:
            return PriorDensity(log_prior, CLOSED_FORM)
    if reference is None:
        raise ValueError(
            f"the log density of the initial states of {type(sde).__name__} is not known; give `log_prior`, or the "
            "class a method `log_prior`."
        )
    law = reference
    name = f"reference law `{law.name}` fitted to the initial states of the training data"
    return PriorDensity(lambda x: law.log_prob(x, x.new_full((len(x),), start)), name)
