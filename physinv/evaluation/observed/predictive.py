"""The posterior predictive check: would samples of the posterior, run forward, have been observed as x_T was?

Each sample ``x_0^k`` is run to the final time twice, without noise and with it:

    r_k = x_T - F(x_0^k)    the observed miss,    e_k = x_T^k - F(x_0^k)    the miss that noise makes

For samples of the exact posterior the pair (x_0^k, x_T) has the law of a true pair, so over observations r_k has the
law of e_k (Gelman, Meng and Stern 1996, for such discrepancies).  Nothing needs a true initial state.  Two numbers are
compared, each averaged over the samples of an observation:

    rank        mean rank of r_k among the e_j, as a share: .5 where samples are not biased
    distance    chi^2 / d of r_k, beside that of e_k: above it the samples do not lead to what was observed, below it
                they reproduce its noise, as samples do that are too sure

The noise that chi^2 is measured in is estimated from one half of the samples for the other half, so that observed and
expected numbers are treated alike.  Of periodic fields chi^2 is taken for each band of scales as well.
"""

from __future__ import annotations

__all__ = [
    "FEWEST_DRAWS",
    "MOST_DRAWS",
    "PredictedFinals",
    "Predictive",
    "PredictiveRow",
    "Way",
    "check_prediction",
    "predict",
]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from scipy.special import ndtri
from torch import Tensor

from physinv.equations.sde import SDE
from physinv.equations.solve import march
from physinv.equations.steps import heun
from physinv.evaluation.observed.bands import band_passed, bands_of
from physinv.evaluation.physics.forward_misfit import pooled_noise
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator, refine

Way = Literal["known", "learned", "regression"]
"""How samples are run forward: by known physics, by learned physics, or by a regression of final on initial states."""

FEWEST_DRAWS = 8
"""Samples of each observation from which on there is a check."""

MOST_DRAWS = 32
"""Samples of each observation that are run forward, at most."""

_CHUNK = 2**22  # numbers that are run forward at once
_SPLIT = 4  # solver steps of learned physics between stored times
_CHANCE = 1e-3  # by which exact samples of any observation are found wrong
_BIAS = 0.05  # smallest difference of ranks that is told of all observations together
_RATIO = 1.25  # smallest ratio of distances that is told of them
_BLAMED = {"learned": "the learned physics", "regression": "the regression of x_T on x_0"}


@dataclass(frozen=True)
class PredictedFinals:
    """Samples of initial states, run forward.

    Args:
        noisy: Final states with noise.
        clean: Final states without.
    """

    noisy: Float[Tensor, "n m *state"]
    clean: Float[Tensor, "n m *state"]


@dataclass(frozen=True)
class PredictiveRow:
    """The check of one observation.

    Args:
        observation: Its number.
        rank: Mean rank of the observed numbers among the predicted ones, .5 expected.
        distance: chi^2 per number of the observed miss.
        expected: chi^2 per number of the noise.
        deviations: The largest difference of all of these from what is expected, in standard deviations of chance.
        warning: What is wrong, or None.
    """

    observation: int
    rank: float
    distance: float
    expected: float
    deviations: float
    warning: str | None = None


@dataclass(frozen=True)
class Predictive:
    """The result of the check.

    Args:
        rows: One for each observation.
        verdict: Sentences for all of them together.
        warnings: Those of the sentences that say that the samples cannot be right.
    """

    rows: tuple[PredictiveRow, ...]
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]


@torch.no_grad()
def predict(
    physics: SDE,
    times: Float[Tensor, " time"],
    samples: Float[Tensor, "n k *state"],
    *,
    generator: torch.Generator | None = None,
) -> PredictedFinals:
    """Run samples of initial states to the final time, with and without noise.

    Args:
        physics: The process, or physics that was learned from data.
        times: Stored times, from 0 to T.
        samples: Samples of each observation, the first 32 of which are run.
        generator: Source of the noise, on the device of the samples.

    Returns:
        The final states.

    Raises:
        ValueError: If the process has no physics.
    """
    if isinstance(physics, Simulator) and not physics.known:
        raise ValueError("`physics` must be known or learned to run samples forward, this method has none.")
    few = samples[:, :MOST_DRAWS]
    x, fine = few.flatten(0, 1), refine(times, _SPLIT)
    chunk = max(1, _CHUNK // (x[0].numel() * 4))

    def end(part: Tensor, noise: bool) -> Tensor:
        if isinstance(physics, Simulator):
            return physics.run(part, times[[0, -1]], noise=noise, generator=generator)[:, -1]
        for state in march(physics, part, fine, step=heun, noise=noise, generator=generator):
            last = state
        return last

    noisy, clean = (torch.cat([end(part, noise) for part in torch.split(x, chunk)]) for noise in (True, False))
    return PredictedFinals(noisy.reshape(few.shape), clean.reshape(few.shape))


@torch.no_grad()
def check_prediction(
    prediction: PredictedFinals, final: Float[Tensor, "n *state"], layout: StateLayout, way: Way = "known"
) -> Predictive:
    """Compare observed final states with those that samples lead to.

    Args:
        prediction: Samples run forward.
        final: Observed final states.
        layout: Layout of the states.
        way: How samples were run forward. What learned physics, or a regression, leaves unexplained counts as noise, so
            that a smaller miss than that of noise says nothing against samples.

    Returns:
        The check, one row for each observation; without any rows where there are fewer than 8 samples of each, or the
        physics has no noise.

    References:
        Gelman, Meng and Stern (1996), Posterior predictive assessment of model fitness via realized discrepancies.
    """
    draws = prediction.noisy.shape[1]
    if draws < FEWEST_DRAWS:
        said = f"There are {draws} samples for each observation: the predictive check needs {FEWEST_DRAWS} at least."
        return Predictive((), (said,), (said,))
    ends = (layout.emptied(x) for x in (prediction.noisy, prediction.clean, final))
    noisy, clean, seen = (layout.moving(x).double() for x in ends)
    if not bool(noisy.isfinite().all() and clean.isfinite().all()):
        bad = ~(noisy.isfinite() & clean.isfinite()).flatten(2).all(2)
        share = f"{100 * float(bad.double().mean()):.0f} %"
        said = f"{share} of the samples run away when they are run forward: they are no initial states of this process."
        return Predictive((), (said,), (said,))
    observed, noise = seen[:, None] - clean, noisy - clean
    if not bool(noise.abs().amax() > 0):
        miss = float((observed.square().mean() / seen.square().mean().clamp(min=torch.finfo(seen.dtype).tiny)).sqrt())
        said = (
            f"The physics has no noise, so no miss is a matter of chance; samples miss x_T by {miss:.2g} of its size."
        )
        return Predictive((), (said,), ())

    # Every number for each sample: of the observed miss, and of the noise.
    found = {name: _both(observed, noise, chi2) for name, chi2 in _distances(layout, seen).items()}
    misses, spread = final[:, None] - prediction.clean, prediction.noisy - prediction.clean
    found["rank"] = _both(layout.scored(misses).double(), layout.scored(spread).double(), _mean_ranks)
    return _told(found, prediction.clean, final, layout, way)


_Both = tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]
"""A number of each sample: of the observed miss, and of the noise."""


def _both(observed: Tensor, noise: Tensor, number: Callable[[Tensor, Tensor], Tensor]) -> _Both:
    """A number of each half of the samples, given the noise of the other half."""
    parts: list[tuple[Tensor, Tensor]] = []
    for mine, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        parts.append((number(observed[:, mine], noise[:, other]), number(noise[:, mine], noise[:, other])))
    ours, theirs = (torch.cat(side, 1) for side in zip(*parts, strict=True))
    return ours, theirs


def _mean_ranks(miss: Tensor, noise: Tensor) -> Tensor:
    """The mean rank of each miss among those of noise, as a share between 0 and 1."""
    rows = []
    for m, e in zip(miss, noise, strict=True):
        ordered = e.sort(0).values.flatten(1).T.contiguous()
        flat = m.flatten(1).T.contiguous()
        below, upto = (torch.searchsorted(ordered, flat, right=side) for side in (False, True))
        rows.append((below + upto).double().mean(0) / (2 * len(e)))
    return torch.stack(rows)


def _distances(layout: StateLayout, seen: Tensor) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """chi^2 per number of misses, of all numbers and of those of each band of scales."""
    scale = layout.channel_mean(seen.square()).sqrt()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))

    def distance(part: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        def chi2(miss: Tensor, noise: Tensor) -> Tensor:
            squares = pooled_noise(layout, part(noise).flatten(0, 1), scale)
            value, numbers = squares(part(miss).flatten(0, 1))
            return (value / numbers.clamp(min=1)).reshape(miss.shape[:2])

        return chi2

    found = {"distance": distance(lambda x: x)}
    if layout.basis == "fourier":
        for name, band in bands_of(layout).items():
            found[f"distance, {name} scales"] = distance(lambda x, b=band: band_passed(x, layout, b))  # type: ignore[misc]
    return found


def _told(found: dict[str, _Both], clean: Tensor, final: Tensor, layout: StateLayout, way: Way) -> Predictive:
    """The table and the sentences."""
    learned = way != "known"
    n = len(final)
    z = {name: _deviation(name, both) for name, both in found.items()}
    limit = -float(ndtri(_CHANCE / (2 * n * len(z)))) + 0.5  # the spread of few samples is not known exactly
    ours, theirs = found["distance"]
    rows = []
    for i in range(n):
        worst = max(z, key=lambda name: abs(float(z[name][i])))
        size = float(z[worst][i])
        harmless = learned and size < 0 and worst != "rank"
        warning = _wrong(worst, size) if abs(size) > limit and not harmless else None
        figures = (float(found["rank"][0][i].mean()), float(ours[i].mean()), float(theirs[i].mean()))
        rows.append(PredictiveRow(i, *figures, size, warning))

    # All observations together: means of independent numbers.
    sure = -float(ndtri(_CHANCE / (2 * len(z)))) + 0.5
    wrong: dict[str, str] = {}
    close: list[str] = []  # which learned physics may be to blame for
    for name, values in z.items():
        a, b = (float(x.mean()) for x in found[name])
        large = abs(a - b) > _BIAS if name == "rank" else not 1 / _RATIO <= a / max(b, 1e-300) <= _RATIO
        size = float(values.sum()) / math.sqrt(n)
        if abs(size) <= sure or not large:
            continue
        if learned and size < 0 and name != "rank":
            close.append(f"chi^2 per number{_scales(name)} {a:.3g}, {b:.3g} expected")
        else:
            what = "mean rank" if name == "rank" else "chi^2 per number"
            wrong[name] = f"Run forward, {_wrong(name, size)} ({what} {a:.3g}, {b:.3g} expected)."
    if "distance" in wrong:  # what is wrong as a whole needs no list of scales
        wrong = {name: said for name, said in wrong.items() if not name.startswith("distance, ")}
    warnings = list(wrong.values())
    far = [row for row in rows if row.warning]
    if far and not warnings:
        which = ", ".join(str(row.observation) for row in far[:6]) + (" ..." if len(far) > 6 else "")
        warnings.append(
            f"Run forward, samples of {len(far)} of {n} observations ({which}) do not fit: {far[0].warning}."
        )
    if warnings and (cause := _unit(clean, final, layout)):
        warnings.append(cause)
    mean, expected = float(ours.mean()), float(theirs.mean())
    passed = (
        f"Run forward, the samples lead to what was observed: chi^2 per number {mean:.3g}, {expected:.3g} expected, "
        f"{n} observation{'s' * (n > 1)}. That says nothing of initial states that lead there too and are missing."
    )
    if close:
        passed = (
            f"Run forward, the samples come closer to what was observed than the physics lets expect: {close[0]}, {n} "
            f"observation{'s' * (n > 1)}. Either they are too sure, or {_BLAMED[way]} has too much noise, since "
            "what it does not explain counts as noise; this check cannot say which."
        )
    elif learned:
        passed += f" The way forward is {_BLAMED[way]}: what it does not explain counts as noise."
    return Predictive(tuple(rows), tuple(warnings) or (passed,), tuple(warnings))


def _deviation(name: str, both: _Both) -> Float[Tensor, " n"]:
    """How far the mean over the samples is from what is expected, in standard deviations of one sample.

    The mean over dependent samples varies less than one of them, so that it is rather too small.
    """
    ours, theirs = ((x.clamp(min=0).pow(1 / 3) if name.startswith("distance") else x) for x in both)
    spread = theirs.var(1).maximum(theirs.var(1).mean()).sqrt()
    least = 1e-6 * theirs.abs().mean().clamp(min=torch.finfo(theirs.dtype).tiny)
    return (ours.mean(1) - theirs.mean(1)) / (spread * math.sqrt(1 + 1 / theirs.shape[1])).clamp(min=least)


def _wrong(name: str, size: float) -> str:
    """What a difference means, as a clause."""
    where = _scales(name)
    if name == "rank":
        return f"samples lead to values that are too {'low' if size > 0 else 'high'}"
    if size > 0:
        return f"the samples do not lead to what was observed{where}"
    return f"the samples reproduce the noise of the observation{where}: they are too sure"


def _scales(name: str) -> str:
    """The band of scales that a number is of, in words."""
    return f" at {name.removeprefix('distance, ')}" if name.startswith("distance,") else ""


def _unit(clean: Tensor, final: Tensor, layout: StateLayout) -> str | None:
    """A sentence where the observation is that many times what samples lead to."""
    y, x = layout.moving(final).double(), layout.moving(clean).double().mean(1)
    if not bool(x.square().sum() > 0):
        return None
    slope = float((x * y).sum() / x.square().sum())
    left = float((y - slope * x).square().sum() / y.square().sum().clamp(min=torch.finfo(y.dtype).tiny))
    if left > 0.5 or slope <= 0 or 0.5 < slope < 2:
        return None
    return f"What was observed is {slope:.3g} times what the samples lead to: is one of them in another unit?"
