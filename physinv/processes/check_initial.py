"""Check that initial states have the shape that the layout of their process says."""

from __future__ import annotations

__all__ = ["check_initial"]

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import joined

if TYPE_CHECKING:
    from physinv.processes.simulator import Simulator


def check_initial(simulator: Simulator, x: Float[Tensor, "..."], batch: int) -> None:
    """Refuse initial states that do not have the shape that the layout of their process says.

    Args:
        simulator: The process.
        x: What its ``initial`` returned.
        batch: Number of states that it was asked for.

    Raises:
        ValueError: If shape or number differ.
    """
    owner, shape = type(simulator).__name__, tuple(x.shape)
    if shape[1:] != simulator.shape:
        wanted = joined(simulator.shape)
        raise ValueError(f"`initial` of {owner} must return {wanted}, as `layout` says, got {shape}; change one.")
    if len(x) != batch:
        raise ValueError(f"`initial` of {owner} must return {batch} states, as many as `batch` says, got {len(x)}.")
