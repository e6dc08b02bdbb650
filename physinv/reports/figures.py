"""The figures of a report, with captions that say how to read them."""

from __future__ import annotations

__all__ = ["ReportFigure", "pictures"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from physinv.comparison.examples import Example
from physinv.comparison.records import CellRecord, order, points, summarise
from physinv.reports.verdict import front

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STUDIED = {"crps": "CRPS", "coverage_90": "90 % coverage"}
_CURVES = {"levels": "coverage", "tarp_levels": "tarp"}
_TITLES = {"coverage": "per component", "tarp": "whole states (TARP)"}
_AXES = {"parameters.horizon": "horizon T", "splits.train": "training trajectories", "parameters.noise": "noise g"}


Curves = dict[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class ReportFigure:
    """A figure of a report.

    Args:
        name: Name of its file.
        section: Section of the report that it belongs to.
        title: Its heading.
        caption: How to read it.
        figure: The figure itself.
    """

    name: str
    section: str
    title: str
    caption: str
    figure: Figure


def pictures(records: Sequence[CellRecord], examples: Mapping[str, Example]) -> Iterator[ReportFigure]:
    """Draw all figures that the results have numbers for.

    Args:
        records: Records of one system.
        examples: Example reconstructions by method.

    Yields:
        The figures, in the order of the report.
    """
    summaries = summarise(records)
    methods = [m for m in order(summaries) if summaries[m]]
    yield from _front(records)
    yield from _examples(methods, examples)
    yield from _calibration(records, methods)
    yield from _spectra(records, methods)
    yield from _studies(records)


def _front(records: Sequence[CellRecord]) -> Iterator[ReportFigure]:
    from physinv.reports.plots.comparison import front as draw

    found = summarise(records)
    exact = found.pop("exact", {}).get("crps")
    shown = {m: own for m, own in found.items() if {"crps", "total_seconds"} <= own.keys()}
    shown = {m: own for m, own in shown.items() if own["crps"].mean > 0 and own["total_seconds"].mean > 0}
    if shown:
        spots = {m: (o["total_seconds"].mean, o["crps"].mean, o["crps"].error) for m, o in shown.items()}
        best = front(shown)
        caption = (
            "Lower left is better. Methods in bold, joined by the dotted line, are on the front: no other one has an "
            "error that is lower by more than the noise of the seeds in the same time or less, or one no higher in "
            "less than half. Time is training plus the sampling of the whole test set. Bars: one standard error over "
            "the seeds."
        )
        figure = draw(spots, best, exact.mean if exact and exact.mean > 0 else None)
        yield ReportFigure("error-against-time", "front", "CRPS against seconds", caption, figure)


def _examples(methods: Sequence[str], examples: Mapping[str, Example]) -> Iterator[ReportFigure]:
    from physinv.reports.plots.methods import examples as draw

    names = [m for m in methods if m in examples]
    if not names:
        return
    lead = examples["physinv" if "physinv" in names else names[0]]
    shown = {m: examples[m].samples[0] for m in names if _same(examples[m], lead)}
    finite = [m for m in shown if bool(np.isfinite(shown[m].numpy()).all())]
    if not finite:
        return
    gone = [m for m in shown if m not in finite]
    caption = (
        "The same observation, as each method sees it: its samples, what they agree on (mean), and the truth. Good "
        "samples look like the truth and differ where the observation tells nothing; an estimate without spread "
        "repeats itself. One example of one seed proves nothing: the tables do."
    )
    caption += f" Not drawn, since some draws are not finite: {', '.join(gone)}." if gone else ""
    figure = draw(lead.truth[0], lead.final[0], {m: shown[m] for m in finite}, lead.layout)
    yield ReportFigure("examples", "examples", "One observation, every method", caption, figure)


def _calibration(records: Sequence[CellRecord], methods: Sequence[str]) -> Iterator[ReportFigure]:
    from physinv.reports.plots.comparison import coverages, rank_histograms

    panels: dict[str, Curves] = {}
    for levels, name in _CURVES.items():
        curves: Curves = {m: (_mean(records, m, levels), _mean(records, m, name)) for m in methods}
        if kept := {m: c for m, c in curves.items() if len(c[0]) == len(c[1]) > 0}:
            panels[_TITLES[name]] = {**kept}
    if panels:
        caption = (
            "How much more often than they should (line at 0) central intervals hold the truth, mean over the seeds. "
            "Below the line intervals are too narrow or off; above, too wide. TARP asks the same of balls around "
            "random points, so of whole states, correlations included; it needs more samples to see small errors."
        )
        yield ReportFigure("coverage", "calibration", "Coverage", caption, coverages(panels))
    if ranks := {m: own for m in methods if (own := _mean(records, m, "ranks"))}:
        caption = (
            "Flat: calibrated. Bowl: too narrow. Dome: too wide. Slope: biased. An estimate without spread fills the "
            "two ends only."
        )
        yield ReportFigure("ranks", "calibration", "Rank histograms", caption, rank_histograms(ranks))


def _spectra(records: Sequence[CellRecord], methods: Sequence[str]) -> Iterator[ReportFigure]:
    from physinv.reports.plots.comparison import spectra_by_method

    names = ("k", *(f"spectrum_{part}" for part in ("truth", "samples", "mean", "spread", "error")))
    curves = {m: {n: own for n in names if (own := _mean(records, m, n))} for m in methods}
    if curves := {m: own for m, own in curves.items() if {"k", "spectrum_truth"} <= own.keys()}:
        caption = (
            "Posterior samples (blue) have the truth's power (black) at every wave number; their mean (red) loses what "
            "the observation does not tell. Where the spread (pink line) meets the error of the mean (pink dots), the "
            "uncertainty is honest at that scale; a line below the dots is overconfident."
        )
        yield ReportFigure("spectra", "spectra", "Spectra", caption, spectra_by_method(curves))


def _studies(records: Sequence[CellRecord]) -> Iterator[ReportFigure]:
    from physinv.reports.plots.comparison import Point, studies

    panels: dict[str, dict[str, dict[str, list[Point]]]] = {}
    for places in points(records).values():
        label = _AXES.get(places[0].label or places[0].key, places[0].label or places[0].key)
        named = any(isinstance(p.value, str) for p in places)
        for place in places:
            x = str(place.value) if named else float(place.value)
            found = summarise(records, place)
            for method in order(found):
                for name, heading in _STUDIED.items():
                    if (s := found[method].get(name)) is not None:
                        lines = panels.setdefault(label, {}).setdefault(heading, {})
                        lines.setdefault(method, []).append((x, s.mean, s.error))
    if panels:
        rows = [h for h in _STUDIED.values() if any(h in own for own in panels.values())]
        caption = "Each panel changes one setting and leaves the others. Bars: one standard error over the seeds."
        yield ReportFigure("studies", "studies", "What the error depends on", caption, studies(panels, rows))


def _mean(records: Sequence[CellRecord], method: str, name: str) -> list[float]:
    """A curve, averaged over the seeds of the main table that have it at the same length."""
    own = [r.curves[name] for r in records if r.method == method and r.study is None and name in r.curves]
    own = [curve for curve in own if len(curve) == len(own[0])]
    if not own:
        return []
    mean = [math.fsum(values) / len(own) for values in zip(*own, strict=True)]
    return mean if all(map(math.isfinite, mean)) else []


def _same(a: Example, b: Example) -> bool:
    """Whether two examples show the same state."""
    return a.truth.shape == b.truth.shape and bool((a.truth[0] == b.truth[0]).all())
