"""A reconstruction as it runs backward, beside what happened: frames of a GIF."""

from __future__ import annotations

__all__ = ["animate", "save_gif"]

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from physinv.config.files import write_atomically
from physinv.processes.simulator import Layout
from physinv.reports.plots.style import (
    BLACK,
    BLUE,
    ORANGE,
    Array,
    Look,
    angles,
    array,
    central_plane,
    colour_scale,
    draw_image,
    house_style,
)

_HOLD = 8  # how many times longer the last frame, x_0, stays
_FEWEST = 20  # frames that are kept before they are shrunk
_WHITE = 245  # of 255: paper, up to the rounding of a palette
_LARGEST = 700_000  # bytes of a GIF
_SIZE = (5.0, 2.9)  # inches


@house_style()
def animate(
    reconstruction: Float[Tensor, "time *state"],
    truth: Float[Tensor, "others *state"],
    times: Float[Tensor, " time"],
    layout: Layout,
    *,
    frames: int = 60,
) -> list[Image.Image]:
    """At most ``frames`` images from the last of ``times`` to the first: the reconstruction left, the truth right.

    Fields: images, profiles in one dimension.  Particles: their first two coordinates, coloured by species.  Vectors:
    the first number against time, or the first two in their plane, with the way that they came.
    """
    if not len(reconstruction) == len(truth) == len(times) or len(times) < 2:
        raise ValueError(
            f"`reconstruction` and `truth` must hold a state for each of at least 2 `times`, "
            f"got {len(reconstruction)}, {len(truth)} and {len(times)}."
        )
    t = array(times)
    back = np.argsort(-t)
    pick = back[np.unique(np.linspace(0, len(t) - 1, min(frames, len(t))).round().astype(int))]
    figure = Figure(_SIZE, layout="constrained", dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, 2, sharex=True, sharey=True))
    draw = _drawing(figure, axes, (array(reconstruction), array(truth)), t, layout)
    out: list[Image.Image] = []
    for i in map(int, pick):
        draw(i)
        axes[0].set_title(f"reconstruction, $t = {t[i]:.3g}$")
        axes[1].set_title(f"truth, $t = {t[i]:.3g}$")
        if len(out) == 1:
            figure.set_layout_engine("none")  # what moves are the states, not the axes
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        out.append(Image.fromarray(pixels[..., :3].copy()))
    return out


def save_gif(frames: Sequence[Image.Image], path: Path, *, seconds: float = 6.0, largest: int = _LARGEST) -> None:
    """Write a GIF that repeats, atomically; frames are left out, and then shrunk, until it has ``largest`` bytes."""
    chosen = list(frames)
    for attempt in range(8):
        palette = _palette(chosen, 128 if attempt == 0 else 64)
        small = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in chosen]
        pause = max(20, round(1000 * seconds / len(small)))
        waits = [pause] * (len(small) - 1) + [_HOLD * pause]
        write_atomically(path, lambda tmp: _write(small, tmp, waits))  # noqa: B023
        if path.stat().st_size <= largest:
            return
        if len(chosen) > _FEWEST:
            kept = max(_FEWEST, int(0.95 * len(chosen) * largest / path.stat().st_size))
            chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, kept).round().astype(int)]
        else:
            size = (round(0.8 * chosen[0].width), round(0.8 * chosen[0].height))
            chosen = [f.resize(size, Image.Resampling.LANCZOS) for f in chosen]


def _palette(frames: Sequence[Image.Image], colours: int) -> Image.Image:
    """One palette, from the first, middle and last frame, so that what stands still keeps its colour."""
    some = [frames[0], frames[len(frames) // 2], frames[-1]]
    wide = Image.new("RGB", (3 * some[0].width, some[0].height))
    for i, frame in enumerate(some):
        wide.paste(frame, (i * frame.width, 0))
    palette = wide.quantize(colours, method=Image.Quantize.MAXCOVERAGE)
    entries = np.array(palette.getpalette()).reshape(-1, 3)
    entries[entries.min(1) >= _WHITE] = 255
    palette.putpalette(entries.flatten().tolist())
    return palette


def _write(frames: Sequence[Image.Image], path: Path, waits: list[int]) -> None:
    first, *rest = frames
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=waits, loop=0, optimize=False)


Draw = Callable[[int], None]


def _drawing(figure: Figure, axes: list[Axes], both: tuple[Array, Array], times: Array, layout: Layout) -> Draw:
    if layout.kind == "particles":
        return _particles(axes, both, layout)
    if layout.kind == "vector":
        return _line(axes, both, times, layout) if both[0].shape[1] == 1 else _plane(axes, both)
    first = next(c for c, name in enumerate(layout.names) if name not in layout.static)
    fields = [central_plane(x[:, first], layout) for x in both]
    draw = _profiles if len(layout.axes) == 1 else _images
    return draw(figure, axes, fields, layout, layout.names[first])


def _images(figure: Figure, axes: list[Axes], fields: list[Array], layout: Layout, name: str) -> Draw:
    look = colour_scale(fields[1])
    shown = [draw_image(ax, x[0], *look) for ax, x in zip(axes, fields, strict=True)]
    figure.colorbar(shown[1], ax=axes, label=name, fraction=0.05, pad=0.02)

    def draw(i: int) -> None:
        for image, x in zip(shown, fields, strict=True):
            image.set_data(x[i].T)

    return draw


def _profiles(figure: Figure, axes: list[Axes], fields: list[Array], layout: Layout, name: str) -> Draw:
    x = np.array(layout.coordinates[0])
    shown = [ax.plot(x, f[0], color=c)[0] for ax, f, c in zip(axes, fields, (BLUE, BLACK), strict=True)]
    for ax in axes:
        ax.set(xlabel=f"${layout.axes[0]}$", xlim=(x[0], x[-1]), ylim=_window(fields[1]))
        angles(ax.xaxis, layout)
    axes[0].set_ylabel(name)

    def draw(i: int) -> None:
        for line, f in zip(shown, fields, strict=True):
            line.set_ydata(f[i])

    return draw


def _line(axes: list[Axes], both: tuple[Array, Array], times: Array, layout: Layout) -> Draw:
    """One number: the way from T to now, in the plane of time and state."""
    paths = [ax.plot([], [], color=c)[0] for ax, c in zip(axes, (BLUE, BLACK), strict=True)]
    dots = [ax.plot([], [], "o", color=c)[0] for ax, c in zip(axes, (BLUE, BLACK), strict=True)]
    span = float(np.ptp(times))
    for ax in axes:
        ax.set(xlabel="time $t$", xlim=(times.min() - 0.03 * span, times.max() + 0.03 * span))
        ax.set_ylim(_window(np.stack(both)))
    axes[0].set_ylabel(layout.names[0])

    def draw(i: int) -> None:
        passed = np.flatnonzero(times >= times[i])
        for path, dot, x in zip(paths, dots, both, strict=True):
            path.set_data(times[passed], x[passed, 0])
            dot.set_data([times[i]], [x[i, 0]])

    return draw


def _plane(axes: list[Axes], both: tuple[Array, Array]) -> Draw:
    dots = [ax.plot([], [], "o", color=c)[0] for ax, c in zip(axes, (BLUE, BLACK), strict=True)]
    for ax in axes:
        ax.set(xlabel="$x_1$", xlim=_window(np.stack(both)[..., 0]), ylim=_window(np.stack(both)[..., 1]))
    axes[0].set_ylabel("$x_2$")

    def draw(i: int) -> None:
        for dot, x in zip(dots, both, strict=True):
            dot.set_data([x[i, 0]], [x[i, 1]])

    return draw


def _particles(axes: list[Axes], both: tuple[Array, Array], layout: Layout) -> Draw:
    flat = len(layout.coordinates[1]) == 1
    species = both[1][0, :, -1] if layout.static else np.ones(both[1].shape[1])
    kinds = [(species > 0, BLUE), (species <= 0, ORANGE)]
    look: Look = {"marker": "o", "ls": "", "ms": 4.5, "mec": "w", "mew": 0.4}
    shown = [[(own, ax.plot([], [], color=c, **look)[0]) for own, c in kinds] for ax in axes]
    window = _window(np.stack(both)[..., : 1 if flat else 2])
    for ax in axes:
        ax.set(xlim=window, ylim=window, aspect="equal", xlabel="$q_1$")
    axes[0].set_ylabel("" if flat else "$q_2$")

    def draw(i: int) -> None:
        for lines, x in zip(shown, both, strict=True):
            for own, line in lines:
                line.set_data(x[i, own, 0], np.zeros(int(own.sum())) if flat else x[i, own, 1])

    return draw


def _window(x: Array) -> tuple[float, float]:
    finite = x[np.isfinite(x)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    margin = 0.05 * ((high - low) or 1.0)
    return low - margin, high + margin
