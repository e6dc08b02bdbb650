"""How a method looks in every figure, and its reconstructions of one example beside those of the others."""

from __future__ import annotations

__all__ = ["examples", "look_of"]

import zlib
from collections.abc import Mapping

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from physinv.processes.layout import StateLayout
from physinv.reports.plots.pictures import picture_of
from physinv.reports.plots.style import BLACK, BLUE, GREEN, ORANGE, PINK, RED, Look, array, house_style

_SKY, _GREY = "#56B4E9", "#7F7F7F"
_DASHES: tuple[object, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (8, 2)))
_MARKERS = "osD^v"
_FAMILIES = {
    BLACK: ("exact",),
    BLUE: ("physinv",),
    _SKY: ("physinv-flow", "score-only", "physics"),
    _GREY: ("linear",),
    ORANGE: ("regression", "fno", "dropout", "deep-ensemble"),
    GREEN: ("lbfgs", "gauss-newton", "ensemble-kalman"),
    RED: ("dps", "conditional-diffusion", "flow-matching"),
    PINK: ("npse", "fmpe"),
}
_LOOKS: dict[str, Look] = {
    method: {"color": colour, "ls": _DASHES[i], "marker": _MARKERS[i]}
    for colour, methods in _FAMILIES.items()
    for i, method in enumerate(methods)
}


def look_of(method: str) -> Look:
    """Return colour, dash and marker of a method: the colour names its family, dash and marker the method in it.

    Args:
        method: Name of the method; one that is not listed here gets a look by its name, the same in every figure.
    """
    if method in _LOOKS:
        return {**_LOOKS[method], "zorder": 4 if method == "physinv" else 3, "label": method}
    own = zlib.crc32(method.encode())
    colour = (PINK, GREEN, RED, ORANGE, _GREY)[own % 5]
    return {"color": colour, "ls": _DASHES[own // 5 % 5], "marker": _MARKERS[own // 25 % 5], "label": method}


@house_style()
def examples(
    truth: Float[Tensor, " *state"],
    final: Float[Tensor, " *state"],
    samples: Mapping[str, Float[Tensor, "k *state"]],
    layout: StateLayout,
) -> Figure:
    """Draw one observation as every method reconstructs it.

    Fields in more than one dimension and particles: a row per method, from the observation over samples, mean and
    spread to the truth, on one scale. Fields in one dimension: a row per method, and the same less the median.
    Vectors: a row of dots per method (one number), or a panel per method (the first two of many).

    Args:
        truth: Initial state.
        final: Observation.
        samples: Draws by method, in the order of the figure; draws that are not finite are left out, and methods
            without a finite draw.
        layout: Layout of the states.

    Returns:
        The figure.

    Raises:
        ValueError: If no draw is finite.
    """
    kept = {m: s[torch.isfinite(s).flatten(1).all(1)] for m, s in samples.items()}
    kept = {m: s for m, s in kept.items() if len(s)}
    if not kept:
        raise ValueError("`samples` must hold a finite draw of some method, got none; look for what diverged.")
    draws = {method: array(states, layout) for method, states in kept.items()}
    colours = {method: str(look_of(method)["color"]) for method in kept}
    return picture_of(layout).comparison(array(truth, layout), array(final, layout), draws, layout, colours)
