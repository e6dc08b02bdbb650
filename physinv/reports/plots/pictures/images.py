"""Fields in the plane, and the central plane of those in space: rows of images."""

from __future__ import annotations

__all__ = ["ImagePicture"]

from collections.abc import Mapping
from typing import final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from physinv.processes.layout import StateLayout
from physinv.reports.plots.pictures.base import Draw, Picture, first_moving, name_panels, rows_of_methods
from physinv.reports.plots.style import SPREAD, WIDTH, Array, central_plane, colour_scale, draw_image, name_axes


@final
class ImagePicture(Picture):
    """Draw fields in two dimensions as images; of fields in three the central plane."""

    def trajectory(self, states: Array, times: Array, layout: StateLayout, channel: int, frames: int) -> Figure:
        """Draw ``frames`` images from the first to the last time."""
        return _strip(central_plane(states[:, channel], layout), times, layout, layout.names[channel], frames)

    def reconstruction(self, truth: Array, seen: Array, ensemble: Array, layout: StateLayout, channel: int) -> Figure:
        """Draw the observation, three samples, their mean and standard deviation and the truth, a row each."""
        x, y, draws = truth[:, channel], seen[:, channel], ensemble[:, :, channel]
        planes = central_plane(x, layout), central_plane(y, layout), central_plane(draws, layout)
        return _gallery(*planes, layout, layout.names[channel])

    def comparison(
        self, truth: Array, seen: Array, samples: Mapping[str, Array], layout: StateLayout, colours: Mapping[str, str]
    ) -> Figure:
        """Draw a row of images per method, on one scale."""
        figure = rows_of_methods(self, truth, seen, samples, layout)
        name_panels(figure.axes[: len(samples)], colours, beside=True)  # the panels are drawn column by column
        return figure

    def motion(
        self, figure: Figure, axes: list[Axes], both: tuple[Array, Array], times: Array, layout: StateLayout
    ) -> Draw:
        """Show images of the first channel that moves."""
        channel = first_moving(layout)
        fields = [central_plane(x[:, channel], layout) for x in both]
        return _images(figure, axes, fields, layout.names[channel])


def _strip(images: Array, times: Array, layout: StateLayout, name: str, frames: int) -> Figure:
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


def _gallery(truth: Array, seen: Array, ensemble: Array, layout: StateLayout, name: str) -> Figure:
    """Rows of images, one per observation, over a bar for the states and one for the standard deviation."""
    n, k = ensemble.shape[:2]
    columns = [("observation $x_T$" + ("\n(grey: unseen)" if np.isnan(seen).any() else ""), seen)]
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
        peak = float(np.nanmax(images)) or 1.0
        look = (SPREAD, Normalize(0, peak)) if j == spread else (cmap, norm)
        for i, image in enumerate(images):
            ax = figure.add_subplot(grid[i, j], title=title if i == 0 else "")
            drawn = draw_image(ax, image, *look)
        if j == 0:
            name_axes(ax, layout)
            least, most = float(np.nanmin(ensemble[:, :3])), float(np.nanmax(ensemble[:, :3]))
            low, high = bool(norm(least) < 0), bool(norm(most) > 1)
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


def _images(figure: Figure, axes: list[Axes], fields: list[Array], name: str) -> Draw:
    look = colour_scale(fields[1])
    shown = [draw_image(ax, x[0], *look) for ax, x in zip(axes, fields, strict=True)]
    figure.colorbar(shown[1], ax=axes, label=name, fraction=0.05, pad=0.02)

    def draw(i: int) -> None:
        for image, x in zip(shown, fields, strict=True):
            image.set_data(x[i].T)

    return draw
