"""The jump loss: the score of a jump kernel for pairs of states of one trajectory."""

from __future__ import annotations

__all__ = ["JUMPS", "jump_loss"]

from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Score
from physinv.models.jumps.base import JumpKernel
from physinv.training.objectives.base import Batch, Objective


def jump_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the loss of a jump kernel for windows of two states, the earlier and the later end of a jump.

    For jumps over one stored interval it is the likelihood form of the 1-step loss (Holzschuh et al. 2023, eq. 6). For
    jumps over many intervals the kernel models all the physics between their ends, as the multi-step loss does.

    Args:
        score: A :class:`~physinv.models.jumps.base.JumpKernel`.
        sde: Not used.
        batch: Pairs of states, ``batch.jump``, and ``batch.prepared`` for the later ones.

    Raises:
        ValueError: If ``score`` is no jump kernel, or the batch does not hold jumps.
    """
    if not isinstance(score, JumpKernel) or batch.prepared is None or batch.jump is None:
        raise ValueError(f"`jumps` trains a JumpKernel on pairs of states, got {type(score).__name__}.")
    return score.loss(batch.states[:, 0], batch.states[:, 1], batch.prepared, batch.jump, generator=batch.generator)


JUMPS = Objective(jump_loss)
"""The jump loss."""
