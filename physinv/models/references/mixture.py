"""A Gaussian mixture as the reference law of vectors, one component for each cluster of starts."""

from __future__ import annotations

__all__ = ["MixtureReference"]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, expand
from physinv.laws.mixture import Mixture
from physinv.models.references.base import ReferenceLaw, between


class MixtureReference(ReferenceLaw):
    """A Gaussian mixture whose component ``k`` follows the trajectories that started in cluster ``k``.

    ``weights (k)``, ``means (time, k, d)``, ``factors (time, k, d, d)`` (lower Cholesky factors of the covariances),
    interpolated linearly between the stored ``times``.  Features are the state over its root mean square, the state
    whitened by the locally responsible component, the physics ``d`` in that unit, and the responsibilities, where

        d(x) = phi(x) - sum_k r_k phi(m_k),    phi = 2 f / g^2  (the score that the physics has in equilibrium).

    The network's output is a pair: the first half counts in units of the local inverse standard deviation (which
    resolves narrow, well-separated branches), the second half multiplies ``d`` (which is what the tails are made of).

    ``bounds (time, 2, d)`` is the box that the process was seen in at each time; reversals stay within :meth:`box`.
    """

    name = "mixture"

    times: Tensor
    weights: Tensor
    means: Tensor
    factors: Tensor
    bounds: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        sde: SDE,
        times: Float[Tensor, " time"],
        weights: Float[Tensor, " k"],
        means: Float[Tensor, "time k d"],
        factors: Float[Tensor, "time k d d"],
        bounds: Float[Tensor, "time 2 d"],
    ) -> None:
        super().__init__()
        self.sde = sde
        k, d = means.shape[1:]
        self.channels_in, self.channels_out = 3 * d + (k if k > 1 else 0), 2 * d
        centre = (weights[:, None] * means).sum(1)
        spread = ((means - centre[:, None]) ** 2 + (factors**2).sum(-1)) * weights[:, None]
        self.register_buffer("times", times)
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("factors", factors)
        self.register_buffer("bounds", bounds)
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("scale", spread.sum((1, 2)).div(d).sqrt(), persistent=False)

    def _components(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``log w_k N(x; m_k, C_k)`` up to ``d/2 log 2 pi``, and the last two of :meth:`_local`."""
        factor = between(self.times, self.factors, t)
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        inverse = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        z = (inverse @ (x[:, None] - between(self.times, self.means, t)).unsqueeze(-1)).squeeze(-1)
        logs = self.weights.log() + inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1) - (z**2).sum(-1) / 2
        return logs, z, inverse

    def _local(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Responsibilities ``(batch, k)``, whitened states ``(batch, k, d)``, inverse factors ``(batch, k, d, d)``."""
        logs, z, inverse = self._components(x, t)
        return logs.softmax(-1), z, inverse

    def law(self, t: float) -> Mixture:
        """The reference law at time ``t``."""
        at = self.means.new_full((1,), t)
        factor = between(self.times, self.factors, at)[0]
        return Mixture(self.weights, between(self.times, self.means, at)[0], factor @ factor.mT)

    def box(self, t: Float[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """Lowest and highest state at ``t``, ``(batch, d)`` each: as seen, widened by half the extent on each side.

        A reversal that leaves it has left everything that physics and network were ever asked; explicit steps of
        physics run backward then grow without bound, and a clamp to the box is what keeps an outlier finite.
        """
        low, high = between(self.times, self.bounds, t).unbind(1)
        margin = (high - low) / 2
        return low - margin, high + margin

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        r, z, inverse = self._local(x, t)
        return -torch.einsum("bk,bkji,bkj->bi", r, inverse, z)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return torch.logsumexp(self._components(x, t)[0], -1) - x.shape[-1] / 2 * math.log(2 * math.pi)

    def precision(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Diagonal of ``sum_k r_k C_k^-1``, the curvature of the locally responsible component."""
        r, _, inverse = self._local(x, t)
        return torch.einsum("bk,bkji->bi", r, inverse.square())

    def _physics(self, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
        """``d(x)``; 0 for components without noise."""
        means = between(self.times, self.means, t)
        g = expand(self.sde.diffusion(t), x).expand_as(x)
        here = self.sde.drift(x, t)
        there = self.sde.drift(means.flatten(0, 1), t.repeat_interleave(means.shape[1])).reshape(means.shape)
        gap = here - (r[..., None] * there).sum(1)
        return torch.where(g > 0, 2 * gap / g.square().clamp(min=1e-12), torch.zeros_like(gap))

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        r, z, inverse = self._local(x, t)
        scale = between(self.times, self.scale, t)[:, None]
        local = torch.einsum("bk,bkii->bi", r, inverse)
        parts = [
            (x - between(self.times, self.centre, t)) / scale,
            (r[..., None] * z).sum(1).asinh(),
            (self._physics(x, t, r) / local).asinh(),
        ]
        return torch.cat(parts + ([r] if r.shape[1] > 1 else []), dim=1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        r, _, inverse = self._local(x, t)
        local, physics = out.chunk(2, dim=1)
        return torch.einsum("bk,bkji,bj->bi", r, inverse, local) + physics * self._physics(x, t, r)
