"""Tests of calibration over many observations, each with its truth and K samples.

If the samples are from ``p(x_0 | x_T)`` the truth cannot be told from them: any number computed from a state ranks the
truth uniformly among its samples.  Simulation-based calibration ranks summaries of the state, TARP the distance to a
reference point; coverage looks at central intervals.  A p value is uniform on [0, 1] for a calibrated posterior, and
small for one that is too narrow, too wide or biased.  None of these tests sees a posterior that is calibrated but uses
less of the observation than it could, such as the prior itself: look at proper scoring rules as well.

``sbi.diagnostics`` has the first two, for posteriors of its own; these few lines save its many dependencies.
"""

from __future__ import annotations

__all__ = ["LEVELS", "Statistics", "Tarp", "calibration_error", "coverage_curve", "sbc", "tarp"]

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Numbers, as_tensor, home_of
from physinv.evaluation.ensembles import ensemble
from physinv.evaluation.metrics import coverage, rank_histogram

LEVELS = torch.arange(1, 20, dtype=torch.float64) / 20
"""Nominal coverages .05 ... .95."""

Statistics = Callable[[Tensor], Tensor]
"""Scalar summaries of states, ``(n, *state) -> (n, summaries)``."""

_COMPONENTS = 16  # up to here every component is a summary
_PROJECTIONS = 8
_EXPECTED = 20  # least expected count per bin: the chi-squared law holds to well below its own spread


class Tarp(NamedTuple):
    """The result of :func:`tarp`.

    Attributes:
        levels: Nominal coverages.
        coverage: Expected coverage at each of them.
        p_value: Kolmogorov-Smirnov p value of the largest deviation at any level.
    """

    levels: Float[Tensor, " levels"]
    coverage: Float[Tensor, " levels"]
    p_value: float

    @property
    def deviation(self) -> float:
        """Return the largest ``|coverage - level|`` at these levels."""
        return float((self.coverage - self.levels).abs().max())


def coverage_curve(
    samples: Numbers,
    truth: Numbers,
    levels: Numbers = LEVELS,
) -> Float[Tensor, " levels"]:
    """Return the coverage of central intervals at several levels.

    Args:
        samples: K samples for each truth.
        truth: The true states.
        levels: Nominal coverages, between 0 and 1.

    Returns:
        :func:`~physinv.evaluation.metrics.coverage` at each level: the levels themselves for calibrated marginals.

    Raises:
        ValueError: If the shapes do not match, a level is no probability, or a state is not finite.
    """
    return torch.stack([coverage(samples, truth, level) for level in as_tensor(levels, "levels").tolist()])


def calibration_error(samples: Numbers, truth: Numbers) -> Float[Tensor, ""]:
    """Return the mean of ``|coverage - level|`` over the :data:`LEVELS`.

    Args:
        samples: K samples for each truth.
        truth: The true states.

    Returns:
        A scalar, 0 at best up to sampling error, which does not cancel in absolute values.

    Raises:
        ValueError: If the shapes do not match or a state is not finite.
    """
    curve = coverage_curve(samples, truth)
    return (curve - LEVELS.to(curve)).abs().mean()


def sbc(
    samples: Numbers,
    truth: Numbers,
    *,
    statistics: Statistics | None = None,
    generator: torch.Generator | None = None,
) -> float:
    """Test simulation-based calibration of summaries of the state.

    Of each summary the ranks of the truth among its K samples are compared with the uniform law by a chi-squared test,
    neighbouring ranks pooled until 20 are expected in each bin.  The smallest p value times the number of summaries
    (Bonferroni) keeps the level whatever the dependence.

    Args:
        samples: K samples for each truth.
        truth: The true states, 40 at least.
        statistics: Summaries of states.  By default every component; of states with more than 16, 8 projections on
            random directions and the norm, of components standardised over truths and samples together.
        generator: Source of random directions and of randomness that breaks ties.

    Returns:
        One p value for all summaries, at most 1.

    Raises:
        ValueError: If the shapes do not match, there are fewer than 40 truths, or a state is not finite.

    References:
        Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based calibration, algorithm 1.
    """
    from scipy.stats import chisquare  # which takes a second to import

    samples, truth = _checked(samples, truth, least=2 * _EXPECTED)
    n, members = samples.shape[:2]
    if statistics is None:
        statistics = _summaries(samples, truth, generator)
    ours, theirs = statistics(truth), statistics(samples.flatten(0, 1))
    theirs = theirs.reshape(n, members, -1)

    # Pool ranks into bins of at least 20 expected counts.
    bins = min(members + 1, n // _EXPECTED)
    place = torch.arange(members + 1) * bins // (members + 1)
    expected = torch.bincount(place).numpy() * (n / (members + 1))

    # The smallest p value over all summaries.
    smallest, count = 1.0, ours.shape[1]
    for s in range(count):
        ranks = rank_histogram(theirs[..., s], ours[..., s], generator=generator).cpu()
        pooled = torch.zeros(bins, dtype=ranks.dtype).index_add_(0, place, ranks)
        smallest = min(smallest, float(chisquare(pooled.double().numpy(), expected).pvalue))
    return min(1.0, count * smallest)


def tarp(
    samples: Numbers,
    truth: Numbers,
    *,
    references: Float[Tensor, "batch *state"] | None = None,
    levels: Float[Tensor, " levels"] = LEVELS,
    generator: torch.Generator | None = None,
) -> Tarp:
    """Test the coverage of whole states with random points (TARP).

    ``f_i`` is the share of samples nearer to reference point i than the truth is; expected coverage at level c is the
    share of observations with ``f_i <= c``.  Distances are Euclidean after each component is divided by its standard
    deviation over truths and samples together, so that the scales treat truth and samples alike.  With K samples the
    rank of the truth, ties at random, plus a uniform number, over K + 1 is uniform for a calibrated posterior.
    Posteriors that do not depend on ``x_T`` pass, since the reference points do not depend on it either.

    Args:
        samples: K samples for each truth.
        truth: The true states, 2 at least.
        references: One point for each truth; by default the truths of other observations, which are points of the
            prior and as smooth as states are.
        levels: Nominal coverages, between 0 and 1.
        generator: Source of randomness.

    Returns:
        The expected coverages and the p value of their largest deviation.

    Raises:
        ValueError: If the shapes do not match, there are fewer than 2 truths, or a state is not finite.

    References:
        Lemos et al. (2023), Sampling-based accuracy testing of posterior estimators, algorithm 2.
    """
    samples, truth = _checked(samples, truth, least=2)
    n, members = samples.shape[:2]
    home = home_of(generator, truth)
    if references is None:
        references = truth.roll(int(torch.randint(1, n, (), generator=generator, device=home)), 0)

    # How many samples are nearer to the reference point than the truth, in units of each component's deviation.
    _, scale = _moments(samples, truth)
    far = ((truth - references.reshape(truth.shape)) / scale).flatten(1).norm(dim=1)
    near = ((samples - references.reshape(truth.shape)[:, None]) / scale).flatten(2).norm(dim=2)
    below, equal = (near < far[:, None]).sum(1), (near == far[:, None]).sum(1)
    u = torch.rand((n,), generator=generator, dtype=torch.float64, device=home).to(truth.device)
    share = (below + u * (equal + 1)) / (members + 1)
    from scipy.stats import kstest  # which takes a second to import

    at = levels.to(share)
    p_value = float(kstest(share.cpu().numpy(), "uniform").pvalue)
    return Tarp(at, (share[:, None] <= at).double().mean(0), p_value)


def _summaries(samples: Tensor, truth: Tensor, generator: torch.Generator | None) -> Statistics:
    d = truth[0].numel()
    if d <= _COMPONENTS:
        return lambda x: x.flatten(1)
    home = home_of(generator, truth)
    rows = torch.randn((d, _PROJECTIONS), generator=generator, dtype=truth.dtype, device=home).to(truth.device)
    mean, scale = _moments(samples, truth)

    def summaries(x: Tensor) -> Tensor:
        z = ((x - mean) / scale).flatten(1)
        return torch.cat([z @ rows, z.norm(dim=1, keepdim=True)], dim=1)

    return summaries


def _checked(samples: Numbers, truth: Numbers, least: int) -> tuple[Tensor, Tensor]:
    """Samples and truth with a state axis, after a look at their number and at their values."""
    samples, truth = ensemble(samples, truth)
    if len(truth) < least:
        raise ValueError(f"`truth` must hold at least {least} observations for a test, got {len(truth)}.")
    return samples, truth


def _moments(samples: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (1 where it is 0) of each component over truths and samples together.

    Over the truths alone they would lie nearer to the truths than to samples of the same law; each component only by
    O(1/n), but norms of fields add that up over thousands of components, and refuse the exact posterior.
    """
    std, mean = torch.std_mean(torch.cat([truth[:, None], samples], dim=1).flatten(0, 1).double(), dim=0)
    return mean.to(truth), torch.where(std > 0, std, torch.ones_like(std)).to(truth)
