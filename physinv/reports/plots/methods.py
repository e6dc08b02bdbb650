"""How a method looks in every figure, and its reconstructions of one example beside those of the others."""

from __future__ import annotations

__all__ = ["examples", "look_of"]

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from physinv.processes.simulator import Layout
from physinv.reports.plots.ensembles import reconstruction
from physinv.reports.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    SEEN,
    TRUTH,
    WIDTH,
    Array,
    Look,
    array,
    house_style,
)

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
    """Colour, dash and marker: the colour names the family, dash and marker the method in it.

    A method that is not known here gets a look by its name, the same in every figure.
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
    layout: Layout,
) -> Figure:
    """One observation as every method reconstructs it, in the order of ``samples``; draws that are not finite are left
    out, with their method where fewer than one is finite.

    Fields in more than one dimension and particles: a row per method, from the observation over samples, mean and
    spread to the truth, on one scale.  Fields in one dimension: a row per method, and the same less the median.
    Vectors: a row of dots per method (one number), or a panel per method (the first two of many).
    """
    kept = {m: s[torch.isfinite(s).flatten(1).all(1)] for m, s in samples.items()}
    kept = {m: s for m, s in kept.items() if len(s)}
    if not kept:
        raise ValueError("`samples` must hold a finite draw of some method, got none; look for what diverged.")
    if layout.kind == "vector" and len(truth) == 1:
        return _strips(truth, final, kept, layout)
    k, n = min(len(s) for s in kept.values()), len(kept)
    stack = torch.stack([s[:k] for s in kept.values()])
    first = next(c for c, name in enumerate(layout.names) if name not in layout.static)
    wide, seen = truth.expand(n, *truth.shape), final.expand(n, *final.shape)
    figure = reconstruction(wide, seen, stack, layout, n, channel=first)
    _label(figure, list(kept), layout)
    if layout.kind == "field" and len(layout.axes) == 1:
        _limit(figure, array(torch.stack([truth, final])[:, first]), array(truth[first]))
    return figure


def _label(figure: Figure, methods: list[str], layout: Layout) -> None:
    """Put the methods' names where :func:`reconstruction` numbers observations."""
    axes, n = figure.axes, len(methods)
    if layout.kind == "field" and len(layout.axes) > 1:
        places = axes[:n]  # drawn column by column
    elif layout.kind == "vector":
        places = axes[:n]
    else:
        places = axes[:: len(axes) // n]
    for ax, method in zip(places, methods, strict=True):
        colour = look_of(method)["color"]
        if layout.kind == "vector" or len(layout.axes) == 1:
            ax.set_title(method, color=colour, loc="left", fontweight="bold")
        else:
            broken = method.replace("-", "-\n", 1) if len(method) > 12 else method
            ax.set_ylabel(broken, color=colour, fontweight="bold")


def _limit(figure: Figure, states: Array, truth: Array) -> None:
    """Let what diverges leave the picture: half a range beyond truth and observation, and as far from the median."""
    low, high = float(states.min()), float(states.max())
    reach = 0.5 * ((high - low) or 1.0)
    figure.axes[0].set_ylim(low - reach, high + reach)
    far = figure.axes[1].get_ylim()
    spread = float(truth.std()) * 2 or 1.0
    figure.axes[1].set_ylim(max(far[0], -spread), min(far[1], spread))


def _strips(truth: Tensor, final: Tensor, samples: Mapping[str, Tensor], layout: Layout) -> Figure:
    """One number: the draws of each method on a line of its own, over the truth and the observation."""
    figure = Figure((WIDTH, 0.9 + 0.27 * len(samples)), layout="constrained")
    ax = figure.subplots()
    ax.axvline(float(truth[0]), **TRUTH)
    ax.axvline(float(final[0]), **SEEN)
    for row, (method, draws) in enumerate(samples.items()):
        look, x = look_of(method), array(draws[:, 0])
        ax.plot(x, np.full(len(x), row), "o", color=look["color"], ms=6, alpha=0.55, mew=0)
        ax.plot(x.mean(), row, "|", color=look["color"], ms=14, mew=2, label="mean of the samples" if row == 0 else "")
    ax.set_yticks(range(len(samples)), labels=list(samples))
    ax.invert_yaxis()
    ax.margins(y=0.5 / len(samples) + 0.02)
    for label, method in zip(ax.get_yticklabels(), samples, strict=True):
        label.set(color=look_of(method)["color"], fontweight="bold")
    ax.grid(axis="y", color="0.9", lw=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel(layout.names[0])
    figure.legend(loc="outside upper center", ncols=3)
    return figure
