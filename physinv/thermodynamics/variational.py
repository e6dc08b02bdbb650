"""The variational free energy: an upper bound of ``beta F = -log Z`` from a family of simple laws.

For any normalised density q the inequality of Gibbs, Bogoliubov and Feynman holds,

    -log Z  <=  E_q[u(x)] + E_q[log q(x)]  =  -log Z + KL(q || p),

and the best member of a family has the smallest divergence ``KL(q || p)``, in this order.  (``KL(p || q)`` is what
maximum likelihood minimises, and gives no bound that can be computed.)  A member that minimises it covers one of two
separate wells, since mass where ``p`` is small costs much.
"""

from __future__ import annotations

__all__ = ["FAMILIES", "TrialLaw", "variational"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import as_states, check_function, check_generator, one_each
from physinv.config.suggest import did_you_mean
from physinv.thermodynamics.energy import Energy

FAMILIES = ("gaussian", "mean-field")
"""Gaussians of any covariance; products of one Gaussian for each number of the state."""

_FINAL = 256  # draws for each number, of the bound that is told: of few, whitened, fourth moments are too small
_DRAWS, _BATCHES, _ITERATIONS = 512, 16, 200


@dataclass(frozen=True)
class TrialLaw:
    """The best Gaussian of a family.

    Args:
        mean: Its mean.
        root: Lower triangle ``L`` with the covariance ``L L^T``; diagonal for ``mean-field``.
        bound: ``E_q[u + log q]``, an upper bound of ``-log Z``, in nats.
        error: Its standard error.
    """

    mean: Float[Tensor, " d"]
    root: Float[Tensor, "d d"]
    bound: float
    error: float

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Return the covariance."""
        return self.root @ self.root.T


def variational(
    energy: Energy,
    start: Float[Tensor, "n *state"],
    *,
    family: str = "gaussian",
    generator: torch.Generator | None = None,
) -> TrialLaw:
    """Minimise the variational free energy over a family of Gaussians.

    Expectations are means over draws whose mean and covariance are those of the family exactly, so that the bound of a
    quadratic energy has no sampling error.  The bound is computed with new draws after the minimisation.

    Args:
        energy: Reduced energy ``u = beta U``; all numbers of a state must move.
        start: Some states, from which mean and widths are taken as a first guess.
        family: One of :data:`FAMILIES`.
        generator: Source of randomness.

    Returns:
        The best member and its bound of ``-log Z = beta F``.

    Raises:
        ValueError: If there is no such family, or an argument is of another kind or shape.

    Example:
        >>> start = torch.randn(100, 2, dtype=torch.float64)
        >>> found = variational(lambda x: x.square().sum(1) / 2, start, family="mean-field")
        >>> round(found.bound, 4)  # -log(2 pi), exact
        -1.8379
    """
    if family not in FAMILIES:
        raise ValueError(f"`family` can't be {family!r}; {did_you_mean(family, FAMILIES, owner='it must be one of')}")
    check_function(energy, "energy", "(x) -> u")
    check_generator(generator)
    start = as_states(start, "start", finite=True)
    one_each(energy, start, "energy")
    shape, x = start.shape[1:], start.flatten(1).double()
    d = x.shape[1]
    mean = x.mean(0).requires_grad_()
    logs = x.std(0, correction=0).clamp(min=1e-3).log().requires_grad_()
    lower = torch.zeros(d, d, dtype=torch.float64, device=x.device, requires_grad=True)

    def root() -> Tensor:
        widths = torch.diag(logs.exp())
        return widths + logs.exp()[:, None] * lower.tril(-1) if family == "gaussian" else widths

    def bound(z: Tensor) -> Tensor:
        y = mean + z @ root().T
        return energy(y.reshape(-1, *shape)).double().mean() - logs.sum() - d / 2 * math.log(2 * math.pi * math.e)

    # The draws stay the same, which makes the bound a smooth function of the parameters.
    z = _draws(d, x, generator)
    unknown = [mean, logs, lower] if family == "gaussian" else [mean, logs]
    search = torch.optim.LBFGS(unknown, max_iter=_ITERATIONS, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        value = bound(z)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found = torch.stack([bound(_draws(d, x, generator, each=_FINAL)) for _ in range(_BATCHES)])
        return TrialLaw(mean.detach(), root().detach(), float(found.mean()), float(found.std()) / math.sqrt(_BATCHES))


def _draws(d: int, like: Tensor, generator: torch.Generator | None, each: int = 4) -> Tensor:
    """Normal numbers in pairs of opposite sign, whose covariance is 1 exactly; at least ``each`` for each number."""
    half = max(_DRAWS, each * d)
    z = torch.randn((half, d), generator=generator, dtype=like.dtype, device=like.device)
    chol = torch.linalg.cholesky(z.T @ z / half)
    z = torch.linalg.solve_triangular(chol, z.T, upper=False).T
    return torch.cat([z, -z])
