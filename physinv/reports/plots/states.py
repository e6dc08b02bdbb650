"""Trajectories: states as they change in time."""

from __future__ import annotations

__all__ = ["trajectory"]

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from physinv.processes.simulator import Layout
from physinv.reports.plots.particles import particle_paths
from physinv.reports.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    SEEN,
    WIDTH,
    Array,
    angles,
    array,
    central_plane,
    colour_scale,
    draw_image,
    house_style,
    name_axes,
)


@house_style()
def trajectory(
    states: Float[Tensor, "..."], times: Float[Tensor, " time"], layout: Layout, *, channel: int = 0, frames: int = 6
) -> Figure:
    """One trajectory ``(time, *state)``; for vectors also many, ``(n, time, dim)``.

    Fields in two dimensions: ``frames`` images from first to last time; in three the same of the central plane; in one
    a space-time image beside the first and last profile.  Vectors: components against time, one trajectory in one
    panel, many in a panel per component (four at most), coloured by where that component started.  Particles:
    ``frames`` scatter plots, with the way that each particle came.
    """
    many = layout.kind == "vector" and states.ndim == 3
    axes = len(layout.axes) + (layout.kind == "field")
    if states.ndim != axes + 1 + many or states.shape[int(many)] != len(times):
        raise ValueError(
            f"`states` must hold {len(times)} states of {axes} axes each, as `times` and `layout` say, "
            f"got shape {tuple(states.shape)}."
        )
    t = array(times)
    if layout.kind == "particles":
        return particle_paths(array(states), t, layout, frames)
    if layout.kind == "vector":
        return _paths(array(states), t, layout) if many else _components(array(states), t, layout)
    fields = array(states[:, channel])
    if len(layout.axes) == 1:
        return _space_time(fields, t, layout, layout.names[channel])
    return _strip(central_plane(fields, layout), t, layout, layout.names[channel], frames)


def _components(states: Array, times: Array, layout: Layout) -> Figure:
    figure = Figure((4.6, 2.4), layout="constrained")
    ax = figure.subplots()
    for i, line in enumerate(states.T):
        ax.plot(times, line, color=(BLUE, RED, GREEN, PINK, ORANGE, BLACK)[i % 6], label=f"$x_{{{i + 1}}}$")
    ax.set(xlabel="time $t$", ylabel=layout.names[0])
    if states.shape[1] > 1:
        figure.legend(loc="outside right center")
    return figure


def _paths(states: Array, times: Array, layout: Layout) -> Figure:
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


def _space_time(fields: Array, times: Array, layout: Layout, name: str) -> Figure:
    x, axis = np.array(layout.coordinates[0]), f"${layout.axes[0]}$"
    figure = Figure((WIDTH, 2.3), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.08})
    cmap, norm = colour_scale(fields)
    drawn = left.pcolormesh(times, x, fields.T, cmap=cmap, norm=norm, shading="nearest", rasterized=True)
    figure.colorbar(drawn, ax=left, label=name, pad=0.02)
    left.set(xlabel="time $t$", ylabel=axis, xlim=(times[0], times[-1]))
    right.plot(x, fields[0], color=BLACK, label=f"$t = {times[0]:.3g}$")
    right.plot(x, fields[-1], **{**SEEN, "label": f"$t = {times[-1]:.3g}$"})
    right.set(xlabel=axis, ylabel=name)
    right.legend()
    angles(left.yaxis, layout)
    angles(right.xaxis, layout)
    return figure


def _strip(images: Array, times: Array, layout: Layout, name: str, frames: int) -> Figure:
    pick = np.unique(np.linspace(0, len(times) - 1, frames).round().astype(int))
    figure = Figure((WIDTH, 0.4 + WIDTH / max(len(pick), 4)), layout="compressed")
    axes = figure.subplots(1, len(pick), squeeze=False)[0]
    look = colour_scale(images[pick])
    for ax, i in zip(axes, pick, strict=True):
        drawn = draw_image(ax, images[i], *look)
        ax.set_title(f"$t = {times[i]:.3g}$")
    name_axes(axes[0], layout)
    figure.colorbar(drawn, ax=axes, label=name, fraction=0.05, pad=0.01, aspect=14)
    return figure
