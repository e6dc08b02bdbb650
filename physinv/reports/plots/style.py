"""The style that all figures share: colours, scales and axes, and writing a figure to a file.

Each role has one colour (Okabe and Ito's set, which colour-blind readers can tell apart) and one dash; fields of both
signs are on a diverging map with symmetric limits; all states of a figure share one colour scale and one bar.
"""

from __future__ import annotations

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "MEAN",
    "ORANGE",
    "PINK",
    "POSITIVE",
    "RED",
    "SEEN",
    "SPREAD",
    "TRUTH",
    "UNSEEN",
    "WIDTH",
    "Array",
    "Look",
    "angles",
    "array",
    "central_plane",
    "check_layout",
    "check_members",
    "colour_scale",
    "draw_image",
    "house_style",
    "name_axes",
    "save",
    "titled",
]

import math
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from numpy.typing import NDArray
from torch import Tensor

from physinv.config.files import write_atomically
from physinv.config.inputs import Numbers, as_path, as_tensor, check_count, check_instance
from physinv.config.outputs.refusals import check_kind
from physinv.processes.layout import StateLayout

Array = NDArray[np.float64]
Look = dict[str, Any]

BLACK, ORANGE, BLUE, RED, GREEN, PINK = "#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7"
TRUTH: Look = {"color": BLACK, "label": "truth $x_0$"}
SEEN: Look = {"color": ORANGE, "ls": (0, (5, 1.5)), "label": "observation $x_T$"}
MEAN: Look = {"color": RED, "ls": (0, (4, 1, 1, 1))}
_SIGNED, POSITIVE, SPREAD = "RdBu_r", "viridis", "Greys"
UNSEEN = "0.75"
WIDTH = 7.0  # inches: two columns of a journal page
_DOTS, _PIXELS, _PAD = 150, 1200, 0.04  # least dots an inch, least pixels of the width, inches around the figure
_BEGINNINGS = (b"\x89PNG", b"%PDF")
_MATH = MathTextParser("path")
_UNDATED: dict[str, dict[str, None]] = {".png": {"Software": None}, ".pdf": {"CreationDate": None}}


@contextmanager
def house_style() -> Iterator[None]:
    """Set the style of figures inside a ``with`` block or a decorated function; restore the user's afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rc("font", family="STIXGeneral", size=9)  # comes with matplotlib
        mpl.rc("mathtext", fontset="stix")
        mpl.rc("axes", titlesize=9, linewidth=0.6)
        mpl.rc("axes.spines", top=False, right=False)
        mpl.rc("xtick", labelsize=8)
        mpl.rc("ytick", labelsize=8)
        mpl.rc("xtick.major", width=0.6)
        mpl.rc("ytick.major", width=0.6)
        mpl.rc("legend", fontsize=8, frameon=False)
        mpl.rc("lines", linewidth=1.3)
        mpl.rc("figure", dpi=150)
        mpl.rc("pdf", fonttype=42)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # a box stands for it
            yield


@house_style()
def save(figure: Figure, path: Path | str) -> None:
    """Write a figure to a file, whole or not at all; the same data give the same bytes.

    Args:
        figure: The figure.
        path: File to write, whose suffix is ``.png`` or ``.pdf``; an older figure is replaced, no file of another kind.

    Raises:
        FileExistsError: If there is a file that is no figure.
        ValueError: If the suffix is another one, or an argument is of another kind.
    """
    check_instance(figure, Figure, "figure", "give save(figure, path)")
    path = as_path(path, "path", "give the file to write")
    suffix = path.suffix.lower()
    if suffix not in _UNDATED:
        raise ValueError(f"a figure must end in {' or '.join(_UNDATED)}, got {path.name!r}; add one of them.")
    check_kind(path, "figure", _BEGINNINGS)
    for text in figure.findobj(Text):
        _make_drawable(text)
    figure.draw_without_rendering()  # lay it out once, then hold it: laying out again would move things a little
    figure.set_layout_engine("none")
    canvas: Any = FigureCanvasAgg(figure)
    wide = figure.get_tightbbox(canvas.get_renderer()).width + 2 * _PAD
    dots = max(_DOTS, math.ceil(_PIXELS / wide))
    options: Look = {"format": suffix[1:], "metadata": _UNDATED[suffix], "dpi": dots}
    write_atomically(path, lambda tmp: figure.savefig(tmp, bbox_inches="tight", pad_inches=_PAD, **options))


def _make_drawable(text: Text) -> None:
    """Replace characters of names that no font has, and show what only looks like mathematics as it is."""
    words = text.get_text()
    plain = "".join("\ufffd" if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in words)
    if plain != words:
        text.set_text(plain)
    if text.get_parse_math() and words.count("$") > 1:
        try:
            _MATH.parse(plain)
        except ValueError:
            text.set_parse_math(False)


@house_style()
def titled(figure: Figure, title: str) -> Figure:
    """Put a title above a figure.

    Args:
        figure: The figure, without a legend above it.
        title: The title.

    Returns:
        The same figure.
    """
    figure.suptitle(title, size=10, parse_math=False)
    return figure


def draw_image(ax: Axes, image: Array, cmap: str, norm: Normalize) -> AxesImage:
    """Draw an image with x to the right and y upward; NaN, for what is not known, is grey.

    Args:
        ax: The panel.
        image: Values ``(x, y)``.
        cmap: Name of the colour map.
        norm: Limits of the colours.

    Returns:
        The drawn image, from which a colour bar is made.
    """
    ax.set(xticks=[], yticks=[], facecolor=UNSEEN)
    ax.spines[:].set_visible(True)
    return ax.imshow(image.T, cmap=cmap, norm=norm, origin="lower", interpolation="nearest")


def name_axes(ax: Axes, layout: StateLayout) -> None:
    """Label a panel with the first two axes of a field, and the place of the central plane along the third.

    Args:
        ax: The panel.
        layout: Layout of the fields.
    """
    x, y, *rest = layout.axes
    plane = "".join(f"  (${z} = {c[len(c) // 2]:.3g}$)" for z, c in zip(rest, layout.coordinates[2:], strict=True))
    ax.set(xlabel=f"${x}${plane}", ylabel=f"${y}$")


def angles(axis: Axis, layout: StateLayout) -> None:
    """Set ticks at multiples of pi on a periodic box of length 2 pi; leave other axes as they are.

    Args:
        axis: Axis of the panel.
        layout: Layout of the fields.
    """
    x = layout.coordinates[0]
    if layout.periodic and math.isclose(len(x) * (x[1] - x[0]), 2 * math.pi, rel_tol=1e-6):
        axis.set_ticks([0, math.pi, 2 * math.pi], labels=["0", r"$\pi$", r"$2\pi$"])


def central_plane(fields: Array, layout: StateLayout) -> Array:
    """Return the central plane of fields in three dimensions, others as they are.

    Args:
        fields: ``(..., *space)``.
        layout: Layout of the fields.
    """
    return fields if len(layout.axes) < 3 else fields[..., fields.shape[-1] // 2]


def colour_scale(fields: Array) -> tuple[str, Normalize]:
    """Choose a colour map: diverging with symmetric limits where both signs matter, else sequential over the range.

    Args:
        fields: All values that are drawn on this scale; NaN stands for what is not known.

    Returns:
        Name of the colour map, and its limits.
    """
    low, high = (float(np.nanmin(fields)), float(np.nanmax(fields))) if np.isfinite(fields).any() else (0.0, 1.0)
    if min(-low, high) > 0.05 * max(-low, high):
        return _SIGNED, Normalize(-max(-low, high), max(-low, high))
    return POSITIVE, Normalize(low, high if high > low else low + (abs(low) or 1.0))


def array(x: Numbers, layout: StateLayout | None = None) -> Array:
    """Return a tensor as a float64 array on the CPU.

    Args:
        x: The tensor, or an array.
        layout: Layout of states, with any axes before them, whose points without data become NaN; None: as they are.
    """
    found = np.asarray(as_tensor(x, "states").detach().cpu().double())
    if layout is None or layout.valid is None:
        return found
    return np.where(np.asarray(layout.valid), found, np.nan)


def check_layout(layout: StateLayout, channel: int = 0) -> None:
    """Check the layout of states that are to be drawn, and the channel of fields.

    Args:
        layout: Layout of the states.
        channel: Number of the channel that is shown.

    Raises:
        ValueError: If it is no layout, or has no such channel.
    """
    check_instance(layout, StateLayout, "layout", "give that of the process, such as process.layout")
    if check_count(channel, "channel", 0) >= layout.shape[0] and layout.space:
        names = ", ".join(f"{i} {name}" for i, name in enumerate(layout.names))
        raise ValueError(f"`channel` must be the number of a channel, {names}, got {channel}.")


def check_members(samples: Numbers, truth: Numbers) -> tuple[Tensor, Tensor]:
    """Check that samples fit the truth.

    Args:
        samples: Samples that should have shape ``(n, K, *state)``.
        truth: States ``(n, *state)``.

    Returns:
        Both as tensors.

    Raises:
        ValueError: If they do not.
    """
    samples, truth = as_tensor(samples, "samples"), as_tensor(truth, "truth")
    if samples.ndim != truth.ndim + 1 or samples.shape[:1] + samples.shape[2:] != truth.shape:
        raise ValueError(
            f"`samples` must have shape (n, K, *state) for a truth of shape {tuple(truth.shape)}, "
            f"got {tuple(samples.shape)}; put the members on axis 1."
        )
    return samples, truth
