"""The prior of the classical methods, ``x_0 ~ N(m, S)``, and covariances that are diagonal in a known basis.

Standard normal coordinates ``u`` stand for ``x_0 = m + S^(1/2) u`` (the control variable transform of variational
assimilation: Lorenc 1988; Bannister 2008).  In them the prior is white, whatever the scales of the state.
"""

from __future__ import annotations

__all__ = ["Covariance", "GaussianPrior", "fit_covariance", "fit_gaussian_prior"]

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.fourier import fourier, inverse_fourier
from physinv.laws.exact import LinearGaussian
from physinv.methods.problem import Problem
from physinv.processes.simulator import Layout

_DENSE = 2048  # components up to which a covariance between all of them is estimated
_NOTHING = 1e-12  # of the largest variance: below it a direction does not vary (float32 data round at 1e-14)


@dataclass(frozen=True)
class Covariance:
    """``S = E diag(v) E^H (+ rest (I - E E^H))``: ``modes`` applies ``E^H``, ``unmodes(y, like)`` applies ``E``.

    ``variance`` is ``v``, real, float64; ``rest`` is the variance of what an incomplete basis leaves out.
    """

    modes: Callable[[Tensor], Tensor]
    unmodes: Callable[[Tensor, Tensor], Tensor]
    variance: Tensor
    rest: float | None = None

    def power(self, x: Float[Tensor, "batch *state"], exponent: float) -> Float[Tensor, "batch *state"]:
        """``S^exponent x`` (symmetric, linear in ``x``); directions without variance give 0."""
        scale = torch.where(self.variance > 0, self.variance.abs() ** exponent, torch.zeros_like(self.variance))
        scale = scale.to(x)
        if self.rest is None:
            return self.unmodes(scale * self.modes(x), x)
        outside = self.rest**exponent if self.rest > 0 else 0.0
        return outside * x + self.unmodes((scale - outside) * self.modes(x), x)

    def floored(self, fraction: float) -> Covariance:
        """No variance below ``fraction`` of their mean: what the data show as certain is made nearly so."""
        least = fraction * float(self.variance.mean())
        rest = None if self.rest is None else max(self.rest, least)
        return replace(self, variance=self.variance.clamp(min=least), rest=rest)


@dataclass(frozen=True)
class GaussianPrior:
    """``x_0 ~ N(m, S)`` in the moving part of a state; static channels are those of ``x_T``.

    ``mean (*moving)`` and ``covariance``; ``layout`` tells what moves.
    """

    mean: Float[Tensor, "*moving"]
    covariance: Covariance
    layout: Layout

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """``m + S^(1/2) u`` with the static channels of ``final``; ``d`` counts what moves."""
        mean = self.mean.to(final)
        moving = mean + self.covariance.power(u.reshape(len(u), *mean.shape), 0.5)
        return self.layout.set_moving(moving, final)

    def standardise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """The shortest ``u`` whose ``root`` is ``initial``, or what of it the prior can reach."""
        gap = self.layout.moving(initial) - self.mean.to(initial)
        return self.covariance.power(gap, -0.5).flatten(1)


@torch.no_grad()
def fit_gaussian_prior(problem: Problem) -> GaussianPrior:
    """The simulator's own prior where it is Gaussian and known, else mean and covariance of the training states.

    Symmetries of the process (``images``) multiply the training states.
    """
    simulator = problem.simulator
    exact = simulator.exact()
    if isinstance(exact, LinearGaussian):
        power = exact.power.to(problem.device)
        return GaussianPrior(exact.mean0, Covariance(exact.sde.modes, exact.sde.unmodes, power), simulator.layout)
    x = simulator.layout.moving(torch.cat(simulator.images(problem.train.states(0)))).double()
    mean = x.mean(0)
    covariance = fit_covariance(x - mean, simulator.layout)
    v = covariance.variance
    v = torch.where(v > _NOTHING * v.amax(), v, torch.zeros_like(v))
    return GaussianPrior(mean, replace(covariance, variance=v), simulator.layout)


def fit_covariance(x: Float[Tensor, "n *state"], layout: Layout) -> Covariance:
    """Of centred samples ``x`` of the moving part of states:

    - periodic fields: invariant under translations, hence a matrix between channels for each Fourier mode;
    - everything else up to 2048 components: dense, shrunk to a multiple of I (Ledoit and Wolf 2004);
    - else a variance per component.
    """
    if layout.kind == "field" and layout.boundary == "PERIODIC":
        return _fourier(x)
    if x[0].numel() <= _DENSE:
        return _shrunk(x)
    return Covariance(lambda z: z, lambda y, like: y, x.double().square().mean(0))


def _fourier(x: Tensor) -> Covariance:
    y = fourier(x.double()).movedim(1, -1)
    values, vectors = torch.linalg.eigh(torch.einsum("n...i,n...j->...ij", y, y.conj()) / len(y))

    def modes(z: Tensor) -> Tensor:
        y = fourier(z)
        return torch.einsum("...ij,bi...->bj...", vectors.conj().to(y), y)

    def unmodes(y: Tensor, like: Tensor) -> Tensor:
        return inverse_fourier(torch.einsum("...ij,bj...->bi...", vectors.to(y), y), tuple(like.shape[2:]))

    return Covariance(modes, unmodes, values.clamp(min=0).movedim(-1, 0))


def _shrunk(x: Tensor) -> Covariance:
    """``(1 - rho) C + rho mu I`` with ``C = A^T A / n``, ``mu = tr C / d`` (Ledoit and Wolf 2004, eq. 14).

    ``rho = min(b^2, delta^2) / delta^2``: ``delta^2 = |C - mu I|^2``, ``b^2 = (sum |a_i|^4 / n - |C|^2) / n``.
    With fewer samples than components everything is computed in their span.
    """
    A = x.double().flatten(1)
    n, d = A.shape
    gram = A @ A.T / n if n <= d else A.T @ A / n
    mu, squared = gram.trace() / d, gram.square().sum()
    distance = squared - d * mu**2
    error = ((A.square().sum(1).square().mean() - squared) / n).clamp(min=0)
    rho = float((error / distance).clamp(max=1)) if float(distance) > 0 else 0.0
    values, vectors = torch.linalg.eigh(gram)
    if n <= d:
        kept = values > _NOTHING * values.amax()
        values, vectors = values[kept], A.T @ vectors[:, kept] / (n * values[kept]).sqrt()
    values = (1 - rho) * values.clamp(min=0) + rho * mu

    def unmodes(y: Tensor, like: Tensor) -> Tensor:
        z: Tensor = (y @ vectors.to(y).T).reshape(like.shape)
        return z

    return Covariance(lambda z: z.flatten(1) @ vectors.to(z), unmodes, values, rho * float(mu) if n <= d else None)
