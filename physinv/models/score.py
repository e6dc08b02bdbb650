"""The learned score: a reference law fitted to the data, plus what a network adds to it."""

from __future__ import annotations

__all__ = ["ScoreModel"]

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.models.references.base import ReferenceLaw


class ScoreModel(nn.Module):
    """``s(x, t) = grad log q_t(x) + lift(network(features(x, t), tau(t)))``, a Score with parameters.

    ``network`` is any module ``(features, tau) -> output``; ``tau = log(1 + t/t_1) / log(1 + T/t_1)`` runs from 0 to 1
    and resolves the first steps, where scores are largest.  ``clock = (t_1, T)``: first and last stored time.
    ``mixed`` runs the network (never the reference or the physics) in bfloat16.

    ``images``, if given, are the symmetries of the process (:meth:`~physinv.equations.sde.SDE.images`): the score is
    then averaged over them, ``s(x) = 1/n sum_S S s(S x)``, and obeys them exactly.  Where two starts mirror each
    other, no error of the network favours one of them.
    """

    def __init__(
        self,
        reference: ReferenceLaw,
        network: nn.Module,
        clock: tuple[float, float],
        *,
        images: Callable[[Tensor], list[Tensor]] | None = None,
        mixed: bool = False,
    ) -> None:
        super().__init__()
        self.reference, self.network, self.clock, self.images, self.mixed = reference, network, clock, images, mixed

    def forward(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        if self.images is None:
            return self.reference.score(x, t) + self.remainder(x, t)
        mirrored = self.images(x)
        n, every = len(mirrored), torch.cat(mirrored)
        clock = t.repeat(n)
        scores = (self.reference.score(every, clock) + self.remainder(every, clock)).chunk(n)
        return torch.stack([self.images(s)[i] for i, s in enumerate(scores)]).mean(0)

    def remainder(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """What the network adds to the reference score."""
        return self.reference.lift(self.output(x, t), x, t)

    def output(
        self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"], features: Tensor | None = None
    ) -> Tensor:
        """The network's output, of order one, before it is lifted to a contribution to the score.

        ``features`` of the reference, where they are known already.
        """
        first, last = self.clock
        tau = torch.log1p(t / first) / math.log1p(last / first)
        features = self.reference.features(x, t) if features is None else features
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.mixed):
            out: Tensor = self.network(features, tau)
        return out.to(x.dtype)
