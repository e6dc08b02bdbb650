"""Metrics of reconstructions: numbers from tensors, without any knowledge of models.

An ``estimate`` is one state per truth, ``(batch, *state)``; ``samples`` is an ensemble of K states per truth,
``(batch, members, *state)``; whole laws are compared in :mod:`physinv.evaluation.two_sample`, spectra in
:mod:`physinv.evaluation.spectra`.  States of one number need no axis: truths ``(batch,)`` and samples
``(batch, members)`` will do.  NumPy's arrays do as well as tensors.

Errors of a single estimate favour the posterior mean.  Proper scoring rules (CRPS, energy score, variogram score) are
smallest in expectation for the true posterior.  Coverage, spread-skill ratio and rank histogram say whether the spread
is right.  The best value is rarely zero: compare with the metric of the exact posterior, or of truth against truth.

The three scoring rules are fair (Ferro 2014): unbiased, for any K >= 2, for the law that the ensemble was drawn from,
so that ensembles of different sizes can be compared.  Squares are summed in float64: no result depends on the unit of
the state other than in proportion.
"""

from __future__ import annotations

__all__ = [
    "coverage",
    "crps",
    "crps_map",
    "energy_score",
    "rank_histogram",
    "reconstruction_error",
    "relative_l2",
    "sample_relative_l2",
    "spread_skill",
    "variogram_score",
]

from collections.abc import Callable
from numbers import Real

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physinv.config.inputs import Numbers, check_count, check_function, describe, home_of
from physinv.evaluation.ensembles import check_finite, check_pair, ensemble, numbers


def relative_l2(estimate: Numbers, truth: Numbers) -> Float[Tensor, ""]:
    """Return the relative L2 error ``mean_n ||e_n - t_n|| / ||t_n||``.

    Args:
        estimate: One state for each truth.
        truth: The true states.

    Returns:
        A scalar: 0 is perfect, 1 is the error of the estimate zero.  The posterior mean is (nearly) the best estimate.

    Raises:
        ValueError: If the shapes differ, or a number is not finite.

    Example:
        >>> relative_l2(torch.tensor([[3.0, 5.0]]), torch.tensor([[3.0, 4.0]]))
        tensor(0.2000)
    """
    estimate, truth = check_pair(estimate, truth)
    check_finite(estimate=estimate, truth=truth)
    return (_norm(estimate - truth, 1) / _norm(truth, 1)).mean().to(truth.dtype)


def sample_relative_l2(samples: Numbers, truth: Numbers) -> Float[Tensor, ""]:
    """Return the relative L2 error of single samples, averaged over the members.

    Args:
        samples: K samples for each truth.
        truth: The true states.

    Returns:
        A scalar; samples of the exact posterior have about sqrt(2) times the error of its mean, which is no defect.

    Raises:
        ValueError: If the shapes do not match, or a number is not finite.
    """
    samples, truth = ensemble(samples, truth)
    return (_norm(samples - truth.unsqueeze(1), 2) / _norm(truth, 1).unsqueeze(1)).mean().to(truth.dtype)


def reconstruction_error(
    estimate: Numbers,
    truth: Numbers,
    forward: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    """Return the mean squared error of estimates that are run forward, ``mean (F(e) - F(t))^2``.

    The comparison is with the *clean* final state ``F(t)``, not with the noisy one that was observed.

    Args:
        estimate: One initial state for each truth.
        truth: The true initial states.
        forward: The noise-free solver ``F`` from 0 to T.

    Returns:
        A scalar in the square of the state's unit, float64; the best value is that of the exact posterior, not 0.
        NaN or infinite where the solver diverges.

    Raises:
        ValueError: If the shapes differ, or ``forward`` is no function.

    References:
        Holzschuh, Vegetti and Thuerey (2023), Solving inverse physics problems with score matching, section 3.2.
    """
    estimate, truth = check_pair(estimate, truth)
    check_function(forward, "forward", "(x) -> x_T", "give the solver without noise")
    return (forward(estimate) - forward(truth)).double().square().mean()


def crps(samples: Numbers, truth: Numbers) -> Float[Tensor, ""]:
    """Return the fair continuous ranked probability score, averaged over batch and components.

    Args:
        samples: K >= 2 samples for each truth.
        truth: The true states.

    Returns:
        A scalar in the unit of the state; a calibrated Gaussian of standard deviation sigma has ``sigma / sqrt(pi)``.

    Raises:
        ValueError: If the shapes do not match, there are fewer than 2 members, or a number is not finite.

    References:
        Gneiting and Raftery (2007), Strictly proper scoring rules, eq. 21; Ferro (2014), Fair scores for ensemble
        forecasts.
    """
    return crps_map(*ensemble(samples, truth, least=2)).mean()


def crps_map(samples: Numbers, truth: Numbers) -> Float[Tensor, "batch *state"]:
    """Return the fair continuous ranked probability score of every component.

    It is ``1/K sum_i |x_i - y| - 1/(2 K (K - 1)) sum_ij |x_i - x_j|``; with sorted members the double sum is
    ``2 sum_i (2 i - K - 1) x_(i)``, at a cost of O(K log K).  Members count from the truth, so that little cancels.

    Args:
        samples: K >= 2 samples for each truth.
        truth: The true states.

    Returns:
        One value for each component of each truth, in the unit of the state; NaN where a member or the truth is.

    Raises:
        ValueError: If the shapes do not match or there are fewer than 2 members.
    """
    samples, truth = numbers(samples, "samples"), numbers(truth, "truth")
    x, y = ensemble(samples, truth, least=2, finite=False)
    x = (x - y.unsqueeze(1)).sort(dim=1).values
    k = x.shape[1]
    weight = torch.arange(1 - k, k, 2, dtype=x.dtype, device=x.device).reshape(1, k, *[1] * (x.ndim - 2))
    return (x.abs().mean(dim=1) - (weight * x).sum(dim=1) / (k * (k - 1))).reshape(truth.shape)


def energy_score(samples: Numbers, truth: Numbers) -> Float[Tensor, ""]:
    """Return the fair energy score, averaged over the batch: the CRPS of whole states, which sees dependence as well.

    It is ``1/K sum_i ||x_i - y|| - 1/(2 K (K - 1)) sum_ij ||x_i - x_j||`` with norms over the flattened state.

    Args:
        samples: K >= 2 samples for each truth.
        truth: The true states.

    Returns:
        A scalar in the unit of the state.

    Raises:
        ValueError: If the shapes do not match, there are fewer than 2 members, or a number is not finite.

    References:
        Gneiting and Raftery (2007), Strictly proper scoring rules, eq. 22, with the unbiased second term.
    """
    samples, truth = ensemble(samples, truth, least=2)
    k = samples.shape[1]
    x = (samples - truth.unsqueeze(1)).flatten(2).double()
    pairs = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").sum(dim=(1, 2))
    return (_norm(x, 2).mean(dim=1) - pairs / (2 * k * (k - 1))).mean().to(truth.dtype)


def variogram_score(
    samples: Numbers,
    truth: Numbers,
    *,
    p: float = 0.5,
    pairs: int = 512,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Return the fair variogram score, averaged over the batch and over pairs of components: does the dependence fit?

    For a pair i < j it is ``(m_ij - |y_i - y_j|^p)^2 - s_ij^2 / K`` with the mean m and the unbiased variance s^2 of
    the members' ``|x_i - x_j|^p``; the last term subtracts what a finite ensemble adds.  It does not see a shift common
    to all components.

    Args:
        samples: K >= 2 samples for each truth.
        truth: The true states, of at least 2 components.
        p: The exponent.
        pairs: Most pairs to be averaged over; if there are more, that many are drawn.
        generator: Source of the drawn pairs; give methods that are to be compared the same seed.

    Returns:
        A scalar in ``(unit of the state)^2p``.

    Raises:
        ValueError: If the shapes do not match, ``p`` or ``pairs`` are not positive, states have one component, or a
            number is not finite.

    References:
        Scheuerer and Hamill (2015), Variogram-based proper scoring rules, with unit weights.
    """
    if not isinstance(p, Real) or not p > 0:
        raise ValueError(f"`p` must be a positive number, such as .5, got {describe(p)}.")
    check_count(pairs, "pairs")
    samples, truth = ensemble(samples, truth, least=2)
    x, y = samples.flatten(2), truth.flatten(1)
    d = y.shape[1]
    if d < 2:
        raise ValueError(f"`truth` must have at least 2 components to pair, got {d}; take `crps`.")

    # All pairs, or as many different components drawn at random.
    if d * (d - 1) // 2 <= pairs:
        i, j = torch.triu_indices(d, d, 1, device=y.device)
    else:
        home = home_of(generator, y)
        i = torch.randint(d, (pairs,), generator=generator, device=home)
        j = (i + torch.randint(1, d, (pairs,), generator=generator, device=home)) % d
        i, j = i.to(y.device), j.to(y.device)
    among, real = (x[..., i] - x[..., j]).abs() ** p, (y[:, i] - y[:, j]).abs() ** p
    return ((among.mean(dim=1) - real).square() - among.var(dim=1) / x.shape[1]).mean()


def coverage(samples: Numbers, truth: Numbers, level: float = 0.9) -> Float[Tensor, ""]:
    """Return the share of components inside the central interval of the ensemble.

    An interval between quantiles of K perfect members contains the truth too rarely (.807 for .90 at K = 16), so ranks
    are counted instead.  The truth's rank r among K exchangeable members is uniform on 0 ... K and stands for the
    interval [r, r + 1].  What counts is the share of it inside ``[c, K + 1 - c]``, ``c = (1 - level) (K + 1) / 2``: 1
    for ranks well inside, 0 outside, a fraction for the two at the border.  A truth equal to m members spreads over the
    ranks r ... r + m.  Small ensembles can hardly miss: four members far from every truth still give .75.

    Args:
        samples: K >= 2 samples for each truth.
        truth: The true states.
        level: Nominal probability of the interval, between 0 and 1.

    Returns:
        A scalar whose expectation is exactly ``level`` for a perfect ensemble of any K >= 2.

    Raises:
        ValueError: If the shapes do not match, there are fewer than 2 members, ``level`` is no probability, or a state
            is not finite.
    """
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"`level` must be a probability between 0 and 1, such as .9, got {level!r}.")
    samples, truth = ensemble(samples, truth, least=2)
    below, equal = _rank(samples, truth)
    k = samples.shape[1]
    cut = (1 - level) * (k + 1) / 2
    low, high = below.double(), (below + equal + 1).double()
    inside = (high.clamp(max=k + 1 - cut) - low.clamp(min=cut)).clamp(min=0)
    return (inside / (high - low)).mean().to(truth.dtype)


def spread_skill(samples: Numbers, truth: Numbers) -> Float[Tensor, ""]:
    """Return the ratio of ensemble spread to the error of the ensemble mean.

    It is ``sqrt((K + 1) / K * mean variance / mean (ensemble mean - y)^2)`` with unbiased variances and means over
    batch and components.

    Args:
        samples: K >= 2 samples for each truth.
        truth: The true states.

    Returns:
        A scalar: 1 is calibrated, below 1 is too narrow or biased, NaN says that spread and error are both 0.
        Errors of opposite sign cancel in the averages: look at spectra as well.

    Raises:
        ValueError: If the shapes do not match, there are fewer than 2 members, or a number is not finite.

    References:
        Fortin et al. (2014), Why should ensemble spread match the RMSE of the ensemble mean?
    """
    samples, truth = ensemble(samples, truth, least=2)
    x, y = samples.double(), truth.double()
    k = x.shape[1]
    error = (x.mean(dim=1) - y).square().mean()
    return ((k + 1) / k * x.var(dim=1).mean() / error).sqrt().to(truth.dtype)


def rank_histogram(
    samples: Numbers,
    truth: Numbers,
    *,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " ranks"]:
    """Count how often the truth has rank 0 ... K among its K members, over batch and components.

    Args:
        samples: K samples for each truth.
        truth: The true states.
        generator: Source of randomness that breaks ties.

    Returns:
        K + 1 counts: flat for a calibrated ensemble, a bowl for a narrow one, a dome for a wide one, a slope for a
        biased one.  Components of one state are dependent: for a chi-squared test take one number per state.

    Raises:
        ValueError: If the shapes do not match or a state is not finite.

    References:
        Hamill (2001), Interpretation of rank histograms for verifying ensemble forecasts.
    """
    samples, truth = numbers(samples, "samples"), numbers(truth, "truth")
    below, equal = _rank(samples, truth)
    home = home_of(generator, below)
    u = torch.rand(below.shape, generator=generator, dtype=torch.float64, device=home).to(below.device)
    rank = below + (u * (equal + 1)).floor().long()
    return torch.bincount(rank.flatten(), minlength=samples.shape[1] + 1)


def __dir__() -> list[str]:
    """List the public names, for completion in notebooks."""
    return sorted(__all__)


def _norm(x: Tensor, lead: int) -> Tensor:
    """Euclidean norm over all axes after the first ``lead``, in float64."""
    norm: Tensor = torch.linalg.vector_norm(x.reshape(*x.shape[:lead], -1), dim=-1, dtype=torch.float64)
    return norm


def _rank(samples: Numbers, truth: Numbers) -> tuple[Tensor, Tensor]:
    """How many members are below the truth, and how many equal to it; ``(n, *state)`` each, int64."""
    samples, truth = ensemble(samples, truth)
    y = truth.unsqueeze(1)
    return (samples < y).sum(dim=1), (samples == y).sum(dim=1)
