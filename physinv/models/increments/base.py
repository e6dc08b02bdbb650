"""What a law around a linear estimate is."""

from __future__ import annotations

__all__ = ["LEAST", "IncrementLaw"]

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.processes.layout import StateLayout

LEAST = 1e-5
"""Share of the largest deviation: what varies less is not scaled up."""

_AT_BOUND, _ALONE = 0.01, 10  # share of all numbers that are the least one, and how many times the next one as many


class IncrementLaw(nn.Module):
    """A law of ``x_0`` given ``x_T`` and an estimate of ``x_0``.

    Draws lie within the range of training, widened by its size on each side; but not beyond a bound of what is
    measured, such as the freezing point of a sea or no rain, which many numbers of training are exactly.

    Args:
        network: What is trained.
        layout: Layout of the states.
    """

    low: Float[Tensor, "*one_state"]
    high: Float[Tensor, "*one_state"]
    floor: Float[Tensor, "*one_state"]
    ceiling: Float[Tensor, "*one_state"]

    def __init__(self, network: nn.Module, layout: StateLayout) -> None:
        super().__init__()
        self.network, self.layout = network, layout
        one = layout.channel_mean(torch.zeros(1, *layout.shape))
        self.register_buffer("low", torch.zeros_like(one))
        self.register_buffer("high", torch.zeros_like(one))
        self.register_buffer("floor", torch.full_like(one, -torch.inf))
        self.register_buffer("ceiling", torch.full_like(one, torch.inf))

    def bound(self, states: Float[Tensor, "n *state"]) -> None:
        """Set the bounds of draws: the range of given states, widened by its size on each side, and hard bounds.

        Args:
            states: Training states.
        """
        valid = self.layout.valid
        states = states if valid is None else states[..., valid.to(states.device)]
        axes = [axis for axis in range(states.ndim) if axis != 1]
        low, high = (x.reshape(self.low.shape) for x in (states.amin(axes), states.amax(axes)))
        self.low.copy_(low - (high - low))
        self.high.copy_(high + (high - low))
        channels = states.transpose(0, 1).flatten(1)
        self.floor.copy_(torch.stack([_hard(x) for x in channels]).reshape(low.shape))
        self.ceiling.copy_(torch.stack([-_hard(-x) for x in channels]).reshape(low.shape))

    def within(
        self, states: Float[Tensor, "*many *state"], final: Float[Tensor, "*many *state"]
    ) -> Float[Tensor, "*many *state"]:
        """Return states brought within the bounds of draws, with the static channels of observations.

        Args:
            states: States.
            final: Observed final states, broadcastable; one that lies beyond a hard bound shows that there is none.
        """
        low = torch.maximum(self.low, torch.minimum(self.floor, self._least(final)))
        high = torch.minimum(self.high, torch.maximum(self.ceiling, -self._least(-final)))
        near = self.layout.moving(torch.minimum(torch.maximum(states, low), high))
        return self.layout.emptied(self.layout.set_moving(near, final.expand_as(states)))

    def seen(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return observations as the law takes them: those far from all of training are brought nearer.

        Args:
            final: Final states ``x_T``.

        Returns:
            The states, within the bounds of draws.
        """
        return self.within(final, final)

    @abstractmethod
    def adapt(
        self, initial: Float[Tensor, "n *state"], final: Float[Tensor, "n *state"], estimate: Float[Tensor, "n *state"]
    ) -> None:
        """Fit locations and scales to training data, without the network.

        Args:
            initial: Initial states.
            final: Final states.
            estimate: Cross-fitted estimates of the initial states.
        """

    def believe(self, final: Float[Tensor, "n *state"]) -> None:
        """Take note of observations that were not trained on and most of which are no faults; by default nothing.

        Args:
            final: Final states of validation data.
        """
        return

    @abstractmethod
    def loss(
        self,
        initial: Float[Tensor, "batch *state"],
        final: Float[Tensor, "batch *state"],
        estimate: Float[Tensor, "batch *state"],
        generator: torch.Generator | None,
        *,
        judged: bool = False,
    ) -> Float[Tensor, ""]:
        """Return the mean of a proper score of the law.

        Args:
            initial: Initial states ``x_0``.
            final: Final states ``x_T``.
            estimate: Linear estimates of ``x_0``.
            generator: Source of whatever the loss draws.
            judged: Whether these are validation data: single large errors must not outweigh all others then.
        """

    @abstractmethod
    def draw(
        self,
        final: Float[Tensor, "batch *state"],
        estimate: Float[Tensor, "batch *state"],
        n: int,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n *state"]:
        """Draw initial states.

        Args:
            final: Final states ``x_T``.
            estimate: Linear estimates of ``x_0``.
            n: Draws for each of them.
            generator: Source of randomness.

        Returns:
            Initial states, ``(batch, n, *state)``.
        """

    @abstractmethod
    def widen(self, gap: Float[Tensor, "n *state"], times: float) -> None:
        """Draw errors of a given size in addition, alike for all observations: those beyond all that was trained on.

        A network knows where errors are large within what it saw, and not beyond it.

        Args:
            gap: Errors of means, of which the mean modulus counts: single large errors do not say how large all are.
            times: Size of the additional errors in units of these.
        """

    @abstractmethod
    def mean(
        self, final: Float[Tensor, "batch *state"], estimate: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        """Return the mean of the law.

        Args:
            final: Final states ``x_T``.
            estimate: Linear estimates of ``x_0``.
        """

    def finish(
        self,
        initial: Float[Tensor, "n *state"],
        final: Float[Tensor, "n *state"],
        estimate: Float[Tensor, "n *state"],
        generator: torch.Generator,
    ) -> None:
        """Fit what remains after training to states that the law was not trained on; by default nothing.

        Args:
            initial: Initial states.
            final: Final states.
            estimate: Linear estimates of the initial states.
            generator: Source of the draws that are compared.
        """
        return

    def _least(self, states: Float[Tensor, "*many *state"]) -> Float[Tensor, "*many *one_state"]:
        """The least number of each channel, or of each component of a vector."""
        if not self.layout.space:
            return states
        if self.layout.valid is not None:
            states = states.masked_fill(~self.layout.valid.to(states.device), torch.inf)
        return states.amin([-1 - i for i in range(len(self.layout.space))], keepdim=True)


def _hard(numbers: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """The least of some numbers, if that is where they cannot go on; else minus infinity.

    Where a sensor rests at its least number, the next ones are not far less frequent.
    """
    least = numbers.amin()
    at_least, above = numbers == least, numbers[numbers > least]
    next_one = above.amin() if len(above) else least  # of a constant it is the same, and no bound
    often, next_often = int(at_least.sum()), int((numbers == next_one).sum())
    return least if often >= max(_AT_BOUND * len(numbers), _ALONE * next_often) else least.new_tensor(-torch.inf)
