"""How good is a reconstruction?  Numbers from tensors; nothing here knows a model.

Three kinds of answer, three kinds of question.  ``estimate`` is one state per truth, ``(batch, *state)``;
``samples`` is an ensemble of K states per truth, ``(batch, members, *state)``; whole laws are compared in
:mod:`physinv.evaluation.two_sample`, spectra in :mod:`physinv.evaluation.spectra`.  Errors of a single estimate
favour the posterior mean; proper scores (CRPS, energy, variogram) are smallest in expectation for the true posterior;
coverage, spread-skill ratio and rank histogram say whether the spread is right.  Put the exact posterior's value, or
that of truth against truth, beside each of them: the target is rarely zero.

The three scores are the fair ones (Ferro 2014): unbiased, for any K >= 2, for the law that the ensemble was drawn
from, so ensembles of different sizes compare.
"""

from __future__ import annotations

__all__ = [
    "coverage",
    "crps",
    "energy_score",
    "rank_histogram",
    "reconstruction_error",
    "relative_l2",
    "sample_relative_l2",
    "spread_skill",
    "variogram_score",
]

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor


def relative_l2(estimate: Float[Tensor, "batch *state"], truth: Float[Tensor, "batch *state"]) -> Float[Tensor, ""]:
    """``mean_n ||e_n - t_n|| / ||t_n||``, norms over the state; ``(batch, *state)`` twice, result a scalar.

    0 is perfect, 1 is what the estimate zero scores; the posterior mean is (nearly) the best there is.
    """
    _same_shape(estimate, truth)
    return (_norm(estimate - truth, 1) / _norm(truth, 1)).mean()


def sample_relative_l2(
    samples: Float[Tensor, "batch members *state"], truth: Float[Tensor, "batch *state"]
) -> Float[Tensor, ""]:
    """:func:`relative_l2` of single samples, averaged over the K members too: ``(n, K, *state), (n, *state)``.

    A perfect posterior sample scores about sqrt(2) times the posterior mean: no defect.
    """
    _ensemble(samples, truth, least=1)
    return (_norm(samples - truth.unsqueeze(1), 2) / _norm(truth, 1).unsqueeze(1)).mean()


def reconstruction_error(
    estimate: Float[Tensor, "batch *state"],
    truth: Float[Tensor, "batch *state"],
    forward: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    """``mean (F(e) - F(t))^2`` over batch and state: does the estimate lead to where the truth led?

    ``forward`` F is the noise-free solver from 0 to T, so the comparison is with the *clean* final state F(t), not
    with the noisy one that was observed; the target is the exact posterior's value, not zero.  Shapes
    ``(batch, *state)`` twice, result a scalar.  Source: Holzschuh, Vegetti, Thuerey 2023, sec. 3.2.
    """
    _same_shape(estimate, truth)
    return (forward(estimate) - forward(truth)).square().mean()


def crps(samples: Float[Tensor, "batch members *state"], truth: Float[Tensor, "batch *state"]) -> Float[Tensor, ""]:
    """Fair continuous ranked probability score, mean over batch and components: ``(n, K, *state), (n, *state)``.

    Per component ``1/K sum_i |x_i - y| - 1/(2 K (K - 1)) sum_ij |x_i - x_j|`` (Ferro 2014), in units of the
    state; with sorted members the double sum is ``2 sum_i (2 i - K - 1) x_(i)``: O(K log K).  A calibrated
    Gaussian of standard deviation sigma scores ``sigma / sqrt(pi)``.
    """
    return _crps_map(samples, truth).mean()


def energy_score(
    samples: Float[Tensor, "batch members *state"], truth: Float[Tensor, "batch *state"]
) -> Float[Tensor, ""]:
    """Fair energy score, mean over the batch: the CRPS of whole states, which sees dependence as well.

    ``1/K sum_i ||x_i - y|| - 1/(2 K (K - 1)) sum_ij ||x_i - x_j||``, norms over the flattened state (Gneiting and
    Raftery 2007, eq. 22, with the unbiased second term); shapes ``(n, K, *state), (n, *state)``.
    """
    _ensemble(samples, truth, least=2)
    n, k = samples.shape[:2]
    x = (samples - truth.unsqueeze(1)).reshape(n, k, -1)
    pairs = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").sum(dim=(1, 2))
    return (_norm(x, 2).mean(dim=1) - pairs / (2 * k * (k - 1))).mean()


def variogram_score(
    samples: Float[Tensor, "batch members *state"],
    truth: Float[Tensor, "batch *state"],
    *,
    p: float = 0.5,
    pairs: int = 512,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Fair variogram score, mean over the batch and over pairs i < j of components: does the dependence fit?

    ``(m_ij - |y_i - y_j|^p)^2 - s_ij^2 / K`` with mean m and unbiased variance s^2 of the members' ``|x_i - x_j|^p``
    (Scheuerer and Hamill 2015, unit weights; the last term takes away what a finite ensemble adds).  All pairs where
    there are at most ``pairs``, else that many drawn from ``generator``: seed it alike for methods to be compared.
    Blind to a shift common to all components.  Shapes ``(n, K, *state), (n, *state)``; in ``(unit of the state)^2p``.
    """
    if not (p > 0 and pairs >= 1):
        raise ValueError(f"`p` must be positive and `pairs` at least 1, got {p} and {pairs}.")
    _ensemble(samples, truth, least=2)
    x, y = samples.flatten(2), truth.flatten(1)
    d = y.shape[1]
    if d < 2:
        raise ValueError(f"`truth` must have at least 2 components to pair, got {d}; take `crps`.")
    if d * (d - 1) // 2 <= pairs:
        i, j = torch.triu_indices(d, d, 1, device=y.device)
    else:
        home = y.device if generator is None else generator.device
        i = torch.randint(d, (pairs,), generator=generator, device=home)
        j = (i + torch.randint(1, d, (pairs,), generator=generator, device=home)) % d
        i, j = i.to(y.device), j.to(y.device)
    among, real = (x[..., i] - x[..., j]).abs() ** p, (y[:, i] - y[:, j]).abs() ** p
    return ((among.mean(dim=1) - real).square() - among.var(dim=1) / x.shape[1]).mean()


def coverage(
    samples: Float[Tensor, "batch members *state"], truth: Float[Tensor, "batch *state"], level: float = 0.9
) -> Float[Tensor, ""]:
    """Fraction of components inside the ensemble's central interval; shapes ``(n, K, *state), (n, *state)``.

    An interval between quantiles of K perfect members holds the truth too rarely (.807 for .90 at K = 16), so
    this counts ranks.  The truth's rank r among K exchangeable members is uniform on 0 ... K.  Rank r stands for
    the interval [r, r + 1]; what counts is the share of it inside ``[c, K + 1 - c]``, ``c = (1 - level) (K + 1) / 2``:
    1 for ranks well inside, 0 outside, a fraction for the two at the border.  A perfect ensemble has expectation
    exactly ``level``, for every K.  A truth equal to m members spreads over the ranks r ... r + m.
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must be a probability between 0 and 1, such as .9, got {level}.")
    below, equal = _rank(samples, truth)
    k = samples.shape[1]
    cut = (1 - level) * (k + 1) / 2
    low, high = below.double(), (below + equal + 1).double()
    inside = (high.clamp(max=k + 1 - cut) - low.clamp(min=cut)).clamp(min=0)
    return (inside / (high - low)).mean().to(truth.dtype)


def spread_skill(
    samples: Float[Tensor, "batch members *state"], truth: Float[Tensor, "batch *state"]
) -> Float[Tensor, ""]:
    """``sqrt((K + 1) / K * mean variance / mean (ensemble mean - y)^2)``; shapes ``(n, K, *state), (n, *state)``.

    Unbiased variances, means over batch and components (Fortin et al. 2014).  1 is calibrated, below 1 is too
    narrow or biased.  Being an average it lets errors of opposite sign cancel: look per wavenumber as well.
    """
    _ensemble(samples, truth, least=2)
    k = samples.shape[1]
    error = (samples.mean(dim=1) - truth).square().mean()
    return ((k + 1) / k * samples.var(dim=1).mean() / error).sqrt()


def rank_histogram(
    samples: Float[Tensor, "batch members *state"],
    truth: Float[Tensor, "batch *state"],
    *,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " ranks"]:
    """How often the truth has rank 0 ... K among its K members, over batch and components: K + 1 counts.

    Flat for a calibrated ensemble, a bowl for a narrow one, a dome for a wide one, a slope for a biased one
    (Hamill 2001).  Components of one state are dependent: a chi-squared test wants one scalar per state.  Ties
    are broken at random with ``generator``.  Shapes ``(n, K, *state), (n, *state)``.
    """
    below, equal = _rank(samples, truth)
    home = below.device if generator is None else generator.device
    u = torch.rand(below.shape, generator=generator, dtype=torch.float64, device=home).to(below.device)
    rank = below + (u * (equal + 1)).floor().long()
    return torch.bincount(rank.flatten(), minlength=samples.shape[1] + 1)


def _crps_map(samples: Tensor, truth: Tensor) -> Tensor:
    """Fair CRPS per component, ``(n, *state)``; computed relative to the truth, so that little cancels."""
    _ensemble(samples, truth, least=2)
    x = (samples - truth.unsqueeze(1)).sort(dim=1).values
    k = x.shape[1]
    weight = torch.arange(1 - k, k, 2, dtype=x.dtype, device=x.device).reshape(1, k, *[1] * (x.ndim - 2))
    return x.abs().mean(dim=1) - (weight * x).sum(dim=1) / (k * (k - 1))


def _norm(x: Tensor, lead: int) -> Tensor:
    """Euclidean norm over all axes after the first ``lead``."""
    norm: Tensor = torch.linalg.vector_norm(x.reshape(*x.shape[:lead], -1), dim=-1)
    return norm


def _rank(samples: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """How many members are below the truth, and how many equal to it; ``(n, *state)`` each, int64."""
    _ensemble(samples, truth, least=1)
    for name, x in (("samples", samples), ("truth", truth)):
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"`{name}` must be finite to be ranked, got NaN or infinity; remove diverged states.")
    y = truth.unsqueeze(1)
    return (samples < y).sum(dim=1), (samples == y).sum(dim=1)


def _same_shape(estimate: Tensor, truth: Tensor) -> None:
    if estimate.shape != truth.shape:
        raise ValueError(
            f"`estimate` must have the shape {tuple(truth.shape)} of `truth`, got {tuple(estimate.shape)}; "
            "expand it, nothing is broadcast here."
        )


def _ensemble(samples: Tensor, truth: Tensor, least: int) -> None:
    shape = tuple(truth.shape)
    if samples.ndim != truth.ndim + 1 or samples.shape[:1] + samples.shape[2:] != truth.shape:
        raise ValueError(
            f"`samples` must have shape (batch, members, *state) for a truth of shape {shape}, "
            f"got {tuple(samples.shape)}; put the members on axis 1."
        )
    if samples.shape[1] < least:
        raise ValueError(f"`samples` must hold at least {least} members, got {samples.shape[1]}; draw more.")
