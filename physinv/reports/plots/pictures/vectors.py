"""Vectors: components against time, histograms of one number, scatter plots of the first two."""

from __future__ import annotations

__all__ = ["VectorPicture"]

import math
from collections.abc import Mapping
from typing import ClassVar, final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from physinv.processes.layout import StateLayout
from physinv.reports.plots.pictures.base import Draw, Picture, name_panels, rows_of_methods, window
from physinv.reports.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    MEAN,
    ORANGE,
    PINK,
    RED,
    SEEN,
    TRUTH,
    WIDTH,
    Array,
    Look,
)


@final
class VectorPicture(Picture):
    """Draw vectors by their components."""

    together: ClassVar[int] = 50

    def trajectory(self, states: Array, times: Array, layout: StateLayout, channel: int, frames: int) -> Figure:
        """Draw components against time: of one trajectory in one panel, of many in a panel per component."""
        return (_paths if states.ndim == 3 else _components)(states, times, layout)

    def reconstruction(self, truth: Array, seen: Array, ensemble: Array, layout: StateLayout, channel: int) -> Figure:
        """Draw a panel per observation: a histogram of one number, or a scatter plot of the first two of many."""
        if truth.shape[1] == 1:
            return _histograms(truth, seen, ensemble, layout)
        return _clouds(truth, seen, ensemble)

    def comparison(
        self, truth: Array, seen: Array, samples: Mapping[str, Array], layout: StateLayout, colours: Mapping[str, str]
    ) -> Figure:
        """Draw a row of dots per method (one number), or a panel per method (the first two of many)."""
        if len(truth) == 1:
            return _strips(truth, seen, samples, layout, colours)
        figure = rows_of_methods(self, truth, seen, samples, layout)
        name_panels(figure.axes[: len(samples)], colours, beside=False)
        return figure

    def motion(
        self, figure: Figure, axes: list[Axes], both: tuple[Array, Array], times: Array, layout: StateLayout
    ) -> Draw:
        """Show one number against time, or the first two of many in their plane."""
        return _line(axes, both, times, layout) if both[0].shape[1] == 1 else _plane(axes, both)


def _components(states: Array, times: Array, layout: StateLayout) -> Figure:
    figure = Figure((4.6, 2.4), layout="constrained")
    ax = figure.subplots()
    for i, line in enumerate(states.T):
        ax.plot(times, line, color=(BLUE, RED, GREEN, PINK, ORANGE, BLACK)[i % 6], label=f"$x_{{{i + 1}}}$")
    ax.set(xlabel="time $t$", ylabel=layout.names[0])
    if states.shape[1] > 1:
        figure.legend(loc="outside right center")
    return figure


def _paths(states: Array, times: Array, layout: StateLayout) -> Figure:
    shown = min(states.shape[2], 4)
    figure = Figure((min(WIDTH, 1.4 + 2.4 * shown), 2.4), layout="constrained")
    axes = figure.subplots(1, shown, sharey=True, squeeze=False)[0]
    for i, ax in enumerate(axes):
        start = states[:, 0, i]
        colours = mpl.colormaps["plasma"](0.85 * Normalize(start.min(), start.max())(start))
        for line, colour in zip(states[:, :, i], colours, strict=True):
            ax.plot(times, line, color=colour, lw=0.6, alpha=max(0.2, min(0.8, 50 / len(states))))
        ax.set(xlabel="time $t$", title=f"$x_{{{i + 1}}}$" if shown > 1 else "")
    axes[0].set_ylabel(layout.names[0])
    return figure


def _histograms(truth: Array, seen: Array, ensemble: Array, layout: StateLayout) -> Figure:
    """One scalar: the share of samples per bin, one panel per observation."""
    figure, axes = _panels(len(truth), 1.9, layout.names[0], "share of samples")
    k, values = ensemble.shape[1], np.concatenate([a.ravel() for a in (truth, seen, ensemble)])
    values = values[np.isfinite(values)]
    margin = 0.05 * (np.ptp(values) or abs(values[0]) or 1.0)
    edges = np.linspace(values.min() - margin, values.max() + margin, 35)
    for ax, x, y, draws in zip(axes, truth[:, 0], seen[:, 0], ensemble[:, :, 0], strict=True):
        label = "samples" if k > 1 else "reconstruction"
        ax.hist(draws, list(edges), weights=np.full(k, 1 / k), color=BLUE, alpha=0.7, label=label)
        ax.axvline(x, **TRUTH)
        if np.isfinite(y):
            ax.axvline(y, **SEEN)
        if k > 1:
            ax.axvline(draws.mean(), **MEAN, label="mean")
        ax.set_title(f"$x_T = {y:.2g}$" if np.isfinite(y) else "$x_T$ not seen")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _clouds(truth: Array, seen: Array, ensemble: Array) -> Figure:
    """The first two coordinates of a vector, one panel per observation."""
    figure, axes = _panels(len(truth), WIDTH / 3, "$x_1$", "$x_2$")
    k, values = ensemble.shape[1], np.concatenate([a[..., :2].reshape(-1, 2) for a in (truth, seen, ensemble)])
    low, high = np.nanmin(values, 0), np.nanmax(values, 0)
    centre, reach = (high + low) / 2, 0.55 * ((high - low).max() or np.abs(high).max() or 1.0)
    box = dict(zip(("xlim", "ylim"), np.stack([centre - reach, centre + reach], 1), strict=True))
    edge: Look = {"ls": "", "mec": "w", "mew": 0.6}
    for ax, x, y, draws in zip(axes, truth, seen, ensemble, strict=True):
        look = {"alpha": max(0.25, min(1.0, 60 / k)), "label": "samples" if k > 1 else "reconstruction"}
        ax.plot(draws[:, 0], draws[:, 1], "o", color=BLUE, ms=3 if k > 1 else 6, mew=0, **look)
        if np.isfinite(y[:2]).all():
            ax.plot(y[0], y[1], marker="s", ms=6, **{**SEEN, **edge})
        else:  # one number of the two, or none: a line along the other
            lines = [draw(at) for draw, at in ((ax.axvline, y[0]), (ax.axhline, y[1])) if np.isfinite(at)]
            for line in lines:
                line.set(color=SEEN["color"], ls=SEEN["ls"], label=SEEN["label"])
        if k > 1:
            ax.plot(*draws.mean(0)[:2], marker="D", ms=6, label="mean", **{**MEAN, **edge})
        ax.plot(x[0], x[1], marker="*", ms=11, **{**TRUTH, **edge})
        ax.set(aspect="equal", **box)
    legend = figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    if legend.legend_handles[0] is not None:
        legend.legend_handles[0].set(alpha=1, markersize=4)
    return figure


def _panels(n: int, height: float, xlabel: str, ylabel: str) -> tuple[Figure, list[Axes]]:
    """``n`` panels with shared axes, three to a row."""
    columns, lines = min(n, 3), math.ceil(n / 3)
    figure = Figure((0.4 + (WIDTH - 0.4) * columns / 3, height * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for ax in grid.flat[n:]:
        ax.remove()
    for ax in grid.flat[n - columns : n]:
        ax.set_xlabel(xlabel)
        ax.tick_params(labelbottom=True)
    for ax in grid[:, 0]:
        ax.set_ylabel(ylabel)
    return figure, list(grid.flat[:n])


def _strips(
    truth: Array, seen: Array, samples: Mapping[str, Array], layout: StateLayout, colours: Mapping[str, str]
) -> Figure:
    """One number: the draws of each method on a line of its own, over the truth and the observation."""
    figure = Figure((WIDTH, 0.9 + 0.27 * len(samples)), layout="constrained")
    ax = figure.subplots()
    ax.axvline(float(truth[0]), **TRUTH)
    ax.axvline(float(seen[0]), **SEEN)
    for row, (method, draws) in enumerate(samples.items()):
        colour, x = colours[method], draws[:, 0]
        ax.plot(x, np.full(len(x), row), "o", color=colour, ms=6, alpha=0.55, mew=0)
        ax.plot(x.mean(), row, "|", color=colour, ms=14, mew=2, label="mean of the samples" if row == 0 else "")
    ax.set_yticks(range(len(samples)), labels=list(samples))
    ax.invert_yaxis()
    ax.margins(y=0.5 / len(samples) + 0.02)
    for label, method in zip(ax.get_yticklabels(), samples, strict=True):
        label.set(color=colours[method], fontweight="bold")
    ax.grid(axis="y", color="0.9", lw=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel(layout.names[0])
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _line(axes: list[Axes], both: tuple[Array, Array], times: Array, layout: StateLayout) -> Draw:
    """One number: the way from T to now, in the plane of time and state."""
    paths = [ax.plot([], [], color=c)[0] for ax, c in zip(axes, (BLUE, BLACK), strict=True)]
    dots = [ax.plot([], [], "o", color=c)[0] for ax, c in zip(axes, (BLUE, BLACK), strict=True)]
    span = float(np.ptp(times))
    for ax in axes:
        ax.set(xlabel="time $t$", xlim=(times.min() - 0.03 * span, times.max() + 0.03 * span))
        ax.set_ylim(window(np.stack(both)))
    axes[0].set_ylabel(layout.names[0])

    def draw(i: int) -> None:
        passed = np.flatnonzero(times >= times[i])
        for path, dot, x in zip(paths, dots, both, strict=True):
            path.set_data(times[passed], x[passed, 0])
            dot.set_data([times[i]], [x[i, 0]])

    return draw


def _plane(axes: list[Axes], both: tuple[Array, Array]) -> Draw:
    dots = [ax.plot([], [], "o", color=c)[0] for ax, c in zip(axes, (BLUE, BLACK), strict=True)]
    for ax in axes:
        ax.set(xlabel="$x_1$", xlim=window(np.stack(both)[..., 0]), ylim=window(np.stack(both)[..., 1]))
    axes[0].set_ylabel("$x_2$")

    def draw(i: int) -> None:
        for dot, x in zip(dots, both, strict=True):
            dot.set_data([x[i, 0]], [x[i, 1]])

    return draw
