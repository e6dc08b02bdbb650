"""Where the search for paths given a record begins, and which processes have records."""

from __future__ import annotations

__all__ = ["observable", "starts"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord, as_record
from physinv.methods.classical.monte_carlo.path import PathModel
from physinv.methods.problem import NotApplicableError
from physinv.processes.simulator import Simulator


def observable(simulator: Simulator, observed: ObservationRecord | Observation) -> ObservationRecord:
    """Return the record of what is observed of a process, or refuse it.

    Args:
        simulator: The process.
        observed: A record, or one observation of the final state.

    Returns:
        The record, whose operators take states of the process.

    Raises:
        ValueError: If an operator fails for such states.
        NotApplicableError: For processes with static channels, which noisy numbers do not tell.
    """
    if simulator.layout.static:
        raise NotApplicableError("the static channels must be seen; give the whole final state.")
    record = as_record(observed, float(simulator.horizon))
    record.sizes(torch.zeros(1, *simulator.shape))
    return record


def starts(
    model: PathModel, like: Float[Tensor, "batch *state"], generator: torch.Generator | None = None
) -> list[Float[Tensor, "batch *state"]]:
    """Return initial states from which minima are sought: the mean of the prior, and a draw from it.

    Args:
        model: Coordinates of the paths.
        like: States of the batch, precision and device in question.
        generator: Source of the draw.

    Returns:
        Two states for each row.
    """
    drawn = model.law.draw(model.simulator, len(like), generator=generator, device=like.device, dtype=like.dtype)
    return [model.initial(like.new_zeros((len(like), model.law.numbers)), like), drawn]
