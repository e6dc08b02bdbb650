"""Is a posterior calibrated?  Tests over many observations, each with its truth and K samples.

If the samples are from ``p(x_0 | x_T)`` the truth cannot be told from them: any number computed from a state ranks the
truth uniformly among its samples.  Simulation-based calibration ranks summaries of the state, TARP the distance to a
reference point; coverage looks at central intervals.  A p value is uniform on [0, 1] for a calibrated posterior, and
small for one that is too narrow, too wide or biased.  None of them sees a posterior that is calibrated but knows less
than it could, such as the prior itself: look at proper scores as well.

``sbi.diagnostics`` has the first two, for posteriors of its own; these few lines save its many dependencies.
"""

from __future__ import annotations

__all__ = ["LEVELS", "Statistics", "Tarp", "calibration_error", "coverage_curve", "sbc", "tarp"]

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from scipy.stats import chisquare, kstest
from torch import Tensor

from physinv.evaluation.metrics import coverage, rank_histogram

LEVELS = torch.arange(1, 20, dtype=torch.float64) / 20
"""Nominal coverages .05 ... .95."""

Statistics = Callable[[Tensor], Tensor]
"""Scalar summaries of states, ``(n, *state) -> (n, summaries)``."""

_COMPONENTS = 16  # up to here every component is a summary
_PROJECTIONS = 8
_EXPECTED = 20  # least expected count per bin: the chi-squared law holds to well below its own spread


class Tarp(NamedTuple):
    """Expected coverage at ``levels``, ``(levels,)`` each, and the p value of its largest deviation anywhere."""

    levels: Float[Tensor, " levels"]
    coverage: Float[Tensor, " levels"]
    p_value: float

    @property
    def deviation(self) -> float:
        """The largest ``|coverage - level|`` at these levels."""
        return float((self.coverage - self.levels).abs().max())


def coverage_curve(
    samples: Float[Tensor, "batch members *state"],
    truth: Float[Tensor, "batch *state"],
    levels: Float[Tensor, " levels"] = LEVELS,
) -> Float[Tensor, " levels"]:
    """:func:`~physinv.evaluation.metrics.coverage` at each of ``levels``: the diagonal for calibrated marginals, for
    any K."""
    return torch.stack([coverage(samples, truth, level) for level in levels.tolist()])


def calibration_error(
    samples: Float[Tensor, "batch members *state"],
    truth: Float[Tensor, "batch *state"],
    levels: Float[Tensor, " levels"] = LEVELS,
) -> Float[Tensor, ""]:
    """``mean over levels of |coverage - level|``: 0 at best, up to sampling error, which does not cancel here."""
    curve = coverage_curve(samples, truth, levels)
    return (curve - levels.to(curve)).abs().mean()


def sbc(
    samples: Float[Tensor, "batch members *state"],
    truth: Float[Tensor, "batch *state"],
    *,
    statistics: Statistics | None = None,
    generator: torch.Generator | None = None,
) -> float:
    """Simulation-based calibration (Talts et al. 2018, algorithm 1): one p value for all ``statistics``.

    Of each summary the ranks of the truth among its K samples are held against the uniform law by a chi-squared test,
    neighbouring ranks pooled until 20 are expected in each bin; the smallest p value times the number of summaries,
    at most 1 (Bonferroni), keeps the level whatever the dependence.  Ties are broken at random.  By default every
    component is a summary; of states with more than 16 these are 8 projections on random directions and the norm, of
    components standardised over truths and samples together.  Random numbers from ``generator``.
    Raises ValueError for fewer than 40 observations, and for states that are not finite.
    """
    n, members = _sizes(samples, truth, least=2 * _EXPECTED)
    if statistics is None:
        statistics = _summaries(samples, truth, generator)
    ours, theirs = statistics(truth), statistics(samples.flatten(0, 1))
    theirs = theirs.reshape(n, members, -1)
    bins = min(members + 1, n // _EXPECTED)
    place = torch.arange(members + 1) * bins // (members + 1)
    expected = torch.bincount(place).numpy() * (n / (members + 1))
    smallest, count = 1.0, ours.shape[1]
    for s in range(count):
        ranks = rank_histogram(theirs[..., s], ours[..., s], generator=generator).cpu()
        pooled = torch.zeros(bins, dtype=ranks.dtype).index_add_(0, place, ranks)
        smallest = min(smallest, float(chisquare(pooled.double().numpy(), expected).pvalue))
    return min(1.0, count * smallest)


def tarp(
    samples: Float[Tensor, "batch members *state"],
    truth: Float[Tensor, "batch *state"],
    *,
    references: Float[Tensor, "batch *state"] | None = None,
    levels: Float[Tensor, " levels"] = LEVELS,
    generator: torch.Generator | None = None,
) -> Tarp:
    """Tests of accuracy with random points (Lemos et al. 2023, algorithm 2): does the whole state's law fit?

    ``f_i`` is the share of samples nearer to reference i than the truth is; expected coverage at level c is the share
    of observations with ``f_i <= c``.  Distances are Euclidean after each component is divided by its standard
    deviation over truths and samples together.  ``references`` default to the truths of other observations: points of
    the prior, as smooth as states are.  With K samples the rank of the truth, ties at random, plus a uniform number,
    over K + 1 is uniform for a calibrated posterior: the scales treat truth and samples alike.  Posteriors that tell
    nothing of ``x_T`` pass, as references do not depend on it.  Random numbers from ``generator``.
    """
    n, members = _sizes(samples, truth, least=2)
    home = truth.device if generator is None else generator.device
    if references is None:
        references = truth.roll(int(torch.randint(1, n, (), generator=generator, device=home)), 0)
    _, scale = _moments(samples, truth)
    far = ((truth - references) / scale).flatten(1).norm(dim=1)
    near = ((samples - references[:, None]) / scale).flatten(2).norm(dim=2)
    below, equal = (near < far[:, None]).sum(1), (near == far[:, None]).sum(1)
    u = torch.rand((n,), generator=generator, dtype=torch.float64, device=home).to(truth.device)
    share = (below + u * (equal + 1)) / (members + 1)
    at = levels.to(share)
    p_value = float(kstest(share.cpu().numpy(), "uniform").pvalue)
    return Tarp(at, (share[:, None] <= at).double().mean(0), p_value)


def _summaries(samples: Tensor, truth: Tensor, generator: torch.Generator | None) -> Statistics:
    d = truth[0].numel()
    if d <= _COMPONENTS:
        return lambda x: x.flatten(1)
    home = truth.device if generator is None else generator.device
    rows = torch.randn((d, _PROJECTIONS), generator=generator, dtype=truth.dtype, device=home).to(truth.device)
    mean, scale = _moments(samples, truth)

    def summaries(x: Tensor) -> Tensor:
        z = ((x - mean) / scale).flatten(1)
        return torch.cat([z @ rows, z.norm(dim=1, keepdim=True)], dim=1)

    return summaries


def _sizes(samples: Tensor, truth: Tensor, least: int) -> tuple[int, int]:
    """Observations and members, after a look at the shapes and numbers."""
    if samples.ndim != truth.ndim + 1 or samples.shape[:1] + samples.shape[2:] != truth.shape or samples.shape[1] < 1:
        raise ValueError(
            f"`samples` must have shape (batch, members, *state) for a truth of shape {tuple(truth.shape)}, "
            f"got {tuple(samples.shape)}; put the members on axis 1."
        )
    if len(truth) < least:
        raise ValueError(f"`truth` must hold at least {least} observations for a test, got {len(truth)}.")
    if not bool(torch.isfinite(samples).all() & torch.isfinite(truth).all()):
        raise ValueError("`samples` and `truth` must be finite, got NaN or infinity; remove diverged states.")
    return samples.shape[0], samples.shape[1]


def _moments(samples: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (1 where it is 0) of each component over truths and samples together.

    Over the truths alone they would lie nearer to the truths than to samples of the same law; each component only by
    O(1/n), but norms of fields add that up over thousands of components, and refuse the exact posterior.
    """
    std, mean = torch.std_mean(torch.cat([truth[:, None], samples], dim=1).flatten(0, 1), dim=0)
    return mean, torch.where(std > 0, std, torch.ones_like(std))
