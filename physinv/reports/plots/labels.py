"""Place names beside points so that they cover neither each other nor another point."""

from __future__ import annotations

__all__ = ["place_labels"]

from collections.abc import Collection, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

_PLACES = [
    (dx, dy)
    for r in (7, 12, 20, 30, 42, 56, 75, 100, 130)
    for dx, dy in ((r, 0), (-r, 0), (r, r), (r, -r), (-r, r), (-r, -r), (0, r), (0, -r))
]
_NEAR = 12  # points: no line needed


def place_labels(
    ax: Axes, points: Mapping[str, tuple[float, float]], colours: Mapping[str, str], strong: Collection[str] = ()
) -> None:
    """Write a name beside each point, where it covers no other point, text or level line.

    Each name goes to the first free one of several places around its point, the nearest ones first.

    Args:
        ax: The panel, laid out already.
        points: Points by name, in data coordinates.
        colours: Colour of each name.
        strong: Names that are written in bold.
    """
    renderer = ax.figure.canvas.get_renderer()  # type: ignore[attr-defined]  # of Agg
    spots = ax.transData.transform(list(points.values()))
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in spots]
    taken += [text.get_window_extent(renderer) for text in ax.texts]
    taken += [line.get_window_extent(renderer) for line in ax.lines if _level(line)]
    inside = ax.get_window_extent(renderer)
    for name, (x, y) in points.items():
        best: tuple[float, tuple[int, int], Bbox] | None = None
        text = ax.annotate(
            name,
            (x, y),
            (0, 0),
            textcoords="offset points",
            size=8,
            va="center",
            color=colours[name],
            weight="bold" if name in strong else "normal",
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "0.6", "shrinkA": 0, "shrinkB": 4},
            bbox={"fc": "w", "ec": "none", "alpha": 0.75, "pad": 0.5},
            zorder=5,
        )
        for i, (dx, dy) in enumerate(_PLACES):
            text.set(position=(dx, dy), ha=_side(dx))
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # without its arrow
            cost = i + 1e3 * sum(box.overlaps(other) for other in taken)
            cost += 1e3 * (not (inside.x0 <= box.x0 and box.x1 <= inside.x1))
            cost += 1e3 * (not (inside.y0 <= box.y0 and box.y1 <= inside.y1))
            if best is None or cost < best[0]:
                best = (cost, (dx, dy), box)
        assert best is not None
        dx, dy = best[1]
        text.set(position=(dx, dy), ha=_side(dx))
        if text.arrow_patch is not None:
            text.arrow_patch.set_visible(max(abs(dx), abs(dy)) > _NEAR)
        taken.append(best[2])


def _level(line: Line2D) -> bool:
    y = np.asarray(line.get_ydata(), dtype=float)
    return len(y) > 1 and bool((y == y[0]).all())


def _side(dx: float) -> str:
    return "left" if dx > 0 else "right" if dx < 0 else "center"
