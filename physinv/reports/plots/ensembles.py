"""Reconstructions: observations, their posterior samples, and the truth."""

from __future__ import annotations

__all__ = ["reconstruction"]

import math

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from physinv.processes.simulator import Layout
from physinv.reports.plots.particles import particle_reconstruction
from physinv.reports.plots.style import (
    BLUE,
    MEAN,
    SEEN,
    SPREAD,
    TRUTH,
    WIDTH,
    Array,
    Look,
    angles,
    array,
    central_plane,
    check_members,
    colour_scale,
    draw_image,
    house_style,
    name_axes,
)


@house_style()
def reconstruction(
    truth: Float[Tensor, "n *state"],
    observation: Float[Tensor, "n *state"],
    samples: Float[Tensor, "n k *state"],
    layout: Layout,
    rows: int = 3,
    *,
    channel: int = 0,
) -> Figure:
    """What was seen, what may have been, what was: the first ``rows`` observations with their posterior samples.

    Fields in two dimensions (three: the central plane): one row per observation, from the observation over three
    samples, their mean and standard deviation to the truth.  States share one colour scale, set by truth and
    observation; the standard deviation has its own, from 0.  In one dimension: profiles over the central 50 and 90 % of
    the samples, and the same less the median.  Vectors: per observation a histogram (one coordinate) or a scatter plot
    (the first two).  Particles: one row per observation, coloured by species.
    """
    check_members(samples, truth)
    x, y, ensemble = array(truth[:rows]), array(observation[:rows]), array(samples[:rows])
    if layout.kind == "particles":
        return particle_reconstruction(x, y, ensemble, layout)
    if layout.kind == "vector":
        return _clouds(x, y, ensemble) if x.shape[1] > 1 else _histograms(x, y, ensemble, layout)
    x, y, ensemble, name = x[:, channel], y[:, channel], ensemble[:, :, channel], layout.names[channel]
    draw = _fans if len(layout.axes) == 1 else _gallery
    return draw(central_plane(x, layout), central_plane(y, layout), central_plane(ensemble, layout), layout, name)


def _gallery(truth: Array, seen: Array, ensemble: Array, layout: Layout, name: str) -> Figure:
    """Rows of images, one per observation, over a bar for the states and one for the standard deviation."""
    n, k = ensemble.shape[:2]
    columns = [("observation $x_T$", seen)]
    columns += [(f"sample {i + 1}" if k > 1 else "reconstruction", ensemble[:, i]) for i in range(min(k, 3))]
    if k > 1:
        columns += [(f"mean of {k}", ensemble.mean(1)), ("std. deviation", ensemble.std(1, ddof=1))]
    columns.append(("truth $x_0$", truth))
    spread = len(columns) - 2 if k > 1 else len(columns)
    width = WIDTH / max(len(columns), 5)
    figure = Figure((width * len(columns), width * n + 0.8), layout="compressed")
    grid = figure.add_gridspec(n + 1, len(columns), height_ratios=[1.0] * n + [0.08])
    cmap, norm = colour_scale(np.stack([truth, seen]))
    for j, (title, images) in enumerate(columns):
        peak = float(images.max()) or 1.0
        look = (SPREAD, Normalize(0, peak)) if j == spread else (cmap, norm)
        for i, image in enumerate(images):
            ax = figure.add_subplot(grid[i, j], title=title if i == 0 else "")
            drawn = draw_image(ax, image, *look)
        if j == 0:
            name_axes(ax, layout)
            low, high = ensemble[:, :3].min() < norm.vmin, ensemble[:, :3].max() > norm.vmax
            extend = ("both" if low else "max") if high else ("min" if low else "neither")
            bar = figure.add_subplot(grid[n, :spread])
            figure.colorbar(drawn, cax=bar, orientation="horizontal", label=name, extend=extend)
        elif j == spread:
            bar = figure.add_subplot(grid[n, j])
            figure.colorbar(drawn, cax=bar, orientation="horizontal", ticks=[0, peak], format="%.2g")
            first, last = bar.get_xticklabels()
            first.set_horizontalalignment("left")
            last.set_horizontalalignment("right")
    return figure


def _fans(truth: Array, seen: Array, ensemble: Array, layout: Layout, name: str) -> Figure:
    """Profiles, one row per observation; on the right the same less the median, where the uncertainty shows."""
    x, n = np.array(layout.coordinates[0]), len(truth)
    middle = "median" if ensemble.shape[1] > 1 else "reconstruction"
    figure = Figure((WIDTH, 0.8 + 1.25 * n), layout="constrained")
    axes = figure.subplots(n, 2, sharex=True, sharey="col", squeeze=False)
    for i, (left, right) in enumerate(axes):
        q = np.quantile(ensemble[i], (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
        for ax, base in ((left, 0.0), (right, q[2])):
            if middle == "median":
                ax.fill_between(x, q[0] - base, q[4] - base, color=BLUE, alpha=0.2, lw=0, label="90 % of samples")
                ax.fill_between(x, q[1] - base, q[3] - base, color=BLUE, alpha=0.35, lw=0, label="50 % of samples")
            ax.plot(x, q[2] - base, color=BLUE, label=middle)
            ax.plot(x, truth[i] - base, lw=1, **TRUTH)
        left.plot(x, seen[i], **SEEN)
        left.set(ylabel=name, xlim=(x[0], x[-1]))
    axes[0, 1].set_title(f"less the {middle}")
    for ax in axes[-1]:
        ax.set_xlabel(f"${layout.axes[0]}$")
        angles(ax.xaxis, layout)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _histograms(truth: Array, seen: Array, ensemble: Array, layout: Layout) -> Figure:
    """One scalar: the share of samples per bin, one panel per observation."""
    figure, axes = _panels(len(truth), 1.9, layout.names[0], "share of samples")
    k, values = ensemble.shape[1], np.concatenate([a.ravel() for a in (truth, seen, ensemble)])
    margin = 0.05 * (np.ptp(values) or 1.0)
    edges = np.linspace(values.min() - margin, values.max() + margin, 35)
    for ax, x, y, draws in zip(axes, truth[:, 0], seen[:, 0], ensemble[:, :, 0], strict=True):
        label = "samples" if k > 1 else "reconstruction"
        ax.hist(draws, list(edges), weights=np.full(k, 1 / k), color=BLUE, alpha=0.7, label=label)
        ax.axvline(x, **TRUTH)
        ax.axvline(y, **SEEN)
        if k > 1:
            ax.axvline(draws.mean(), **MEAN, label="mean")
        ax.set_title(f"$x_T = {y:.2g}$")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _clouds(truth: Array, seen: Array, ensemble: Array) -> Figure:
    """The first two coordinates of a vector, one panel per observation."""
    figure, axes = _panels(len(truth), WIDTH / 3, "$x_1$", "$x_2$")
    k, values = ensemble.shape[1], np.concatenate([a[..., :2].reshape(-1, 2) for a in (truth, seen, ensemble)])
    centre, reach = (values.max(0) + values.min(0)) / 2, 0.55 * (np.ptp(values, axis=0).max() or 1.0)
    box = dict(zip(("xlim", "ylim"), np.stack([centre - reach, centre + reach], 1), strict=True))
    edge: Look = {"ls": "", "mec": "w", "mew": 0.6}
    for ax, x, y, draws in zip(axes, truth, seen, ensemble, strict=True):
        look = {"alpha": max(0.25, min(1.0, 60 / k)), "label": "samples" if k > 1 else "reconstruction"}
        ax.plot(draws[:, 0], draws[:, 1], "o", color=BLUE, ms=3 if k > 1 else 6, mew=0, **look)
        ax.plot(y[0], y[1], marker="s", ms=6, **{**SEEN, **edge})
        if k > 1:
            ax.plot(*draws.mean(0)[:2], marker="D", ms=6, label="mean", **{**MEAN, **edge})
        ax.plot(x[0], x[1], marker="*", ms=11, **{**TRUTH, **edge})
        ax.set(aspect="equal", **box)
    legend = figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
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
