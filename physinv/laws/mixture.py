"""Gaussian mixtures: densities, scores, conditioning on linear observations, and fitting by EM.

``p(x) = sum_k w_k N(x; m_k, C_k)``.  Under a linear SDE a mixture stays a mixture, and so does its posterior given a
later state.  Mixtures therefore give exact posteriors of vector processes; fitted to data they serve as reference law.
"""

from __future__ import annotations

__all__ = ["Mixture", "cluster", "fit_mixture"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture, or a batch of them.

    The leading axes ``lead`` broadcast: none for one mixture, one for a mixture per sample or per time.

    Args:
        weights: Probabilities ``w_k`` of the components.
        means: Means ``m_k``.
        covs: Covariances ``C_k``.

    Example:
        >>> pair = Mixture(torch.tensor([0.5, 0.5]), torch.tensor([[-1.0], [1.0]]), torch.full((2, 1, 1), 0.01))
        >>> [round(v, 2) for v in pair.score(torch.tensor([[0.9], [1.1]])).flatten().tolist()]
        [10.0, -10.0]
    """

    weights: Float[Tensor, "*lead k"]
    means: Float[Tensor, "*lead k d"]
    covs: Float[Tensor, "*lead k d d"]

    def components(self, x: Float[Tensor, "*batch d"]) -> tuple[Tensor, Tensor]:
        """Return the weighted log densities of the components, and the whitened states.

        Args:
            x: States.

        Returns:
            ``log w_k N(x; m_k, C_k)``, ``(*batch, k)``, and ``L_k^-1 (x - m_k)`` with the Cholesky factor ``L_k`` of
            ``C_k``, ``(*batch, k, d)``.
        """
        chol = torch.linalg.cholesky(self.covs)
        z = _solved(chol, x.unsqueeze(-2) - self.means, upper=False)
        half_logdet = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        d = x.shape[-1]
        return self.weights.log() - half_logdet - (z**2).sum(-1) / 2 - d / 2 * math.log(2 * math.pi), z

    def log_prob(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Return the log density ``log p(x)``.

        Args:
            x: States.
        """
        return torch.logsumexp(self.components(x)[0], -1)

    def score(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Return the score ``grad log p(x) = -sum_k r_k C_k^-1 (x - m_k)`` with responsibilities ``r_k``.

        Args:
            x: States.
        """
        logs, z = self.components(x)
        pulls = _solved(torch.linalg.cholesky(self.covs).mT, z, upper=True)
        score: Tensor = -(logs.softmax(-1).unsqueeze(-1) * pulls).sum(-2)
        return score

    def mean(self) -> Float[Tensor, "*lead d"]:
        """Return the mean ``sum_k w_k m_k``."""
        return (self.weights.unsqueeze(-1) * self.means).sum(-2)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "*lead n d"]:
        """Draw independent states from each mixture.

        Args:
            n: Number of draws from each mixture.
            generator: Source of randomness, on the device of the weights.

        Returns:
            States ``(*lead, n, d)``.
        """
        flat = self.weights.reshape(-1, self.weights.shape[-1])
        pick = torch.multinomial(flat, n, replacement=True, generator=generator)
        pick = pick.reshape(*self.weights.shape[:-1], n)
        d = self.means.shape[-1]
        m = torch.gather(self.means, -2, pick.unsqueeze(-1).expand(*pick.shape, d))
        chol = torch.linalg.cholesky(self.covs)
        chol = torch.gather(chol, -3, pick[..., None, None].expand(*pick.shape, d, d))
        z = torch.randn(m.shape, generator=generator, dtype=m.dtype, device=m.device)
        return m + (chol @ z.unsqueeze(-1)).squeeze(-1)

    def through(self, gain: float, variance: float) -> Mixture:
        """Return the law of ``gain x + N(0, variance I)``.

        Args:
            gain: Factor of the state.
            variance: Variance of the noise added.
        """
        eye = torch.eye(self.means.shape[-1], dtype=self.covs.dtype, device=self.covs.device)
        return Mixture(self.weights, gain * self.means, gain**2 * self.covs + variance * eye)

    def given(self, y: Float[Tensor, "batch d"], gain: float, variance: float) -> Mixture:
        """Return the law of ``x`` given ``y = gain x + N(0, variance I)``, by Bayes' rule.

        Args:
            y: Observed states.
            gain: Factor of the state.
            variance: Variance of the noise.

        Returns:
            One mixture for each row of ``y``.
        """
        seen = self.through(gain, variance)
        logs, _ = seen.components(y)
        kalman = gain * torch.linalg.solve(seen.covs, self.covs).mT
        means = self.means + (kalman @ (y[:, None] - seen.means).unsqueeze(-1)).squeeze(-1)
        covs = self.covs - gain * kalman @ self.covs
        covs = (covs + covs.mT) / 2
        return Mixture(logs.softmax(-1), means, covs.expand(y.shape[0], *covs.shape))


def fit_mixture(
    x: Float[Tensor, "n d"], start: Mixture, *, floor: float = 1e-6, iterations: int = 100, tolerance: float = 1e-6
) -> tuple[Mixture, float]:
    """Fit a Gaussian mixture to data by expectation-maximisation.

    Args:
        x: Data.
        start: Mixture to start from; its number of components stays.
        floor: Variance added to the covariances, relative to the variance of the data (of a point mass: to 1), so that
            point masses keep a density.
        iterations: Largest number of iterations.
        tolerance: Gain in mean log-likelihood below which the iteration ends.

    Returns:
        The mixture and its mean log-likelihood.

    References:
        Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.
    """
    n, d = x.shape
    size = float(x.var(0, unbiased=False).mean()) or 1.0
    ridge = floor * size * torch.eye(d, dtype=x.dtype, device=x.device)
    mix, last = start, -math.inf
    for _ in range(iterations):
        logs, _ = mix.components(x)
        total = float(torch.logsumexp(logs, -1).mean())
        if total - last < tolerance:
            break
        r, last = logs.softmax(-1), total
        counts = r.sum(0) + 1e-9 * n
        means = (r.T @ x) / counts[:, None]
        centred = x[None] - means[:, None]
        covs = (r.T[:, :, None] * centred).mT @ centred / counts[:, None, None] + ridge
        mix = Mixture(counts / counts.sum(), means, covs)
    return mix, last


def cluster(
    x: Float[Tensor, "n d"], most: int, *, generator: torch.Generator | None = None, restarts: int = 3
) -> Float[Tensor, "n k"]:
    """Return the responsibilities of the mixture that the Bayesian information criterion prefers.

    ``BIC = parameters log n - 2 log likelihood``, compared over all numbers of components up to ``most``.

    Args:
        x: Data.
        most: Largest number of components.
        generator: Source of randomness, on the device of ``x``.
        restarts: Random initialisations for each number of components (k-means++ seeds).

    Returns:
        Probability of each component for each row of ``x``; the rows sum to 1.

    References:
        Schwarz (1978), Estimating the dimension of a model; Arthur and Vassilvitskii (2007), k-means++.
    """
    n, d = x.shape
    if float(x.var(0, unbiased=False).max()) <= 1e-24 * float(x.square().max()):
        return x.new_ones(n, 1)  # a point mass
    shared = x.T.cov().reshape(d, d)
    shared = shared + 1e-12 * shared.diagonal().mean() * torch.eye(d, dtype=x.dtype, device=x.device)
    best, lowest = x.new_ones(n, 1), math.inf
    for k in range(1, most + 1):
        for _ in range(1 if k == 1 else restarts):
            start = Mixture(x.new_full((k,), 1 / k), _spread(x, k, generator), (shared / k**2).expand(k, d, d))
            mix, fit = fit_mixture(x, start)
            bic = (k - 1 + k * d + k * d * (d + 1) / 2) * math.log(n) - 2 * n * fit
            if bic < lowest - 1e-9 * n or not math.isfinite(lowest):
                best, lowest = mix.components(x)[0].softmax(-1), bic
    return best


def _solved(factor: Tensor, gaps: Tensor, *, upper: bool) -> Tensor:
    """Triangular factors against gaps ``(*batch, k, d)``: factors ``(k, d, d)`` solve for all of the batch at once."""
    if factor.ndim > 3:  # each state has its own
        each: Tensor = torch.linalg.solve_triangular(factor, gaps.unsqueeze(-1), upper=upper)
        return each.squeeze(-1)
    columns = gaps.reshape(-1, *gaps.shape[-2:]).permute(1, 2, 0)
    found: Tensor = torch.linalg.solve_triangular(factor, columns, upper=upper)
    return found.permute(2, 0, 1).reshape(gaps.shape)


def _spread(x: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """Seeds far apart: each next one with probability proportional to the squared distance (k-means++)."""
    first = torch.randint(len(x), (1,), generator=generator, device=x.device)
    seeds = x[first]
    for _ in range(k - 1):
        gap = torch.cdist(x, seeds).square().amin(1)
        gap = gap if bool(gap.any()) else torch.ones_like(gap)  # fewer different rows than seeds
        seeds = torch.cat([seeds, x[torch.multinomial(gap, 1, generator=generator)]])
    return seeds
