"""Free-energy differences from the work of driven runs: Jarzynski, Crooks, and Bennett's acceptance ratio.

Work and free energies are in units of kT: ``D = -log(Z_1 / Z_0)``, which is ``beta (F_1 - F_0)``.  Work ``W`` is that
done on runs from 0 to 1, and ``V`` that of runs from 1 to 0.

    Jarzynski   exp(-D) = E[exp(-W)]
    Crooks      log p(W) - log p_back(V = -W) = W - D
    Bennett     sum 1 / (1 + (n / m) exp(W - D)) = sum 1 / (1 + (m / n) exp(V + D))

The mean work bounds ``D`` from above, and minus that of runs in the other direction from below.
"""

from __future__ import annotations

__all__ = ["DifferenceEstimate", "Slope", "bennett", "crooks", "jarzynski"]

import math
import warnings
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor

from physinv.config.inputs import Numbers, as_tensor, describe
from physinv.thermodynamics.weights import Weights, few_effective

_OVERLAP = 0.5  # sum of the Fermi weights of one run each way whose work is the difference itself


@dataclass(frozen=True)
class DifferenceEstimate:
    """An estimate of a free-energy difference.

    Args:
        value: ``D = -log(Z_1 / Z_0)``, in nats.
        error: Its standard error; too small where the effective share is.
        effective: Effective share of the runs, of the worse direction; NaN where it is not known.
    """

    value: float
    error: float
    effective: float


@dataclass(frozen=True)
class Slope:
    """The line ``log p(W) - log p_back(-W) = slope W - offset``, by Crooks with slope 1 and the difference as offset.

    Args:
        slope: Its slope.
        error: Standard error of the slope.
        offset: Its offset in nats.
    """

    slope: float
    error: float
    offset: float


def jarzynski(work: Numbers, *, of: str = "Jarzynski's equality") -> DifferenceEstimate:
    """Estimate a free-energy difference from the work of runs in one direction.

    Minus the value of runs from 1 to 0 is an estimate of the same difference.  An effective share below 5 % is warned
    of: the mean of ``exp(-W)`` then depends on rare runs that were not seen.

    Args:
        work: Work of independent runs, in units of kT.
        of: What is estimated, for the warning.

    Returns:
        ``-log mean exp(-W)``.

    Raises:
        ValueError: If these are not the works of two runs or more.

    References:
        Jarzynski (1997), Nonequilibrium equality for free energy differences.

    Example:
        >>> z = torch.randn(20000, generator=torch.Generator().manual_seed(0))
        >>> found = jarzynski(0.5 + z)  # Gaussian work: mean - variance / 2
        >>> abs(found.value) < 3 * found.error
        True
    """
    work = _checked(work, "work")
    found = Weights(work[:, None], -work)
    for told in few_effective(found.effective, len(work), of):
        warnings.warn(told, stacklevel=2)
    return DifferenceEstimate(-found.log_mean, found.error, found.effective)


def bennett(work: Numbers, back: Numbers) -> DifferenceEstimate:
    """Estimate a free-energy difference from the work of runs in both directions, with the least variance.

    Args:
        work: Work ``W`` of independent runs from 0 to 1, in units of kT.
        back: Work ``V`` of independent runs from 1 to 0.

    Returns:
        The root of Bennett's equation, with its standard error and the effective share of the Fermi weights in the
        direction where it is lower; shares below 5 % are warned of.  NaN, with a warning that names the bounds of the
        second law, where works do not overlap: the root then depends on the one or two most extreme runs.

    Raises:
        ValueError: If these are not the works of two runs or more in each direction.

    References:
        Bennett (1976), Efficient estimation of free energy differences from Monte Carlo data, eq. 10 and 12; Shirts et
        al. (2003), Equilibrium free energies from nonequilibrium measurements using maximum-likelihood methods.

    Example:
        >>> z = torch.randn(2, 20000, generator=torch.Generator().manual_seed(0))
        >>> found = bennett(0.5 + z[0], 0.5 + z[1])
        >>> abs(found.value) < 3 * found.error, found.error < 0.01
        (True, True)
    """
    W, V = _checked(work, "work").double(), _checked(back, "back").double()
    ratio = math.log(len(W) / len(V))

    def excess(D: float) -> float:
        return float(torch.sigmoid(D - W - ratio).sum() - torch.sigmoid(ratio - V - D).sum())

    # The excess grows with D: far below all works it is negative, far above positive.
    edges = torch.cat([W, -V])
    D = brentq(excess, float(edges.min()) - 50 - abs(ratio), float(edges.max()) + 50 + abs(ratio), xtol=1e-10)
    fermi = (torch.sigmoid(D - W - ratio), torch.sigmoid(ratio - V - D))
    if float(fermi[0].sum()) < _OVERLAP:
        warnings.warn(
            "the work of the runs forward and backward does not overlap, so Bennett's estimate is not known; by the "
            f"second law the difference is about {-float(V.mean()):.4g} to {float(W.mean()):.4g}: drive more slowly.",
            stacklevel=2,
        )
        return DifferenceEstimate(math.nan, math.nan, math.nan)
    found = [_moments(f) for f in fermi]
    variance, effective = sum(spread for spread, _ in found), min(share for _, share in found)
    for told in few_effective(effective, min(len(W), len(V)), "Bennett's estimate"):
        warnings.warn(told, stacklevel=2)
    return DifferenceEstimate(D, math.sqrt(variance), effective)


def crooks(work: Numbers, back: Numbers) -> Slope:
    """Fit the line of Crooks' theorem, whose slope is 1 if work, starts and moves are right.

    ``log p(W) - log p_back(-W)`` is the log odds that a run with the work ``W`` went forward, so the line is a logistic
    regression of the direction on the work: no histogram.  With the slope held at 1 its offset is Bennett's estimate.

    Args:
        work: Work ``W`` of independent runs from 0 to 1, in units of kT.
        back: Work ``V`` of independent runs from 1 to 0.

    Returns:
        Slope, its standard error, and offset.

    Raises:
        ValueError: If these are not the works of two runs or more in each direction.

    References:
        Crooks (1999), Entropy production fluctuation theorem and the nonequilibrium work relation.

    Example:
        >>> z = torch.randn(2, 20000, generator=torch.Generator().manual_seed(0))
        >>> line = crooks(0.5 + z[0], 0.5 + z[1])
        >>> abs(line.slope - 1) < 3 * line.error
        True
    """
    work, back = _checked(work, "work"), _checked(back, "back")
    x, y = torch.cat([work, -back]).double(), torch.cat([torch.ones_like(work), torch.zeros_like(back)]).double()
    middle, scale = x.mean(), x.std().clamp(min=1e-12)
    design = torch.stack([(x - middle) / scale, torch.ones_like(x)], dim=1)
    prior = math.log(len(work) / len(back))

    # Newton's method; the log likelihood is concave.
    beta = torch.zeros(2, dtype=torch.float64, device=x.device)
    for _ in range(50):
        p = torch.sigmoid(design @ beta + prior)
        information = (design * (p * (1 - p))[:, None]).T @ design + 1e-12 * torch.eye(2).to(design)
        step = torch.linalg.solve(information, design.T @ (y - p))
        beta = beta + step / max(1.0, float(step.norm()) / 2)
        if float(step.norm()) < 1e-10:
            break
    error = float(torch.linalg.inv(information)[0, 0].clamp(min=0).sqrt() / scale)
    slope = float(beta[0] / scale)
    return Slope(slope, error, float(beta[0] * middle / scale - beta[1]))


def _checked(work: Numbers, name: str) -> Tensor:
    """Work of two runs or more; that of lost runs may be infinite."""
    found = as_tensor(work, name)
    if found.ndim != 1 or len(found) < 2:
        raise ValueError(f"`{name}` must hold the work of two runs or more along one axis, got {describe(found)}.")
    if bool(found.isnan().any()):
        raise ValueError(f"`{name}` must be numbers, got NaN; leave those runs out.")
    return found


def _moments(f: Tensor) -> tuple[float, float]:
    """Squared relative error of the mean of Fermi weights, and their effective share."""
    share = float(f.sum() ** 2 / (len(f) * f.square().sum()))
    return (1 / share - 1) / len(f), share
