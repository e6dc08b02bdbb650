"""What a reference law says about states at their times: its parts, each computed when it is first asked for."""

from __future__ import annotations

__all__ = ["Here"]

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from physinv.models.references.base import ReferenceLaw


class Here:
    """Give the parts of a reference law at some states and times.

    A law whose parts share intermediate results overrides the methods, and
    :meth:`~physinv.models.references.base.ReferenceLaw.here`, so that these are computed once for all parts.

    Args:
        law: The reference law.
        x: States.
        t: Times.
    """

    def __init__(self, law: ReferenceLaw, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> None:
        self.law, self.x, self.t = law, x, t

    def score(self) -> Float[Tensor, "batch *state"]:
        """Return the score of the law."""
        return self.law.score(self.x, self.t)

    def features(self) -> Tensor:
        """Return inputs of order one for the network, ``(batch, channels_in, *space)``."""
        return self.law.features(self.x, self.t)

    def lift(self, out: Tensor) -> Float[Tensor, "batch *state"]:
        """Return the contribution of the network's output to the score.

        Args:
            out: Output of the network, ``(batch, channels_out, *space)``.
        """
        return self.law.lift(out, self.x, self.t)

    def precision(self, n: int) -> Float[Tensor, "n *state"] | None:
        """Return the diagonal of the curvature at the first states, or None if the law does not know it.

        Args:
            n: Number of states.
        """
        return self.law.precision(self.x[:n], self.t[:n])
