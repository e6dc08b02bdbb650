"""The prior of the classical methods, ``x_0 ~ N(m, S)``, and covariances fitted to samples.

Standard normal coordinates ``u`` stand for ``x_0 = m + S^(1/2) u`` (the control variable transform of variational
assimilation: Lorenc 1988; Bannister 2008).  In them the prior is white, whatever the scales of the state.
"""

from __future__ import annotations

__all__ = ["GaussianPrior", "fit_covariance", "fit_gaussian_prior", "gaussian_prior_of"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.fourier import fourier, inverse_fourier
from physinv.laws.covariance import Covariance, diagonal
from physinv.laws.exact import LinearGaussian
from physinv.methods.problem import Problem
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator

_DENSE = 2048  # components up to which a covariance between all of them is estimated
_NOTHING = 1e-12  # of the largest variance: below it a direction does not vary (float32 data round at 1e-14)


@dataclass(frozen=True)
class GaussianPrior:
    """The Gaussian prior ``x_0 ~ N(m, S)`` of the moving channels; static channels are those of ``x_T``.

    Args:
        mean: The mean ``m``, ``(*moving)``.
        covariance: The covariance ``S``, with its inverse root.
        layout: Which channels of a state move.
    """

    mean: Float[Tensor, "*moving"]
    covariance: Covariance
    layout: StateLayout

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the state ``m + S^(1/2) u``.

        Args:
            u: Standard normal coordinates; ``d`` counts the moving components.
            final: Final states ``x_T``, whose static channels are copied.

        Returns:
            States of the shape of ``final``.
        """
        mean = self.mean.to(final)
        moving = mean + self.covariance.root(u.reshape(len(u), *mean.shape))
        return self.layout.set_moving(moving, final)

    def standardise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """Return the shortest ``u`` whose :meth:`root` is closest to a state.

        Args:
            initial: Initial states ``x_0``.

        Returns:
            Standard normal coordinates; components that the prior cannot reach are left out.
        """
        gap = self.layout.moving(initial) - self.mean.to(initial)
        return self.covariance.whiten(gap).flatten(1)


def fit_gaussian_prior(problem: Problem) -> GaussianPrior:
    """Return the simulator's own prior where it is Gaussian and known, else that of the training states.

    Symmetries of the process (``images``) multiply the training states.

    Args:
        problem: The process and its training data.

    Returns:
        The prior of the moving channels.
    """
    return gaussian_prior_of(problem.simulator, problem.train.states(0))


@torch.no_grad()
def gaussian_prior_of(simulator: Simulator, initial: Float[Tensor, "n *state"]) -> GaussianPrior:
    """Return the simulator's own prior where it is Gaussian and known, else that of given initial states.

    Args:
        simulator: The process; its symmetries (``images``) multiply the states.
        initial: Initial states.

    Returns:
        The prior of the moving channels.
    """
    exact = simulator.exact()
    if isinstance(exact, LinearGaussian):
        covariance = diagonal(exact.sde.modes, exact.sde.unmodes, exact.power.to(initial.device))
        return GaussianPrior(exact.mean0, covariance, simulator.layout)
    x = simulator.layout.moving(torch.cat(simulator.images(initial))).double()
    mean = x.mean(0)
    return GaussianPrior(mean, fit_covariance(x - mean, simulator.layout, still=_NOTHING), simulator.layout)


def fit_covariance(
    x: Float[Tensor, "n *state"], layout: StateLayout, *, floor: float = 0.0, still: float = 0.0
) -> Covariance:
    """Estimate the covariance of centred samples of the moving part of states.

    - Periodic fields: invariant under translations, hence a matrix between channels for each Fourier mode.
    - Everything else up to 2048 components: dense, shrunk towards a multiple of the identity.
    - Otherwise one variance per component.

    Args:
        x: Samples of mean zero.
        layout: Kind and boundary of the states.
        floor: Smallest variance allowed, as a share of the mean variance: what the data show as certain becomes nearly
            so.
        still: Variances below this share of the largest one count as 0.

    Returns:
        The covariance, with its inverse root.

    References:
        Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
    """
    if layout.basis == "fourier":
        fitted = _fourier(x)
    elif x[0].numel() <= _DENSE:
        fitted = _shrunk(x)
    else:
        fitted = _Eigen(lambda z: z, lambda y, like: y, x.double().square().mean(0))

    # The two thresholds.
    v, least = fitted.variance, floor * float(fitted.variance.mean())
    v = torch.where(v > still * v.amax(), v, torch.zeros_like(v)) if still else v.clamp(min=least)
    rest = None if fitted.rest is None else max(fitted.rest, least)
    return diagonal(fitted.modes, fitted.unmodes, v, rest=rest)


class _Eigen(NamedTuple):
    """Arguments of :func:`physinv.laws.covariance.diagonal`."""

    modes: Callable[[Tensor], Tensor]
    unmodes: Callable[[Tensor, Tensor], Tensor]
    variance: Tensor
    rest: float | None = None


def _fourier(x: Tensor) -> _Eigen:
    y = fourier(x.double()).movedim(1, -1)
    values, vectors = torch.linalg.eigh(torch.einsum("n...i,n...j->...ij", y, y.conj()) / len(y))

    def modes(z: Tensor) -> Tensor:
        y = fourier(z)
        return torch.einsum("...ij,bi...->bj...", vectors.conj().to(y), y)

    def unmodes(y: Tensor, like: Tensor) -> Tensor:
        return inverse_fourier(torch.einsum("...ij,bj...->bi...", vectors.to(y), y), tuple(like.shape[2:]))

    return _Eigen(modes, unmodes, values.clamp(min=0).movedim(-1, 0))


def _shrunk(x: Tensor) -> _Eigen:
    """``(1 - rho) C + rho mu I`` with ``C = A^T A / n``, ``mu = tr C / d`` (Ledoit and Wolf 2004, eq. 14).

    ``rho = min(b^2, delta^2) / delta^2``: ``delta^2 = |C - mu I|^2``, ``b^2 = (sum |a_i|^4 / n - |C|^2) / n``.
    With fewer samples than components everything is computed in their span.
    """
    A = x.double().flatten(1)
    n, d = A.shape
    gram = A @ A.T / n if n <= d else A.T @ A / n
    mu, squared = gram.trace() / d, gram.square().sum()

    # How far to shrink: the error of C over its distance from a multiple of the identity.
    distance = squared - d * mu**2
    error = ((A.square().sum(1).square().mean() - squared) / n).clamp(min=0)
    rho = float((error / distance).clamp(max=1)) if float(distance) > 0 else 0.0

    # Eigenvectors of C; from those of the smaller Gram matrix where there are few samples.
    values, vectors = torch.linalg.eigh(gram)
    if n <= d:
        kept = values > _NOTHING * values.amax()
        values, vectors = values[kept], A.T @ vectors[:, kept] / (n * values[kept]).sqrt()
    values = (1 - rho) * values.clamp(min=0) + rho * mu

    def unmodes(y: Tensor, like: Tensor) -> Tensor:
        z: Tensor = (y @ vectors.to(y).T).reshape(like.shape)
        return z

    return _Eigen(lambda z: z.flatten(1) @ vectors.to(z), unmodes, values, rho * float(mu) if n <= d else None)
