"""Interpolants: paths with noise between two states, from which flows and bridges of generative models are made.

    x_s = (1 - s) start + s end + c(s) noise,    c(s) = sigma (s (1 - s))^(1/2),    s from 0 to 1

With ``sigma = 0`` they are straight lines (flow matching, rectified flow).  With ``sigma > 0`` they are Brownian
bridges: given both ends, ``dx = (end - x) / (1 - s) ds + sigma dW``.  A model learns a conditional expectation of

    the rate   end - start + c'(s) noise,             for the flow  dx = E[rate | x_s] ds
    the pull   (end - x_s) / (1 - s),                 for the SDE   dx = E[pull | x_s] ds + sigma dW

and both lead from the law of ``start`` to the law of ``end``.  That is a statement about the two laws.  For pairs that
belong together, ``start = x_T`` and ``end = x_0``, neither gives ``p(x_0 | x_T)`` unless ``x_T`` is an input of the
expectation as well (:mod:`physinv.equations.paths.pairs` has the numbers).

References:
    Albergo, Boffi and Vanden-Eijnden (2023), Stochastic interpolants; Liu, Gong and Liu (2023), Flow straight and fast;
    De Bortoli et al. (2023), Augmented bridge matching.
"""

from __future__ import annotations

__all__ = ["Interpolant"]

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match

_States = Float[Tensor, "batch *state"]


@dataclass(frozen=True)
class Interpolant:
    """A straight line, or a Brownian bridge.

    Args:
        noise: ``sigma``, 0 or more, in the unit of the states.

    Raises:
        ValueError: If ``noise`` is negative or infinite.

    Example:
        >>> import torch
        >>> half, one = torch.full((1,), 0.5), torch.ones(1, 1)
        >>> Interpolant().state(0 * one, 4 * one, one, half).item()
        2.0
        >>> Interpolant(noise=2.0).state(0 * one, 4 * one, one, half).item()  # 2 (1/2 1/2)^(1/2) more
        3.0
    """

    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"`noise` must be at least 0 and finite, got {self.noise:g}.")

    def spread(self, s: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return ``c(s)``, the deviation of the noise in a state whose ends are known.

        Args:
            s: Places on the path, from 0 to 1.
        """
        return self.noise * (s * (1 - s)).sqrt()

    def state(self, start: _States, end: _States, noise: _States, s: Float[Tensor, " batch"]) -> _States:
        """Return the states ``x_s``.

        Args:
            start: States at 0.
            end: States at 1.
            noise: Standard normal numbers.
            s: Places on the path, from 0 to 1.
        """
        return match(1 - s, end) * start + match(s, end) * end + match(self.spread(s), end) * noise

    def rate(self, start: _States, end: _States, noise: _States, s: Float[Tensor, " batch"]) -> _States:
        """Return ``dx_s / ds`` along a path: its expectation given ``x_s`` is the velocity of the flow.

        Args:
            start: States at 0.
            end: States at 1.
            noise: Standard normal numbers.
            s: Places on the path, between 0 and 1.
        """
        if self.noise == 0:
            return end - start
        return end - start + match(self.noise**2 * (1 - 2 * s) / (2 * self.spread(s)), end) * noise

    def pull(
        self, x: Float[Tensor, "batch *state"], end: Float[Tensor, "batch *state"], s: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        """Return ``(end - x_s) / (1 - s)``, the drift of a bridge: its expectation is the drift of the SDE.

        Args:
            x: States at ``s``.
            end: States at 1, or their expectation.
            s: Places on the path, below 1.
        """
        return (end - x) / match(1 - s, x)
