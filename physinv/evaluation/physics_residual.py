"""Does a reconstructed trajectory obey the equation?  What its steps miss, in units of the noise."""

from __future__ import annotations

__all__ = ["Diagonal", "physics_residual"]

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE


@runtime_checkable
class Diagonal(Protocol):
    """An SDE whose accumulated noise is diagonal in an orthonormal basis (:class:`~physinv.equations.sde.Linear` has
    these)."""

    def modes(self, x: Tensor) -> Tensor: ...
    def unmodes(self, y: Tensor, like: Tensor) -> Tensor: ...
    def variance(self, dt: Tensor, like: Tensor) -> Tensor: ...


@torch.no_grad()
def physics_residual(
    states: Float[Tensor, "batch time *state"], sde: SDE, times: Float[Tensor, " time"]
) -> Float[Tensor, ""]:
    """``mean_m |q^(-1/2) (x_{m+1} - Phi(x_m))|^2 / rank q``, mean over the batch; 1 for true trajectories.

    ``Phi`` is ``sde.drift_flow`` in ``sde.substeps`` steps, q the covariance of the noise of the interval; components
    (or modes) without noise do not count.  Too quiet is wrong too: a noise-free path scores 0.  Exact for linear SDEs
    (n numbers: 1 +- (2/n)^(1/2)); for others up to discretisation, and to how far the flow stretches noise within an
    interval.  What cannot be seen is a start that is off while the path follows from it.

    Where q is diagonal in a basis (:class:`Diagonal`: linear SDEs, and coloured noise, which has ``sde.diffuse``
    overridden and no components of its own) it is whitened there.  Elsewhere by ``sde.whiten``, which takes the gap for
    one at ``t_m``: where a process overrides it, and so carries the gap through the flow first (oscillators), the gap
    is carried back before, ``Phi^-1(x_{m+1}) - x_m``.

    ``times`` increasing, one per state.  Infinite where a state or the flow is not finite.  Raises ValueError for other
    shapes or times, for fewer than 2 states, for an SDE without noise, and for noise that depends on the state.
    """
    if states.ndim < 3 or states.shape[1] < 2 or states.shape[1] != len(times) or len(states) == 0:
        raise ValueError(
            f"`states` must have shape (batch, time, *state) with 2 or more states, one for each of the {len(times)} "
            f"`times`, got {tuple(states.shape)}."
        )
    if not bool((times.diff() > 0).all()):
        raise ValueError("`times` must increase strictly from one state to the next.")
    square, count, finite = states.new_zeros(()), states.new_zeros(()), states.isfinite().all()
    for m in range(len(times) - 1):
        t0, t1 = (times[i].to(states).expand(len(states)) for i in (m, m + 1))
        reached = _flow(sde, states[:, m], t0, t1)
        finite = finite & reached.isfinite().all()
        if isinstance(sde, Diagonal):
            gap, noisy = _diagonal(sde, states[:, m + 1] - reached, t1 - t0)
        else:
            gap, noisy = _componentwise(sde, states[:, m + 1], reached, t0, t1)
        square, count = square + gap.square().sum(), count + noisy.square().sum()
    if not bool(count > 0):
        raise ValueError("`sde` must have noise, the unit of the residual; compare with a noise-free run instead.")
    return torch.where(finite & square.isfinite(), square / count, torch.inf)


def _flow(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
    n = sde.substeps
    for i in range(n):
        x = sde.drift_flow(x, torch.lerp(t0, t1, i / n), torch.lerp(t0, t1, (i + 1) / n))
    return x


def _diagonal(sde: Diagonal, gap: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """``q^(-1/2) gap``, and a state whose square norm is the number of modes with noise (Parseval)."""
    y, q = sde.modes(gap), sde.variance(dt, gap)
    noisy = q > torch.finfo(gap.dtype).tiny
    scale = torch.where(noisy, q, torch.ones_like(q)).rsqrt() * noisy
    return sde.unmodes(scale * y, gap), sde.unmodes(noisy * torch.ones_like(y), gap)


def _componentwise(sde: SDE, x: Tensor, reached: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
    """The gap in units of its noise by ``sde.whiten``, and 1 for each component that has noise, else 0."""
    noisy = sde.whiten(torch.ones_like(x), t0, t1) != 0
    if type(sde).whiten is not SDE.whiten:
        x, reached = _flow(sde, x, t1, t0), _flow(sde, reached, t1, t0)
    return sde.whiten(x - reached, t0, t1), noisy.to(x.dtype)
