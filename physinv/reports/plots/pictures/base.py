"""What a way of drawing states has to offer, and what several of them share."""

from __future__ import annotations

__all__ = ["Draw", "Picture", "first_moving", "name_panels", "rows_of_methods", "window"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physinv.processes.layout import StateLayout
from physinv.reports.plots.style import Array

Draw = Callable[[int], None]
"""Show the states at the stored time of this number, in panels that exist already."""


class Picture(ABC):
    """A way to draw states, found by the name that :attr:`StateLayout.picture` gives.

    Arrays are float64; states have the shape of the layout.

    Attributes:
        together: How many trajectories one figure of trajectories shows.
    """

    together: ClassVar[int] = 1

    @abstractmethod
    def trajectory(self, states: Array, times: Array, layout: StateLayout, channel: int, frames: int) -> Figure:
        """Draw one trajectory, or many where ``together`` is more than 1.

        Args:
            states: ``(time, *state)``, or ``(n, time, *state)``.
            times: Stored times.
            layout: Layout of the states.
            channel: Channel of fields that is shown.
            frames: Number of states that are shown of large ones.

        Returns:
            The figure.
        """

    @abstractmethod
    def reconstruction(self, truth: Array, seen: Array, ensemble: Array, layout: StateLayout, channel: int) -> Figure:
        """Draw observations with their posterior samples and the truth, one row or panel per observation.

        Args:
            truth: Initial states ``(n, *state)``.
            seen: Observations ``(n, *state)``.
            ensemble: Posterior samples ``(n, K, *state)``.
            layout: Layout of the states.
            channel: Channel of fields that is shown.

        Returns:
            The figure.
        """

    @abstractmethod
    def comparison(
        self, truth: Array, seen: Array, samples: Mapping[str, Array], layout: StateLayout, colours: Mapping[str, str]
    ) -> Figure:
        """Draw one observation as several methods reconstruct it.

        Args:
            truth: Initial state ``(*state)``.
            seen: Observation ``(*state)``.
            samples: Draws ``(k, *state)`` by method, the numbers of which may differ.
            layout: Layout of the states.
            colours: Colour by method.

        Returns:
            The figure.
        """

    @abstractmethod
    def motion(
        self, figure: Figure, axes: list[Axes], both: tuple[Array, Array], times: Array, layout: StateLayout
    ) -> Draw:
        """Prepare two panels for an animation.

        Args:
            figure: The figure of the panels.
            axes: The two panels, which share their axes.
            both: Two trajectories ``(time, *state)``: the reconstruction left, the truth right.
            times: Their times.
            layout: Layout of the states.

        Returns:
            A function that draws the state of a given time.
        """


def first_moving(layout: StateLayout) -> int:
    """Return the first channel that changes in time.

    Args:
        layout: Layout of the states.
    """
    return next(channel for channel, name in enumerate(layout.names) if name not in layout.static)


def rows_of_methods(
    picture: Picture, truth: Array, seen: Array, samples: Mapping[str, Array], layout: StateLayout
) -> Figure:
    """Draw a reconstruction with a method in the place of each observation.

    Args:
        picture: Draws the reconstruction.
        truth: Initial state ``(*state)``.
        seen: Observation ``(*state)``.
        samples: Draws ``(k, *state)`` by method; as many of each are shown as the one with the fewest has.
        layout: Layout of the states.

    Returns:
        The figure.
    """
    few, n = min(len(draws) for draws in samples.values()), len(samples)
    stack = np.stack([draws[:few] for draws in samples.values()])
    wide, broad = (np.broadcast_to(x, (n, *x.shape)) for x in (truth, seen))
    return picture.reconstruction(wide, broad, stack, layout, first_moving(layout))


def name_panels(axes: Sequence[Axes], colours: Mapping[str, str], *, beside: bool) -> None:
    """Write the names of methods on their panels.

    Args:
        axes: One panel per method.
        colours: Colour by method.
        beside: Whether names stand beside the panels instead of above.
    """
    for ax, (method, colour) in zip(axes, colours.items(), strict=True):
        if beside:
            broken = method.replace("-", "-\n", 1) if len(method) > 12 else method
            ax.set_ylabel(broken, color=colour, fontweight="bold")
        else:
            ax.set_title(method, color=colour, loc="left", fontweight="bold")


def window(x: Array) -> tuple[float, float]:
    """Return limits of an axis that shows all finite numbers of ``x``, with a margin of 5 %.

    Args:
        x: Numbers, of any shape.
    """
    finite = x[np.isfinite(x)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    margin = 0.05 * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin
