"""Summarise a benchmark in sentences: differences of means over seeds, compared with their standard errors."""

from __future__ import annotations

__all__ = ["front", "verdict"]

from collections.abc import Mapping, Sequence

from physinv.comparison.records import Summary
from physinv.reports.tables import COLUMNS, Column, number

_OURS = "physinv"
_RIGHT = {  # what exact samples of a hundred observations stay within
    "misfit_median": (0.8, 1.25),
    "outside": (0.0, 0.02),
    "total_variation": (0.87, 1.15),
    "zigzags": (0.85, 1.15),
    "patch_c2st": (0.0, 0.6),
}
_NAMED = {column.name: column for column in COLUMNS}
Summaries = Mapping[str, Mapping[str, Summary]]


def front(summaries: Summaries, error: str = "crps", cost: str = "total_seconds") -> set[str]:
    """Find the Pareto front: the methods that no other beats in error at the same cost or less.

    Method a is beaten by b if b costs no more and its mean error is lower by more than the noise of the seeds
    (:meth:`~physinv.comparison.records.Summary.gap`), or if b costs less than half and its mean error is no higher.
    The exact posterior takes no part.

    Args:
        summaries: Summaries by method and name.
        error: Name of the error.
        cost: Name of the cost.

    Returns:
        Names of methods.
    """
    found = {m: (own[error], own[cost].mean) for m, own in summaries.items() if {error, cost} <= own.keys()}
    found.pop("exact", None)
    return {a for a, mine in found.items() if not any(_beats(other, mine) for other in found.values())}


def _beats(other: tuple[Summary, float], mine: tuple[Summary, float]) -> bool:
    """Whether one method beats another, each given as error and cost."""
    lead = mine[0].mean - other[0].mean
    return (other[1] <= mine[1] and lead > mine[0].gap(other[0])) or (2 * other[1] < mine[1] and lead >= 0)


def verdict(summaries: Summaries) -> list[str]:
    """Say in sentences which methods beat physinv in CRPS, energy score, calibration and compute, and which it beats.

    A lead counts if it is more than the noise of the seeds (:meth:`~physinv.comparison.records.Summary.gap`).  Where
    physinv takes no part, the sentences are about the method of lowest CRPS.

    Args:
        summaries: Summaries by method and name.

    Returns:
        The sentences.
    """
    scored = [method for method in summaries if "crps" in summaries[method] and method != "exact"]
    if not scored:
        return ["There is no CRPS here, so nothing can be said about any method."]
    ours = _OURS if _OURS in scored else min(scored, key=lambda m: summaries[m]["crps"].mean)
    said = [_rank(_NAMED[n], summaries, ours) for n in ("crps", "energy_score") if n in summaries[ours]]
    said += _exact(summaries, ours) + _calibration(summaries, ours) + _checks(summaries, ours)
    said += _compute(summaries, ours) + _amortised(summaries, ours) + _elsewhere(summaries, ours)
    if all(s.n == 1 for own in summaries.values() for s in own.values()):
        said.append("All figures are from one seed: no difference has a standard error; below 2 % they count as level.")
    return said


def _rank(column: Column, summaries: Summaries, name: str) -> str:
    """Where a method stands in one column."""
    ours, word = summaries[name][column.name], column.heading
    rivals = {m: own[column.name] for m, own in summaries.items() if column.name in own and m not in (name, "exact")}
    if not rivals:
        return f"{name}'s {word} is {number(ours, column)}; no other method has one."
    ordered = sorted(rivals, key=lambda m: column.loss(rivals[m].mean))
    gaps = {m: column.loss(rivals[m].mean) - column.loss(ours.mean) for m in ordered}
    sure = {m for m in ordered if abs(gaps[m]) > column.gap(ours, rivals[m])}
    tied = [m for m in ordered if column.level(ours, rivals[m])]
    better = [m for m in ordered if gaps[m] < 0 and m in sure]
    lower = [m for m in ordered if gaps[m] < 0 and m not in sure and m not in tied]
    behind = [m for m in ordered if gaps[m] >= 0 and m not in tied]
    own, of_all = number(ours, column), f"of all {len(rivals) + 1} methods"
    if better:
        listed = _and([_valued(m, rivals[m], column) for m in better])
        text = f"{listed} {_beat(better)} {name} on {word} ({own})"
        text += f"; {_and(lower)} may do so, within the noise of the seeds" if lower else ""
        text += f"; {_and(tied)} {_do(tied, 'are', 'is')} level with it" if tied else ""
    elif lower:
        listed = _and([_valued(m, rivals[m], column) for m in lower])
        text = f"{listed} may beat {name} on {word} ({own}), within the noise of the seeds"
        text += f"; {_and(tied)} {_do(tied, 'are', 'is')} level with it" if tied else ""
    elif tied:
        listed = _and([_valued(m, s, column) for m, s in ((name, ours), *((m, rivals[m]) for m in tied))])
        text = f"{listed} share the lowest {word} {of_all}, {_within(ours, *(rivals[m] for m in tied))}"
        text += f"; next: {_valued(behind[0], rivals[behind[0]], column)}" if behind else ""
    else:
        text = f"{name} has the lowest {word} {of_all} ({own}; next: {behind[0]}, {number(rivals[behind[0]], column)})"
        text += "" if behind[0] in sure else ", a lead within the noise of the seeds"
    return text + "."


def _exact(summaries: Summaries, name: str) -> list[str]:
    if (exact := summaries.get("exact", {}).get("crps")) is None or not exact.mean:
        return []
    ours = summaries[name]["crps"]
    ratio, column = ours.mean / exact.mean - 1, _NAMED["crps"]
    if abs(ours.mean - exact.mean) <= ours.gap(exact):
        return [f"That is the exact posterior's CRPS ({number(exact, column)}), {_within(ours, exact)}."]
    return [f"The exact posterior's CRPS is {number(exact, column)}: {name}'s is {_percent(ratio)} it."]


def _calibration(summaries: Summaries, name: str) -> list[str]:
    """Coverage in words, then the calibration error against the others."""
    said, ours = [], summaries[name]
    if (covered := ours.get("coverage_90")) is not None:
        exact = summaries.get("exact", {}).get("coverage_90")
        aim = Summary(0.9, None, 1) if exact is None else exact
        right = abs(covered.mean - aim.mean) <= 0.02 + covered.gap(aim)
        said.append(
            f"{name}'s 90 % intervals hold the truth in {100 * covered.mean:.1f} % of the cases"
            + (f" (the exact posterior's in {100 * exact.mean:.1f} %)" if exact else "")
            + ("." if right else f", which is too {_width(covered.mean, aim.mean)}.")
        )
    if "calibration_error" in ours:
        said.append(_rank(_NAMED["calibration_error"], summaries, name))
    return said


def _checks(summaries: Summaries, name: str) -> list[str]:
    """Which checks say that samples of a method cannot be right, whatever the scores."""
    ours = summaries[name]
    failed = [n for n, (low, high) in _RIGHT.items() if n in ours and not low <= ours[n].mean <= high]
    if not failed:
        return []
    listed = _and([f"{_NAMED[n].heading} {number(ours[n], _NAMED[n])}{_aim(_NAMED[n])}" for n in failed])
    return [f"{name}'s samples can be told from true states without any exact posterior: {listed}."]


def _aim(column: Column) -> str:
    return f" for {column.best:g}" if isinstance(column.best, float) else ""


def _compute(summaries: Summaries, name: str) -> list[str]:
    """Time, and the front of error against time."""
    if (spent := summaries[name].get("total_seconds")) is None:
        return []
    best = front(summaries)
    if name in best:
        others = sorted(best - {name}, key=lambda m: summaries[m]["total_seconds"].mean)
        company = f", with {_and(others)}" if others else ", alone"
        return [f"{name} is on the front of CRPS against compute time ({_seconds(spent)}){company}."]
    ours, column = summaries[name]["crps"], _NAMED["crps"]
    rivals = {m: own for m, own in summaries.items() if {"crps", "total_seconds"} <= own.keys() and m != "exact"}
    own = ours, spent.mean
    beaten = [m for m, other in rivals.items() if _beats((other["crps"], other["total_seconds"].mean), own)]
    beaten.sort(key=lambda m: rivals[m]["crps"].mean)
    listed = _and(
        [f"{m} (CRPS {number(rivals[m]['crps'], column)}, {_seconds(rivals[m]['total_seconds'])})" for m in beaten]
    )
    return [
        f"{name} is not on the front of CRPS against compute time: {listed} {_do(beaten, 'reach', 'reaches')} a lower "
        f"CRPS in no more time than its {_seconds(spent)}."
    ]


def _amortised(summaries: Summaries, name: str) -> list[str]:
    """What one more sample costs a method, once trained, and the methods of lower CRPS that pay twice that or more."""
    ours = summaries[name]
    if "sample_seconds" not in ours:
        return []
    rivals = {m: own for m, own in summaries.items() if {"crps", "sample_seconds"} <= own.keys() and m != "exact"}
    better = [m for m, own in rivals.items() if ours["crps"].mean - own["crps"].mean > ours["crps"].gap(own["crps"])]
    dear = [m for m in better if rivals[m]["sample_seconds"].mean > 2 * ours["sample_seconds"].mean]
    if not dear:
        return []
    listed = [
        f"{m} {rivals[m]['sample_seconds'].mean:#.2g} s" for m in sorted(dear, key=lambda m: rivals[m]["crps"].mean)
    ]
    return [f"Once trained, one more sample takes {name} {ours['sample_seconds'].mean:#.2g} s, {_and(listed)}."]


def _elsewhere(summaries: Summaries, name: str) -> list[str]:
    """Which methods were run on other data of the same seeds, made by another version."""
    seen = {m: own["crps"].values.keys() for m, own in summaries.items() if "crps" in own}
    seeds = {m: {seed for seed, _ in keys} for m, keys in seen.items()}
    others = [m for m in seen if len(seeds[m] & seeds[name]) > len(seen[m] & seen[name])]
    if not others:
        return []
    were, them = _do(others, "were", "was"), _do(others, "them", "it")
    return [f"{_and(others)} {were} run on other observations than {name}; run {them} again."]


def _valued(method: str, summary: Summary, column: Column) -> str:
    return f"{method} ({number(summary, column)})"


def _width(coverage: float, aim: float) -> str:
    return "often (intervals too wide)" if coverage > aim else "rare (intervals too narrow, or biased)"


def _within(*summaries: Summary) -> str:
    return "within 2 % (of one seed)" if any(s.n == 1 for s in summaries) else "within the noise of the seeds"


def _percent(ratio: float) -> str:
    digits = 0 if abs(ratio) >= 0.1 else 1
    return f"{100 * abs(ratio):.{digits}f} % {'above' if ratio > 0 else 'below'}"


def _seconds(summary: Summary) -> str:
    return f"{summary.mean:.3g} s"


def _beat(methods: Sequence[str]) -> str:
    return _do(methods, "beat", "beats")


def _do(methods: Sequence[str], plural: str, singular: str) -> str:
    return singular if len(methods) == 1 else plural


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
