"""Draws of chains, and whether they have converged: R-hat and the effective number of draws of many quantities.

Both compare chains that are split into halves, so that a drift within a chain shows as well.
"""

from __future__ import annotations

__all__ = ["Explored", "effective_draws", "joined", "merged", "r_hat", "warn_of_short"]

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physinv.methods.problem import RowsWarning

_R_HAT, _DRAWS = 1.05, 100.0  # what is demanded of every component
_MOVING = 0.01  # share of accepted proposals below which chains stand still, of which R-hat says nothing


@dataclass(frozen=True)
class Explored:
    """Draws of the posterior, and whether they can be relied on.

    Args:
        draws: Initial states, or trajectories at the times asked for, one after the other of each chain.
        r_hat: The largest R-hat of all their components.
        effective: The smallest effective number of draws.
        accepted: Share of accepted proposals.
    """

    draws: Float[Tensor, "batch chains n *state"]
    r_hat: Float[Tensor, " batch"]
    effective: Float[Tensor, " batch"]
    accepted: Float[Tensor, " batch"]

    @property
    def short(self) -> Tensor:
        """Which observations fall short of R-hat 1.05 or of 100 effective draws, or have chains that stand still."""
        return (self.r_hat > _R_HAT) | (self.effective < _DRAWS) | ~self.r_hat.isfinite() | self.still

    @property
    def still(self) -> Tensor:
        """Of which observations less than a hundredth of the proposals was accepted."""
        return self.accepted < _MOVING

    def thinned(self, n: int) -> Float[Tensor, "batch n *state"]:
        """Return n draws: of the chains in turn, spread evenly over each of them.

        Args:
            n: At most as many as there are.
        """
        chains, length = self.draws.shape[1:3]
        k = torch.arange(n, device=self.draws.device)
        chain, place = k % chains, k // chains
        each = (n - chain + chains - 1) // chains  # draws of that chain
        return self.draws[:, chain, (2 * place + 1) * length // (2 * each)]


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


def joined(parts: Sequence[Explored]) -> Explored:
    """Return the draws of all observations, one part after the other.

    Args:
        parts: Draws of some observations each, as many for each observation.

    Returns:
        The draws of all.
    """
    names = (f.name for f in fields(Explored))
    return Explored(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})


def merged(found: Explored, part: Explored, at: Int[Tensor, " some"]) -> Explored:
    """Return the same with some observations replaced; of their draws as many as the others have, spread evenly.

    Args:
        found: Draws of all observations.
        part: Draws of some of them.
        at: Which.

    Returns:
        The draws of all.
    """
    n = found.draws.shape[2]
    thin = torch.arange(n, device=at.device) * part.draws.shape[2] // n

    def put(a: Tensor, b: Tensor) -> Tensor:
        out = a.clone()
        out[at] = b
        return out

    return Explored(
        put(found.draws, part.draws[:, :, thin]),
        put(found.r_hat, part.r_hat),
        put(found.effective, part.effective),
        put(found.accepted, part.accepted),
    )


def warn_of_short(found: Explored, *, particles: bool) -> None:
    """Warn of observations whose chains have not converged.

    Args:
        found: The draws.
        particles: Whether each chain is a population of paths.
    """
    rows = torch.stack([found.r_hat.nan_to_num(torch.inf), found.effective, found.still.to(found.effective)], 1)
    if bool(found.short.any()):
        tell = _short_populations if particles else _short_chains
        warnings.warn(RowsWarning(rows[found.short].tolist(), tell), stacklevel=4)


def _short_populations(rows: Sequence[Sequence[float]]) -> str:
    return f"{_short(rows)}; raise `particles`."


def _short_chains(rows: Sequence[Sequence[float]]) -> str:
    return f"{_short(rows)}; raise `iterations`, or give `particles`."


def _short(rows: Sequence[Sequence[float]]) -> str:
    """How far chains fall short, by R-hat, effective draws and whether they stand still, for each observation."""
    r_hats, effective, still = zip(*rows, strict=True)
    stuck = (
        f", chains of {sum(still):.0f} stand still (under {_MOVING:.0%} of proposals accepted)" if any(still) else ""
    )
    return (
        f"mcmc has not converged for {len(rows)} observation{'s' * (len(rows) > 1)}: R-hat up to {max(r_hats):.3f} "
        f"(wanted: {_R_HAT}), down to {min(effective):.0f} effective draws (wanted: {_DRAWS:.0f}){stuck}"
    )


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
