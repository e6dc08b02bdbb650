"""Particles in the plane of their first two coordinates, coloured by species."""

from __future__ import annotations

__all__ = ["ParticlePicture", "draw_particles"]

from collections.abc import Mapping
from typing import final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physinv.processes.layout import StateLayout
from physinv.reports.plots.pictures.base import Draw, Picture, name_panels, rows_of_methods, window
from physinv.reports.plots.style import BLACK, BLUE, ORANGE, WIDTH, Array, Look

_SPECIES: tuple[tuple[int, str], ...] = ((1, BLUE), (-1, ORANGE))


@final
class ParticlePicture(Picture):
    """Draw particles as dots."""

    def trajectory(self, states: Array, times: Array, layout: StateLayout, channel: int, frames: int) -> Figure:
        """Draw the particles at ``frames`` times, each with its path since the last one."""
        return _paths(states, times, layout, frames)

    def reconstruction(self, truth: Array, seen: Array, ensemble: Array, layout: StateLayout, channel: int) -> Figure:
        """Draw the observation, three samples, the mean of each particle over all samples and the truth, a row each."""
        return _reconstruction(truth, seen, ensemble, layout)

    def comparison(
        self, truth: Array, seen: Array, samples: Mapping[str, Array], layout: StateLayout, colours: Mapping[str, str]
    ) -> Figure:
        """Draw a row per method."""
        figure = rows_of_methods(self, truth, seen, samples, layout)
        name_panels(figure.axes[:: len(figure.axes) // len(samples)], colours, beside=True)
        return figure

    def motion(
        self, figure: Figure, axes: list[Axes], both: tuple[Array, Array], times: Array, layout: StateLayout
    ) -> Draw:
        """Show the particles as they move."""
        return _motion(axes, both, layout)


def draw_particles(ax: Axes, state: Array, layout: StateLayout) -> None:
    """Draw particles in the plane of their first two coordinates, coloured by species.

    Args:
        ax: The panel.
        state: One state ``(n, components)``.
        layout: Layout of the particles.
    """
    for sign, colour in _SPECIES:
        _dots(ax, _plane(state, layout)[state[:, -1] * sign > 0], colour)


def _paths(states: Array, times: Array, layout: StateLayout, frames: int) -> Figure:
    """``(time, n, components)``: the particles at ``frames`` times, each with the way it came since the last one."""
    pick = np.unique(np.linspace(0, len(times) - 1, frames).round().astype(int))
    figure = Figure((WIDTH, 0.5 + WIDTH / max(len(pick), 3)), layout="compressed")
    axes = figure.subplots(1, len(pick), squeeze=False, sharex=True, sharey=True)[0]
    for j, (ax, i) in enumerate(zip(axes, pick, strict=True)):
        way = _plane(states[pick[max(j - 1, 0)] : i + 1], layout)
        for sign, colour in _SPECIES:
            own = states[0, :, -1] * sign > 0
            ax.plot(*way[:, own].transpose(2, 0, 1), color=colour, lw=0.6, alpha=0.5)
            _dots(ax, _plane(states[i], layout)[own], colour)
        ax.set_title(f"$t = {times[i]:.3g}$")
    _frame(list(axes), _plane(states[pick], layout), layout)
    return figure


def _reconstruction(truth: Array, seen: Array, ensemble: Array, layout: StateLayout) -> Figure:
    """One row per observation: the final state, up to three samples, each particle's mean over all, the truth."""
    n, k = ensemble.shape[:2]
    columns = [("observation $x_T$", seen)]
    columns += [(f"sample {i + 1}" if k > 1 else "reconstruction", ensemble[:, i]) for i in range(min(k, 3))]
    columns += [(f"mean of {k}", ensemble.mean(1))] if k > 1 else []
    columns.append(("truth $x_0$", truth))
    width = WIDTH / max(len(columns), 4)
    figure = Figure((width * len(columns), width * n + 0.6), layout="compressed")
    axes = figure.subplots(n, len(columns), squeeze=False, sharex=True, sharey=True)
    for j, (title, states) in enumerate(columns):
        for i, state in enumerate(states):
            draw_particles(axes[i, j], state, layout)
            axes[i, j].set_title(title if i == 0 else "")
    _frame(list(axes[-1]), np.concatenate([_plane(s, layout).reshape(-1, 2) for s in (seen, truth)]), layout, 0.8)
    return figure


def _plane(states: Array, layout: StateLayout) -> Array:
    """The first two coordinates; of particles on a line, which have no second, it is 0."""
    d = min(len(layout.coordinates[1]), 2)
    flat: Array = np.zeros((*states.shape[:-1], 2))
    flat[..., :d] = states[..., :d]
    return flat


def _dots(ax: Axes, q: Array, colour: str) -> None:
    look: Look = {"ms": 4, "mec": "w", "mew": 0.4}
    ax.plot(q[:, 0], q[:, 1], "o", color=colour, **look)


def _frame(axes: list[Axes], q: Array, layout: StateLayout, margin: float = 0.55) -> None:
    """One square window for all panels, ``margin`` of the extent of ``q`` to each side of its middle; the periodic box,
    if there is one, dotted.
    """
    low, high = q.reshape(-1, 2).min(0), q.reshape(-1, 2).max(0)
    centre, reach = (low + high) / 2, margin * (float(np.max(high - low)) or float(np.abs(high).max()) or 1.0)
    for ax in axes:
        ax.set(aspect="equal", xlabel="$q_1$")
        ax.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach))
        if layout.box:
            edge = layout.box / 2
            ax.plot([-edge, edge, edge, -edge, -edge], [-edge, -edge, edge, edge, -edge], color=BLACK, ls=":", lw=0.6)
    axes[0].set_ylabel("$q_2$")


def _motion(axes: list[Axes], both: tuple[Array, Array], layout: StateLayout) -> Draw:
    flat = len(layout.coordinates[1]) == 1
    species = both[1][0, :, -1] if layout.static else np.ones(both[1].shape[1])
    kinds = [(species > 0, BLUE), (species <= 0, ORANGE)]
    look: Look = {"marker": "o", "ls": "", "ms": 4.5, "mec": "w", "mew": 0.4}
    shown = [[(own, ax.plot([], [], color=c, **look)[0]) for own, c in kinds] for ax in axes]
    reach = window(np.stack(both)[..., : 1 if flat else 2])
    for ax in axes:
        ax.set(xlim=reach, ylim=reach, aspect="equal", xlabel="$q_1$")
    axes[0].set_ylabel("" if flat else "$q_2$")

    def draw(i: int) -> None:
        for lines, x in zip(shown, both, strict=True):
            for own, line in lines:
                line.set_data(x[i, own, 0], np.zeros(int(own.sum())) if flat else x[i, own, 1])

    return draw
