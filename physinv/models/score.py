"""The learned score: the score of a reference law plus a remainder that a network learns."""

from __future__ import annotations

__all__ = ["ScoreModel"]

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.inputs import States, as_states, as_tensor
from physinv.equations.broadcast import repeated
from physinv.equations.sde import SDE
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.here import Here


class ScoreModel(nn.Module):
    """A score with parameters, ``s(x, t) = grad log q_t(x) + lift(network(features(x, t), tau(t)))``.

    The network's time ``tau = log(1 + t/t_1) / log(1 + T/t_1)`` runs from 0 to 1 and resolves the first steps, where
    scores are largest.

    Args:
        reference: Reference law ``q_t``.
        network: Any module ``(features, tau) -> output``.
        clock: First stored time after 0, and last stored time, ``(t_1, T)``.
        images: Symmetries of the process (:meth:`~physinv.equations.sde.SDE.images`).  If given, the score is averaged
            over them, ``s(x) = 1/n sum_S S s(S x)``, and obeys them exactly; where two initial states mirror each
            other, no error of the network then favours one of them.
        mixed: Whether the network (never the reference law or the physics) runs in bfloat16.
        shape: Shape of one state, which inputs are then checked for; None: they are not.
        physics: The process that it learns the score of; None: it is not known.
    """

    def __init__(
        self,
        reference: ReferenceLaw,
        network: nn.Module,
        clock: tuple[float, float],
        *,
        images: Callable[[Tensor], list[Tensor]] | None = None,
        mixed: bool = False,
        shape: tuple[int, ...] | None = None,
        physics: SDE | None = None,
    ) -> None:
        super().__init__()
        self.reference, self.network, self.clock, self.images, self.mixed = reference, network, clock, images, mixed
        self.shape = shape
        self._physics = (physics,)  # no part of the model, of whose weights those of learned physics are none

    @property
    def physics(self) -> SDE | None:
        """The process that it learns the score of; None where it is not known."""
        return self._physics[0]

    def accepted(self, x: States, name: str = "x", *, finite: bool = False) -> Float[Tensor, "batch *state"]:
        """Return states in the precision and on the device of the weights.

        Args:
            x: States: a tensor, or an array or lists, of which one is made.
            name: Name of the argument, for messages.
            finite: Whether NaN and infinity are refused.

        Raises:
            ValueError: If they are no states of the process that the model was built for.
        """
        return as_states(x, name, self.shape, like=next(self.parameters(), None), finite=finite)

    def forward(self, x: States, t: float | Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``grad_x log p_t(x)``.

        Args:
            x: States: a tensor, or an array or lists, of which one is made.
            t: Times, or one time for all states.

        Raises:
            ValueError: If they are no states of the process that the model was built for, the number of times is
                another, or a time lies beyond those of the data.
        """
        if not (isinstance(x, Tensor) and isinstance(t, Tensor) and t.shape == x.shape[:1] and self._fit(x)):
            x, t = self.accepted(x), as_tensor(t, "t")
            if t.ndim > 1 or t.numel() not in (1, len(x)):
                raise ValueError(
                    f"`t` must be one number or one for each of {len(x)} states, got shape {tuple(t.shape)}; expand it."
                )
            self._check_times(t)
            t = t.to(x).expand(len(x))
        else:
            self._check_times(t)
        # Processes begin at 0 and laws are smooth in log t: rounding t like x, by 6e-8 of itself, loses nothing.
        return self._at(x, t.to(x.dtype))[0]

    def _check_times(self, t: Tensor) -> None:
        """Refuse times beyond those of the data; of times on a GPU it is not asked, since the answer takes a wait."""
        if t.device.type != "cpu" or not t.numel():
            return
        first, last = (float(value) for value in t.detach().aminmax())
        if not (first >= 0 and last <= self.clock[1] * (1 + 1e-6)):
            bound = f"{self.clock[1]:g}, the last time of the data that the model was trained on"
            raise ValueError(f"`t` must lie between 0 and {bound}, got {first if first < 0 else last:g}.")

    def _fit(self, x: Tensor) -> bool:
        """Whether states may be taken as they are."""
        return x.dtype == torch.float32 and self.shape in (None, x.shape[1:])

    def with_precision(
        self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch *state"], Float[Tensor, "batch *state"] | None]:
        """Return the score, and the :meth:`~physinv.models.references.base.ReferenceLaw.precision` of the reference
        law, which share what they have in common.

        Args:
            x: States.
            t: Times.
        """
        score, here = self._at(x, t.to(x.dtype))
        return score, here.precision(len(x))

    def _at(self, x: Tensor, t: Tensor) -> tuple[Tensor, Here]:
        """The score, and the reference law at the states and then at their images."""
        mirrored = [x] if self.images is None else self.images(x)
        n = len(mirrored)
        every, clock = (x, t) if self.images is None else (torch.cat(mirrored), repeated(t, n))
        here = self.reference.here(every, clock)
        score = here.score() + here.lift(self.output(every, clock, here.features()))
        if self.images is not None:
            score = torch.stack([self.images(s)[i] for i, s in enumerate(score.chunk(n))]).mean(0)
        return score, here

    def remainder(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the network's contribution to the score.

        Args:
            x: States.
            t: Times.
        """
        here = self.reference.here(x, t)
        return here.lift(self.output(x, t, here.features()))

    def output(
        self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"], features: Tensor | None = None
    ) -> Tensor:
        """Return the network's output, of order one, before it is lifted to a contribution to the score.

        Args:
            x: States.
            t: Times.
            features: Features of the reference law, ``(batch, channels_in, *space)``, if they were computed before.
        """
        first, last = self.clock
        tau = torch.log1p(t / first) / math.log1p(last / first)
        features = self.reference.features(x, t) if features is None else features
        features, tau = features.to(x.dtype), tau.to(x.dtype)  # a solver gives very short steps their times in float64
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.mixed):
            out: Tensor = self.network(features, tau)
        return out.to(x.dtype)
