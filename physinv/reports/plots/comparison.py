"""Methods against each other: calibration, spectra, cost, and what a study varies."""

from __future__ import annotations

__all__ = ["coverages", "front", "rank_histograms", "spectra_by_method", "studies"]

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from physinv.reports.plots.labels import place_labels
from physinv.reports.plots.methods import look_of
from physinv.reports.plots.style import BLACK, BLUE, MEAN, PINK, TRUTH, WIDTH, house_style

Numbers = Sequence[float]
Spot = tuple[float, float, float | None]
"""Seconds, error, its standard error (None: not known)."""
Point = tuple[float | str, float, float | None]
"""What a study varies, error, its standard error (None: not known)."""


@house_style()
def coverages(panels: Mapping[str, Mapping[str, tuple[Numbers, Numbers]]]) -> Figure:
    """Draw the empirical less the nominal coverage of several methods against the nominal one.

    On the line at 0 a method is calibrated; below it intervals are too narrow, above it too wide. The axis is linear up
    to 0.1 and logarithmic beyond.

    Args:
        panels: Nominal levels and empirical coverage, by title of the panel and method.

    Returns:
        The figure.
    """
    figure = Figure((WIDTH, 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    handles = {}
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        ax.axhline(0, color=BLACK, lw=0.8)
        for method, (levels, covered) in curves.items():
            look = {**look_of(method), "ms": 3, "markevery": 0.2, "lw": 2.2 if method == "physinv" else 1.3}
            (handles[method],) = ax.plot(levels, np.subtract(covered, levels), **look)
        ax.set(title=title, xlabel="nominal coverage", xlim=(0, 1))
        ax.text(0.02, 0.98, "too wide", transform=ax.transAxes, va="top", size=8, color="0.4")
        ax.text(0.02, 0.02, "too narrow or biased", transform=ax.transAxes, size=8, color="0.4")
    axes[0].set_ylabel("empirical less nominal coverage")
    axes[0].set_yscale("symlog", linthresh=0.1, linscale=1.0)
    ticks = (-0.8, -0.4, -0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.2, 0.4)
    axes[0].set_yticks(ticks, labels=[f"{y:g}".replace("-", "\N{MINUS SIGN}") for y in ticks])
    axes[0].yaxis.set_minor_locator(NullLocator())
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(1.3 * min(low, -0.05), 1.3 * max(high, 0.05))
    figure.legend(handles.values(), handles.keys(), loc="outside right center")
    return figure


@house_style()
def rank_histograms(counts: Mapping[str, Numbers]) -> Figure:
    """Draw rank histograms over their means, a panel per method: flat where calibrated.

    Args:
        counts: How often the truth had each rank among the samples, by method.

    Returns:
        The figure.
    """
    figure, axes = _grid(len(counts), 1.25)
    for ax, (method, own) in zip(axes, counts.items(), strict=True):
        share = np.asarray(own) / max(float(np.mean(own)), 1e-300)
        ax.bar(np.arange(len(share)), np.minimum(share, 3), width=0.86, color=look_of(method)["color"], alpha=0.8)
        ax.axhline(1, color=BLACK, lw=0.8)
        if share.max() > 3.05:
            ax.text(0.5, 0.97, f"up to {share.max():.2g}", transform=ax.transAxes, ha="center", va="top", size=8)
        _name(ax, method)
        ax.set(ylim=(0, 3), xlim=(-0.7, len(share) - 0.3))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel("rank of the truth among the samples", size=9)
    figure.supylabel("frequency / uniform", size=9)
    return figure


@house_style()
def spectra_by_method(curves: Mapping[str, Mapping[str, Numbers]]) -> Figure:
    """Draw power per mode against the wave number, a panel per method.

    The spectra of truth and samples agree for posterior samples. The mean of the samples has less power at wave numbers
    that the observation does not inform. Spread and error of the mean agree where the spread is calibrated.

    Args:
        curves: Values by method and name: ``k`` (wave numbers), ``spectrum_truth``, and any of ``spectrum_samples``,
            ``spectrum_mean``, ``spectrum_spread`` and ``spectrum_error``.

    Returns:
        The figure.
    """
    lines = {
        "spectrum_truth": {**TRUTH, "lw": 2.2, "label": "truth"},
        "spectrum_samples": {"color": BLUE, "label": "samples"},
        "spectrum_mean": {**MEAN, "label": "their mean"},
        "spectrum_spread": {"color": PINK, "ls": "-", "lw": 1, "label": "spread"},
        "spectrum_error": {"color": PINK, "ls": "", "marker": ".", "ms": 4, "label": "error of the mean"},
    }
    figure, axes = _grid(len(curves), 1.45)
    peak = max(max(own["spectrum_truth"][1:], default=0.0) for own in curves.values() if own.get("spectrum_truth"))
    for ax, (method, own) in zip(axes, curves.items(), strict=True):
        k = np.asarray(own["k"])
        shown = k > 0
        for name, look in lines.items():
            if own.get(name):
                values = np.asarray(own[name], dtype=float)
                ax.plot(k[shown], np.where(values > 0, values, np.nan)[shown], **look)
        _name(ax, method)
        ax.set(xscale="log", yscale="log", ylim=(1e-8 * peak, 10 * peak))
        ax.xaxis.set_major_locator(LogLocator(2))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        ax.yaxis.set_major_locator(LogLocator(10, numticks=5))
        ax.yaxis.set_minor_locator(NullLocator())
    low = min(_lowest(own) for own in curves.values())
    axes[0].set_ylim(max(1e-8 * peak, 0.5 * low), 5 * peak)
    figure.supxlabel("wave number $|k|$", size=9)
    figure.supylabel("power per mode", size=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


@house_style()
def front(points: Mapping[str, Spot], best: Collection[str], exact: float | None = None) -> Figure:
    """Draw the error (CRPS) of methods against their time, both logarithmic.

    Args:
        points: Seconds, error and its standard error (None if it is not known), by method.
        best: Methods that no other one beats in both, joined by a line.
        exact: Error of the exact posterior, below which no method is but by chance.

    Returns:
        The figure.
    """
    figure = Figure((WIDTH, 4.2), layout="constrained")
    ax = figure.subplots()
    ax.set(xscale="log", yscale="log", xlabel="seconds of training and sampling", ylabel="CRPS")
    for method, (x, y, error) in points.items():
        look = {**look_of(method), "ls": "", "ms": 8 if method in best else 6, "mec": "w", "mew": 0.6}
        ax.errorbar(x, y, yerr=error, elinewidth=1, **look)
    steps = sorted((points[m][:2] for m in best), key=lambda p: p[0])
    if steps:
        ax.plot(*zip(*steps, strict=True), color="0.6", lw=1, ls=":", zorder=1)
    ax.margins(x=0.12, y=0.1)
    if exact is not None:
        ax.axhline(exact, color=BLACK, lw=0.8, zorder=1)
        at = ax.get_yaxis_transform()
        ax.annotate("exact posterior", (0, exact), (3, 2), xycoords=at, textcoords="offset points", va="bottom", size=8)
    _plain(ax)
    FigureCanvasAgg(figure)  # measures the names
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    place_labels(ax, {m: (x, y) for m, (x, y, _) in points.items()}, {m: look_of(m)["color"] for m in points}, best)
    return figure


@house_style()
def studies(panels: Mapping[str, Mapping[str, Mapping[str, Sequence[Point]]]], rows: Sequence[str]) -> Figure:
    """Draw errors against what a study varies, a column per study and a row per metric.

    Bars are standard errors over the seeds. Values that are words stand side by side in the order they come in.

    Args:
        panels: Points (value, error, its standard error) by label of the axis, heading of the metric and method.
        rows: Headings of the metrics that are shown.

    Returns:
        The figure.
    """
    n = len(panels)
    columns = min(n, 3)
    blocks = math.ceil(n / columns)
    figure = Figure((WIDTH, 0.6 + 2.0 * blocks * len(rows)), layout="constrained")
    axes = figure.subplots(blocks * len(rows), columns, squeeze=False)
    for ax in axes.flat[:]:
        ax.set_visible(False)
    handles = {}
    for i, (label, metrics) in enumerate(panels.items()):
        for j, heading in enumerate(rows):
            ax = axes[i // columns * len(rows) + j, i % columns]
            ax.set_visible(True)
            xs: dict[float | str, float] = {}  # value -> place on the axis
            for method, points in metrics.get(heading, {}).items():
                values, y, error = zip(*points, strict=True)
                x = [xs.setdefault(v, len(xs) if isinstance(v, str) else v) for v in values]
                bars = [math.nan if e is None else e for e in error]
                look = {**look_of(method), "ms": 3.5, "lw": 2 if method == "physinv" else 1.2}
                handles[method] = ax.errorbar(x, y, yerr=bars, elinewidth=0.8, capsize=1.5, **look)
            ax.set(xlabel=label if j == len(rows) - 1 else "", ylabel=heading if i % columns == 0 else "")
            if "coverage" in heading:
                ax.axhline(0.9, color=BLACK, lw=0.8, ls=":")
            _spaced(ax, xs)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=5)
    return figure


def _spaced(ax: Axes, places: Mapping[float | str, float]) -> None:
    """A logarithmic axis where numbers span more than a factor of 8, with ticks at the values themselves."""
    xs, words = sorted(places.values()), any(isinstance(v, str) for v in places)
    if len(xs) > 1 and min(xs) > 0 and max(xs) / min(xs) > 8 and not words:
        ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(xs, labels=list(map(str, places)) if words else [f"{x:g}" for x in xs])


def _plain(ax: Axes) -> None:
    """Plain numbers on logarithmic axes; where less than a decade is shown, at 1, 2, 5 of it."""
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        subs = (1, 1.2, 1.5, 2, 3, 5, 7) if high / low < 5 else (1, 2, 5) if high / low < 50 else (1,)
        axis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def _lowest(own: Mapping[str, Numbers]) -> float:
    names = ("spectrum_truth", "spectrum_samples", "spectrum_error")
    return min((v for name in names for v in own.get(name, ()) if v > 0), default=math.inf)


def _grid(n: int, height: float) -> tuple[Figure, list[Axes]]:
    """``n`` panels with shared axes, four to a row."""
    columns = min(n, 4)
    lines = math.ceil(n / columns)
    figure = Figure((min(WIDTH, 0.8 + 2.2 * columns), 0.7 + height * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[n:]:
        ax.remove()
    for ax in axes.flat[max(0, n - columns) : n]:
        ax.tick_params(labelbottom=True)
    return figure, list(axes.flat[:n])


def _name(ax: Axes, method: str) -> None:
    ax.set_title(method, color=look_of(method)["color"], fontweight="bold", loc="left")
