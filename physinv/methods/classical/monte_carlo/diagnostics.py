"""Whether chains have converged: R-hat and the effective number of draws, for many quantities at once.

Both compare chains that are split into halves, so that a drift within a chain shows as well.
"""

from __future__ import annotations

__all__ = ["effective_draws", "r_hat"]

import math

import torch
from jaxtyping import Float
from torch import Tensor


def r_hat(draws: Float[Tensor, "batch chains n d"]) -> Float[Tensor, "batch d"]:
    """Return the split potential scale reduction, 1 for chains that have forgotten where they began.

    Args:
        draws: Draws of d quantities, at least 4 from each chain.

    Returns:
        The square root of the variance over all chains over that within them; 1 for quantities that do not vary.

    References:
        Gelman et al. (2013), Bayesian Data Analysis, section 11.4.

    Example:
        >>> apart = torch.stack([torch.randn(100), 5 + torch.randn(100)])
        >>> bool(r_hat(apart[None, :, :, None]) > 2)
        True
    """
    x = _split(draws)
    within, total = _variances(x)
    return torch.where(within > 0, total / within, torch.ones_like(within)).sqrt()


def effective_draws(draws: Float[Tensor, "batch chains n d"]) -> Float[Tensor, "batch d"]:
    """Return how many independent draws tell as much about the mean.

    Autocorrelations are summed in pairs of lags until the first pair that is not positive, and made to fall (Geyer's
    initial monotone sequence).

    Args:
        draws: Draws of d quantities, at least 8 from each chain.

    Returns:
        Numbers of draws; all of them for quantities that do not vary.

    References:
        Geyer (1992), Practical Markov chain Monte Carlo; Vehtari et al. (2021), Rank-normalization, folding, and
        localization, eq. 10-13.
    """
    x = _split(draws)
    n = x.shape[2] - x.shape[2] % 2
    x = x[:, :, :n]
    within, total = _variances(x)

    # Autocovariances by FFT, averaged over the chains, as correlations with the variance over all chains.
    centred = x - x.mean(2, keepdim=True)
    power = torch.fft.rfft(centred, n=2 * n, dim=2).abs().square()
    lagged = torch.fft.irfft(power, n=2 * n, dim=2)[:, :, :n].mean(1) / n
    rho = 1 - (within[:, None] - lagged * n / (n - 1)) / torch.where(total > 0, total, 1.0)[:, None]

    pairs = rho.unflatten(1, (n // 2, 2)).sum(2)
    positive = (pairs > 0).long().cumprod(1)
    time = -1 + 2 * (pairs.cummin(1).values * positive).sum(1)
    number = x.shape[1] * n
    found = number / time.clamp(min=1 / math.log10(max(number, 10)))
    return torch.where(total > 0, found, torch.full_like(found, number))


def _split(draws: Tensor) -> Tensor:
    """Halves of the chains as chains, in float64."""
    half = draws.shape[2] // 2
    if half < 2:
        raise ValueError(f"`draws` must hold at least 4 of each chain, got {draws.shape[2]}; run longer.")
    return torch.cat([draws[:, :, :half], draws[:, :, -half:]], dim=1).double()


def _variances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean variance within chains, and the estimate of the variance from all of them."""
    n = x.shape[2]
    within = x.var(2).mean(1)
    between = x.mean(2).var(1) if x.shape[1] > 1 else torch.zeros_like(within)
    return within, (n - 1) / n * within + between
