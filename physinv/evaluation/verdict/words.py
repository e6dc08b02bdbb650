"""The verdict on samples with known truths, in sentences: better than what costs nothing? can intervals be trusted?

Ratios are told from 1 by two standard errors over the observations, in whose order those of overlapping
windows are alike (:func:`~physinv.equations.series.mean_error`); components of one observation do not count as many.
"""

from __future__ import annotations

__all__ = ["Verdict", "verdict"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.series import mean_error
from physinv.evaluation.metrics import coverage, crps_map
from physinv.evaluation.observed.bands import band_passed, bands_of
from physinv.evaluation.verdict.baselines import Baseline
from physinv.evaluation.verdict.parts import judge_parts
from physinv.posterior.atoms import find_atoms
from physinv.processes.layout import StateLayout

COMPARED, TRUSTED = 8, 20
"""Observations from which on answers are compared, and intervals judged."""

_SURE = 2.0  # standard errors
_LEVEL = 0.9
_OFF, _OFF_BAND = 0.02, 0.03  # of the coverage: smaller errors do no harm
_CLOSE = 0.05  # of the coverage: intervals that are not shown to be off by more are trusted
_SURE_BAND = 3.0  # standard errors, for several bands
_ROUNDING = 8.0  # units in the last place by which samples of what was observed exactly may differ from it
_SILENT = 1e-10  # of the power of the truths: bands with less hold rounding only
_BOUND = 0.005  # share of samples with the same extreme value from which it is a bound
_PEAK = 2.0  # times the expected frequency of a rank
_SURE_PEAK = 4.0  # standard errors, for many ranks


@dataclass(frozen=True)
class Verdict:
    """What a reconstruction is worth.

    Args:
        sentences: The statements, warnings among them.
        warnings: Those of them that advise against using the samples, or the figures.
    """

    sentences: tuple[str, ...]
    warnings: tuple[str, ...]


def verdict(
    samples: Float[Tensor, "n k *state"],
    truth: Float[Tensor, "n *state"],
    layout: StateLayout,
    rivals: Sequence[Baseline],
    metrics: dict[str, float],
    unit: str = "",
    names: Sequence[str] = (),
    *,
    doubted: bool = False,
) -> Verdict:
    """Judge samples of initial states whose truths are known.

    Args:
        samples: Samples of each observation.
        truth: True initial states.
        layout: Layout of the states.
        rivals: Answers that cost nothing.
        metrics: Values of all metrics, by name.
        unit: Unit of the states, if they have one.
        names: Names of the channels or components that move, where the layout does not have them.
        doubted: Whether a check says that the samples cannot be right, so that no coverage makes them so.

    Returns:
        The verdict: sentences that begin with the comparison, go on with intervals and scales, and end with warnings.
    """
    said: list[str] = []
    warned = [f"The metric {name} is not finite." for name, value in metrics.items() if not math.isfinite(value)]
    ours, real = layout.moving(samples), layout.moving(truth)
    n, k = ours.shape[:2]
    if k < 2:
        return Verdict((*said, *warned), tuple(warned))
    known = _known(layout.scored(samples), layout.scored(truth), layout)
    if bool(known.all()):
        same = "Every sample is the true initial state, as where it was observed exactly: there is nothing to judge."
        return Verdict((same,), ())  # ratios of no error and no spread are not finite, and no fault

    # In the unit of the states.
    if unit:
        drawn, true = layout.scored(samples), layout.scored(truth)
        error, width = float(crps_map(drawn, true).mean()), float(_width_of_intervals(drawn).mean())
        said.append(f"The CRPS is {error:.3g} {unit}, 90 % intervals are {width:.3g} {unit} wide in the mean.")

    # Against what costs nothing.
    if n < COMPARED:
        warned.append(f"{_count(n)} {_is(n)} too few to compare answers: {COMPARED} are needed.")
    elif rivals:
        better, worse = _compared(ours, real, layout, rivals)
        said += better
        warned += worse

    # Intervals, as a whole and scale by scale.
    if n < TRUSTED:
        warned.append(f"{_count(n)} {_is(n)} too few to say whether intervals can be trusted: {TRUSTED} are needed.")
    elif bool(known.any()):  # whose intervals, without any width, say nothing
        good, bad = _of_unknown(layout.scored(samples), layout.scored(truth), known)
        said += good
        warned += bad
    else:
        good, bad = _intervals(samples, truth, layout, doubted)
        parts, faulty = judge_parts(samples, truth, layout, names)
        said += good + parts
        warned += bad + faulty
        warned += _peaks(layout.scored(samples), layout.scored(truth))
    warned += _bounds(ours, real, layout)
    return Verdict((*said, *warned), tuple(warned))


def _compared(
    ours: Tensor, real: Tensor, layout: StateLayout, rivals: Sequence[Baseline]
) -> tuple[list[str], list[str]]:
    """Sentences about the CRPS over that of each rival, each channel in units of its spread."""
    unit = layout.pooled((real - real.mean(0)).square()).sqrt() if not layout.positions else real.std()
    unit = torch.where(unit > 0, unit, torch.ones_like(unit)) if isinstance(unit, Tensor) else unit

    def score(x: Tensor) -> Tensor:
        return (crps_map(x, real) / unit).flatten(1).double().mean(1)

    mine = score(ours)
    groups: dict[str, list[str]] = {"better than": [], "not told from": [], "worse than": []}
    for rival in rivals:
        theirs = score(layout.moving(rival.samples))
        size = max(float(theirs.mean()), torch.finfo(torch.float64).tiny)
        ratio = float(mine.mean()) / size
        spread = float(mean_error(mine - ratio * theirs)) / size  # both means vary, and together
        gap, sure = ratio - 1, _SURE * spread
        called = "the linear estimate" if rival.name == "linear" else rival.name
        told = f"{called} ({ratio:.3g} +- {spread:.1g} times its CRPS)"
        if not float(theirs.mean()) > 0:  # exact, so that there is no ratio
            gap, sure, told = float(mine.mean()), _SURE * float(mean_error(mine)), f"{called} (whose CRPS is 0)"
        word = "better than" if gap < -sure else "worse than" if gap > sure else "not told from"
        groups[word].append(told)
    said = [f"By CRPS the posterior is better than {_and(groups['better than'])}."] if groups["better than"] else []
    if groups["not told from"]:
        said.append(f"By CRPS the posterior cannot be told from {_and(groups['not told from'])}.")
    worse = groups["worse than"]
    return said, [f"By CRPS the posterior is worse than {_and(worse)}: do not use it."] if worse else []


def _intervals(samples: Tensor, truth: Tensor, layout: StateLayout, doubted: bool) -> tuple[list[str], list[str]]:
    """Sentences about the coverage of 90 % intervals, of all numbers and of each band of scales."""
    share, error = _covered(layout.scored(samples), layout.scored(truth))
    held = f"90 % intervals hold the truth in {100 * share:.1f} +- {100 * error:.1g} % of the cases"
    wrong = abs(share - _LEVEL) > _OFF + _SURE * error
    off: list[tuple[str, float]] = []
    fine: list[tuple[str, float]] = []
    ours, real = layout.moving(samples), layout.moving(truth)
    if layout.has_bands:
        total = float(real.double().square().mean())
        for name, band in bands_of(layout).items():
            passed = band_passed(real, layout, band)
            if float(passed.double().square().mean()) <= _SILENT * total:
                continue
            part, spread = _covered(band_passed(ours, layout, band), passed)
            text = f"{name} scales ({100 * part:.0f} %)"
            (off if abs(part - _LEVEL) > _OFF_BAND + _SURE_BAND * spread else fine).append((text, part))
    if not wrong and not off and abs(share - _LEVEL) > _CLOSE:
        return [f"{held}: too few observations differ enough to say whether they can be trusted."], []
    if not wrong and not off and doubted:
        return [f"{held}, but the checks above say that samples cannot be right."], []
    if not wrong and not off:
        return [f"{held}: they can be trusted{', at all scales' if fine else ''}."], []
    said, warned = [], []
    if wrong:
        warned.append(f"{held}: they are too {_width(share)} and cannot be trusted.")
    else:
        said.append(f"{held}, as a whole.")
    scales = {word: [text for text, part in off if _width(part) == word] for word in ("narrow", "wide")}
    warned += [f"They cannot be trusted at {_and(w)}: there they are too {word}." for word, w in scales.items() if w]
    if off and fine:
        said.append(f"Scale by scale they can be trusted at {_and([text for text, _ in fine])}.")
    return said, warned


def _known(ours: Tensor, real: Tensor, layout: StateLayout) -> Tensor:
    """Which numbers of each observation all samples have right, but for rounding: those that were observed exactly.

    Channels and components may have units of their own, in which one's rounding is more than another's values.
    """
    over = [axis for axis in range(real.ndim) if axis != layout.channel_axis % real.ndim]
    rounding = _ROUNDING * torch.finfo(real.dtype).eps * real.abs().amax(over, keepdim=True)
    found = ((ours - real[:, None]).abs() <= rounding[:, None]).all(1)
    if layout.space or layout.positions or (atoms := find_atoms(real)) is None:
        return found
    choices = atoms.values.isfinite().sum(1) > 1  # of a few values, of which samples may well be sure
    return found & ~choices.to(found.device)


def _of_unknown(ours: Tensor, real: Tensor, known: Tensor) -> tuple[list[str], list[str]]:
    """Sentences about the coverage of 90 % intervals of the numbers that were not observed exactly."""
    each = []
    for x, y, skip in zip(ours, real, known, strict=True):
        if not bool(skip.all()):
            each.append(coverage(x[:, ~skip][None], y[~skip][None], _LEVEL))
    left = f"{100 * float(known.double().mean()):.0f} % of the numbers were observed exactly. Of the others"
    if len(each) < TRUSTED:
        return [], [f"{left} {_count(len(each))} {_is(len(each))} too few to say whether intervals can be trusted."]
    covered = torch.stack(each).double()
    share, error = float(covered.mean()), float(mean_error(covered))
    held = f"{left}, 90 % intervals hold the truth in {100 * share:.1f} +- {100 * error:.1g} % of the cases"
    if abs(share - _LEVEL) > _OFF + _SURE * error:
        return [], [f"{held}: they are too {_width(share)} and cannot be trusted."]
    return [f"{held}."], []


def _width_of_intervals(ours: Tensor) -> Tensor:
    """Width of the central 90 % of the samples of each number."""
    tails = torch.tensor([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], dtype=ours.dtype)
    low, high = torch.stack([torch.quantile(x, tails, dim=0) for x in ours], 1)
    width: Tensor = high - low
    return width


def _covered(ours: Tensor, real: Tensor) -> tuple[float, float]:
    """Coverage of 90 % intervals, and its standard error over the observations."""
    each = torch.stack([coverage(x[None], y[None], _LEVEL) for x, y in zip(ours, real, strict=True)]).double()
    return float(each.mean()), float(mean_error(each))


def _peaks(ours: Tensor, real: Tensor) -> list[str]:
    """A sentence where one rank of the truth is far too frequent."""
    k = ours.shape[1]
    below = (ours < real[:, None]).sum(1).flatten(1)
    equal = (ours == real[:, None]).sum(1).flatten(1)
    each = torch.stack([((below <= r) & (r <= below + equal)).double().div(equal + 1).mean(1) for r in range(k + 1)], 1)
    share, error = each.mean(0), mean_error(each.T)
    expected = 1 / (k + 1)
    over = torch.where((share > _PEAK * expected) & (share - expected > _SURE_PEAK * error), share, -torch.inf)
    if not bool((over > 0).any()):
        return []
    at = int(over.argmax())
    where = {0: "below all samples", k: "above all samples"}.get(at, f"above {at} of {k} samples")
    return [
        f"The truth lies {where} in {100 * float(share[at]):.0f} % of the cases, {100 * expected:.1f} % are expected: "
        "its ranks are peaked."
    ]


def _bounds(ours: Tensor, real: Tensor, layout: StateLayout) -> list[str]:
    """A sentence where many samples have the very same extreme value, and truths have not."""
    x, y = ours.flatten(0, 1), real
    axis = layout.channel_axis % y.ndim
    over = [a for a in range(y.ndim) if a != axis]
    for end in (x.amax(over, keepdim=True), x.amin(over, keepdim=True)):
        share, usual = (float((v == end).flatten(1).any(1).double().mean()) for v in (x, y))
        if share > max(_BOUND, 10 / len(x)) and usual < share / 2:
            return [
                f"{100 * share:.1f} % of the samples have a number at the bound of the box where data were seen: "
                "they would go further if they were let."
            ]
    return []


def _width(share: float) -> str:
    return "wide" if share > _LEVEL else "narrow"


def _count(n: int) -> str:
    return f"{n} observation{'s' * (n != 1)}"


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
