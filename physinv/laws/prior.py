"""What a method asks of a law of initial states ``p(x_0)``, whoever made it."""

from __future__ import annotations

__all__ = ["Prior"]

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Prior(Protocol):
    """A law ``p(x_0)`` with draws, a density, and coordinates in which it is standard normal.

    The coordinates are what Monte Carlo and variational methods move in: whatever the law, ``-log p`` is ``|u|^2 / 2``
    there, and ``x_0 = decode(u)`` is differentiable.
    """

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n *state"]:
        """Draw states.

        Args:
            n: Number of states.
            generator: Source of randomness.

        Returns:
            The draws.
        """

    def log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return log densities in nats.

        Args:
            x: States.
        """

    def score(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``grad_x log p(x)``.

        Args:
            x: States.
        """

    def decode(self, u: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch *state"]:
        """Return the states at coordinates, differentiable; standard normal ones become draws.

        Args:
            u: Coordinates, as many as a state has numbers.
        """

    def encode(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch numbers"]:
        """Return the coordinates of states, at least nearly.

        Args:
            x: States.
        """
