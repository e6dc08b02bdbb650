"""Fields on a line: space-time images and profiles."""

from __future__ import annotations

__all__ = ["ProfilePicture"]

from collections.abc import Mapping
from typing import final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physinv.processes.layout import StateLayout
from physinv.reports.plots.pictures.base import Draw, Picture, first_moving, name_panels, rows_of_methods, window
from physinv.reports.plots.style import BLACK, BLUE, SEEN, TRUTH, WIDTH, Array, angles, colour_scale


@final
class ProfilePicture(Picture):
    """Draw fields in one dimension as profiles."""

    def trajectory(self, states: Array, times: Array, layout: StateLayout, channel: int, frames: int) -> Figure:
        """Draw a space-time image beside the first and the last profile."""
        return _space_time(states[:, channel], times, layout, layout.names[channel])

    def reconstruction(self, truth: Array, seen: Array, ensemble: Array, layout: StateLayout, channel: int) -> Figure:
        """Draw profiles over the central 50 and 90 % of the samples, and the same less the median."""
        return _fans(truth[:, channel], seen[:, channel], ensemble[:, :, channel], layout, layout.names[channel])

    def comparison(
        self, truth: Array, seen: Array, samples: Mapping[str, Array], layout: StateLayout, colours: Mapping[str, str]
    ) -> Figure:
        """Draw a row per method: profiles, and the same less the median."""
        figure, channel = rows_of_methods(self, truth, seen, samples, layout), first_moving(layout)
        name_panels(figure.axes[:: len(figure.axes) // len(samples)], colours, beside=False)
        _limit(figure, np.stack([truth, seen])[:, channel], truth[channel])
        return figure

    def motion(
        self, figure: Figure, axes: list[Axes], both: tuple[Array, Array], times: Array, layout: StateLayout
    ) -> Draw:
        """Show the profiles of the first channel that moves."""
        channel = first_moving(layout)
        return _profiles(axes, [x[:, channel] for x in both], layout, layout.names[channel])


def _space_time(fields: Array, times: Array, layout: StateLayout, name: str) -> Figure:
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


def _fans(truth: Array, seen: Array, ensemble: Array, layout: StateLayout, name: str) -> Figure:
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
        left.plot(x, seen[i], **SEEN, **({"marker": ".", "ms": 3} if np.isnan(seen[i]).any() else {}))
        left.set(ylabel=name, xlim=(x[0], x[-1]))
    axes[0, 1].set_title(f"less the {middle}")
    for ax in axes[-1]:
        ax.set_xlabel(f"${layout.axes[0]}$")
        angles(ax.xaxis, layout)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _limit(figure: Figure, states: Array, truth: Array) -> None:
    """Let what diverges leave the picture: half a range beyond truth and observation, and as far from the median."""
    low, high = float(np.nanmin(states)), float(np.nanmax(states))
    reach = 0.5 * ((high - low) or abs(high) or 1.0)
    figure.axes[0].set_ylim(low - reach, high + reach)
    far = figure.axes[1].get_ylim()
    spread = float(np.nanstd(truth)) * 2 or float(np.nanmax(np.abs(truth))) or 1.0
    figure.axes[1].set_ylim(max(far[0], -spread), min(far[1], spread))


def _profiles(axes: list[Axes], fields: list[Array], layout: StateLayout, name: str) -> Draw:
    x = np.array(layout.coordinates[0])
    shown = [ax.plot(x, f[0], color=c)[0] for ax, f, c in zip(axes, fields, (BLUE, BLACK), strict=True)]
    for ax in axes:
        ax.set(xlabel=f"${layout.axes[0]}$", xlim=(x[0], x[-1]), ylim=window(fields[1]))
        angles(ax.xaxis, layout)
    axes[0].set_ylabel(name)

    def draw(i: int) -> None:
        for line, f in zip(shown, fields, strict=True):
            line.set_ydata(f[i])

    return draw
