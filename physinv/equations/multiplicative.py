"""Stochastic differential equations whose noise depends on the state."""

from __future__ import annotations

__all__ = ["Multiplicative"]

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE


class Multiplicative(SDE):
    """An SDE ``dx = f(x, t) dt + g(x, t) dW`` in the sense of Ito, with noise that depends on the state.

    The noise is diagonal, and each amplitude ``g_i(x_i, t)`` depends on its own component only.  Euler and Milstein
    steps are right for it, forward and (around :class:`~physinv.equations.sde.Reverse`) backward.  Everything that
    needs ``g`` to be a function of time alone, such as solvers of higher order and training, raises ValueError; use the
    coordinate ``y = int dx / g`` (Lamperti), whose noise is constant.  A subclass gives ``drift`` and
    :meth:`amplitude`.
    """

    @abstractmethod
    def amplitude(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the noise amplitude ``g(x, t)``.

        Args:
            x: States, ``(batch, *state)``.
            t: Times, ``(batch,)``.

        Returns:
            ``(batch, *state)``, in units of the state per square root of time.
        """

    def spurious(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the divergence of ``g^2``, ``d(g_i^2)/dx_i``.

        The default differentiates :meth:`amplitude` automatically; override it where there is a formula.

        Args:
            x: States, ``(batch, *state)``.
            t: Times, ``(batch,)``.

        Returns:
            ``(batch, *state)``, in units of the state per time.
        """
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            total = self.amplitude(y, t).square().sum()
            (slope,) = torch.autograd.grad(total, y, create_graph=True)
        return slope if torch.is_grad_enabled() else slope.detach()

    def disturb(
        self, x: Float[Tensor, "batch *state"], v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        return self.amplitude(x, t) * v

    def correct(
        self, x: Float[Tensor, "batch *state"], score: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        return self.spurious(x, t) + self.amplitude(x, t) ** 2 * score

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        raise ValueError(
            f"the noise of {type(self).__name__} depends on the state, this needs noise that does not; "
            "take `euler` or `milstein`, or the coordinates y = int dx / g."
        )
