"""Checks of posterior samples that need no exact posterior: each has the value that exact samples would have.

Over many observations a sample of the exact posterior has the law of the prior, and together with its observation the
law of a true pair.  So whatever is computed from a state, or from a state and its observation, is distributed over
exact samples as over the truths.  What is far from that says that the samples cannot be right; what agrees does not say
that they are.
"""

from __future__ import annotations

__all__ = ["FEWEST", "Check", "check_samples", "warnings"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.series import effective_number, mean_error
from physinv.evaluation.patches import patch_c2st, patch_size
from physinv.evaluation.physics.forward_misfit import end_noise, forward_misfit
from physinv.evaluation.roughness import band_power, total_variation, zigzags
from physinv.evaluation.value_range import beyond_by, outside, passed_bound, value_range
from physinv.evaluation.verdict.parts import part_names
from physinv.laws.observation import Observation
from physinv.processes.layout_base import StateLayout
from physinv.processes.simulator import Simulator

FEWEST = 8
"""Observations from which on the checks say anything."""

_FORWARD = 400  # samples that are run forward again, of all observations together
_LOOKED_AT = 8  # draws of each observation whose roughness is measured
_PATCHES = 40  # observations from which a classifier can learn anything
_BANDS = ("low", "middle", "high")
_FLOOR = 1e-8  # of the largest power of any band: below it, power is rounding
_RESAMPLED = 100  # bootstrap samples of the observations
_SURE = 4.0  # standard errors from which a difference is no accident, for a dozen checks
_SURE_OUTSIDE = 3.0  # of one check, whose error is taken large already


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Args:
        name: Name of the check, as in tables.
        value: Its value for the samples.
        expected: The value that exact samples would have.
        error: Standard error of ``value - expected`` over the observations.
        about: What it measures, in one line.
        warning: One sentence where the value says that the samples cannot be right, else None.
    """

    name: str
    value: float
    expected: float
    error: float
    about: str
    warning: str | None = None

    @property
    def ratio(self) -> float:
        """Return the value in units of the expected one."""
        return self.value / self.expected

    @property
    def significant(self) -> bool:
        """Whether the value is further from the expected one than four standard errors."""
        return not abs(self.value - self.expected) <= _SURE * self.error


def check_samples(
    samples: Float[Tensor, "n members *state"],
    truth: Float[Tensor, "n *state"],
    final: Float[Tensor, "n *seen"],
    simulator: Simulator,
    *,
    observation: Observation | None = None,
    known: Float[Tensor, "count *state"] | None = None,
    names: Sequence[str] = (),
    generator: torch.Generator | None = None,
) -> list[Check]:
    """Compute all checks that apply to samples of initial states; of fields with points without data not their looks.

    Args:
        samples: Samples for each observation.
        truth: The true initial states; any states of the prior would do for all but the expected misfit.
        final: Final states, or the observed numbers.
        simulator: The process.
        observation: Partial observation of the final states; None: they were observed whole.
        known: Other initial states of the prior, such as those of training data, beside the truths.
        names: Names of the channels or components that move, where the layout does not have them.
        generator: Source of new noise, places of patches and bootstrap samples.

    Returns:
        The checks, none for fewer than 8 observations.
    """
    if len(truth) < FEWEST:
        return []
    checks = _misfit(samples, truth, final, simulator, observation, generator) if simulator.known else []
    checks += _range(samples, truth, known, simulator, names)
    layout = simulator.layout
    if layout.has_bands:
        few, real = layout.moving(samples[:, :_LOOKED_AT]), layout.moving(truth)
        checks += _roughness(few, real, generator)
        if len(truth) >= _PATCHES:
            checks += _patches(few[:, 0], real, generator)
    return checks


def warnings(checks: Sequence[Check]) -> list[str]:
    """Return the sentences of the checks that say that the samples cannot be right.

    Args:
        checks: All checks.
    """
    return [check.warning for check in checks if check.warning is not None]


def _misfit(
    samples: Tensor,
    truth: Tensor,
    final: Tensor,
    simulator: Simulator,
    observation: Observation | None,
    generator: torch.Generator | None,
) -> list[Check]:
    """Median and 90 % quantile of the forward misfit; none without noise."""
    # The same noise of final states is the unit for samples and truths.
    n = min(len(truth), _FORWARD)
    whiten = end_noise(simulator, truth, observation=observation, generator=generator)
    if whiten is None:
        return []
    ours, theirs = (
        forward_misfit(x[:n], final[:n], simulator, whiten, observation=observation)
        for x in (samples[:, : _FORWARD // n], truth[:, None])
    )

    checks = []
    for name, word, level in (("misfit_median", "median", 0.5), ("misfit_90", "90 % quantile", 0.9)):

        def gap(index: Tensor, level: float = level) -> float:
            a, b = (m.per_number[index].flatten().sort().values for m in (ours, theirs))
            x, y = (float(v[round(level * (len(v) - 1))]) for v in (a, b))
            return x - y

        about = f"{word} of chi^2 / {ours.numbers}: samples run forward against the observation, in units of the noise"
        check = Check(name, ours.quantile(level), theirs.quantile(level), _bootstrap(gap, n, generator), about)
        checks.append(check)
    median = checks[0]
    if median.significant and not 0.8 <= median.ratio <= 1.25:
        said = (
            f"Run forward, samples miss the observation by a median chi^2 of {_brief(median.value)} per number, true "
            f"initial states by {_brief(median.expected)}: "
        )
        said += (
            "the samples do not lead to what was observed."
            if median.value > median.expected
            else "the samples reproduce the noise of the observation."
        )
        checks[0] = _warned(median, said)
    return checks


def _range(
    samples: Tensor, truth: Tensor, known: Tensor | None, simulator: Simulator, names: Sequence[str]
) -> list[Check]:
    """Share of samples outside the range of the truths, and of what else is known.

    Known states that follow each other in time are alike: few of them are worth many, and exact samples lie outside
    their range more often than each of them lies outside that of the others.
    """
    layout, every = simulator.layout, truth if known is None else torch.cat([truth, known])
    far, expected = outside(samples, every, layout)
    shares = far.double().mean(1)

    # How often a known state would lie outside by chance, were each as likely to as the samples are.
    value = float(shares.mean())
    chance = max(value, expected) * (1 - max(value, expected))
    worth = sum(_worth(states, layout) for states in (truth, known) if states is not None and len(states) > 1)
    error = float((mean_error(shares).square() + chance / max(worth, 1.0)).sqrt())
    about = f"share of samples with a number outside the range of {len(every)} known initial states"
    check = Check("outside", value, expected, error, about)
    if value > expected + max(0.005, _SURE_OUTSIDE * error):
        usual = f" ({_percent(expected)} are expected)" if expected > 0 else ""
        numbers, by = beyond_by(samples, every, layout)
        how = f"with {_percent(numbers)} of their numbers, by up to {_percent(by)} of the range"
        end = passed_bound(samples, every, layout)
        name = part_names(layout, layout.moving(truth).shape[layout.channel_axis], names)[end.part]
        side = f"{'below' if end.below else 'above'} {end.value:.3g}"
        check = _warned(
            check,
            f"{_percent(value)} of the samples lie outside all data{usual}, {how}; {_percent(end.share)} of all "
            f"samples have {name} {side}, and no number of the data is: do not trust them.",
        )
    return [check]


def _worth(states: Tensor, layout: StateLayout) -> float:
    """How many independent states give as good a range as states in the order of time."""
    ends = torch.cat([end.flatten(1) for end in value_range(states, layout)], 1).double()
    return float(effective_number(ends.T).mean())


def _roughness(samples: Tensor, truth: Tensor, generator: torch.Generator | None) -> list[Check]:
    """Total variation, zigzags and power by bands of wave numbers, averaged over the channels."""
    n, members = samples.shape[:2]
    size = truth.transpose(0, 1).flatten(1).std(1)

    def both(number: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """A number of each field by channels: the mean over the draws of each observation, and the truth's."""
        ours = number(samples.flatten(0, 1))
        return ours.reshape(n, members, *ours.shape[1:]).mean(1), number(truth)

    # Ratios of means over the observations, by channels.
    def ratio(name: str, ours: Tensor, theirs: Tensor, about: str) -> Check:
        def of(index: Tensor) -> float:
            return float((ours[index].mean(0) / theirs[index].mean(0).clamp(min=torch.finfo(theirs.dtype).tiny)).mean())

        return Check(name, of(torch.arange(n)), 1.0, _bootstrap(of, n, generator), about)

    variation = ratio("total_variation", *both(total_variation), "total variation of samples over that of true states")
    if variation.significant and not 0.87 <= variation.value <= 1.15:
        variation = _warned(
            variation,
            f"Samples have {_brief(variation.value)} times the total variation of true states: they are too "
            f"{'rough' if variation.value > 1 else 'smooth'} to be draws of the posterior.",
        )

    # Shares of zigzags, which may be zero for truths.
    ours, theirs = (x.mean(1) for x in both(lambda x: zigzags(x, size)))
    error = float(mean_error(ours - theirs))
    zigzag = Check(
        "zigzags",
        float(ours.mean()),
        float(theirs.mean()),
        error,
        "share of neighbouring differences of different sign (white noise: .67)",
    )
    if zigzag.significant and abs(zigzag.value - zigzag.expected) > max(0.03, 0.15 * zigzag.expected):
        zigzag = _warned(
            zigzag,
            f"{_percent(zigzag.value)} of neighbouring differences of samples change sign, {_percent(zigzag.expected)} "
            f"of those of true states: samples are {'speckled' if zigzag.value > zigzag.expected else 'too plain'}.",
        )

    # Power by bands, above the rounding of float32.
    power, real = both(band_power)
    floor = _FLOOR * real.mean(0).amax(-1)[:, None]
    bands = [
        ratio(f"power_{word}", (power + floor)[..., i], (real + floor)[..., i], f"power at {word} wave numbers over "
              "that of true states")
        for i, word in enumerate(_BANDS)
    ]  # fmt: skip
    for i, (word, band) in enumerate(zip(_BANDS, bands, strict=True)):
        if band.significant and not 2 / 3 <= band.value <= 1.5:
            said = f"Samples have {_brief(band.value)} times the power of true states at {word} wave numbers."
            bands[i] = _warned(band, said)
    return [variation, zigzag, *bands]


def _patches(samples: Tensor, truth: Tensor, generator: torch.Generator | None) -> list[Check]:
    """The two-sample test of patches, one of each field."""
    accuracy, error = patch_c2st(samples, truth, generator=generator)
    side = " x ".join(map(str, patch_size(tuple(truth.shape[2:]))))
    about = f"accuracy of a classifier that tells patches of {side} points of samples from those of true states"
    check = Check("patch_c2st", accuracy, 0.5, error, about)
    if check.significant and accuracy > 0.6:
        check = _warned(
            check,
            f"A classifier tells patches of {side} points of samples from those of true states in {_percent(accuracy)} "
            "of all cases (50 % is a guess): samples do not look like true states from close by.",
        )
    return [check]


def _bootstrap(statistic: Callable[[Tensor], float], n: int, generator: torch.Generator | None) -> float:
    """Standard error of a statistic of n observations, by drawing them with replacement (Efron 1979)."""
    draws = torch.randint(n, (_RESAMPLED, n), generator=generator)
    values = torch.tensor([statistic(index) for index in draws], dtype=torch.float64)
    return float(values.nan_to_num(posinf=0.0, neginf=0.0).std())


def _warned(check: Check, sentence: str) -> Check:
    return Check(check.name, check.value, check.expected, check.error, check.about, sentence)


def _brief(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"
