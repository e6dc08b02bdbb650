"""Animations: a reconstruction backward in time beside the true trajectory, as frames of a GIF."""

from __future__ import annotations

__all__ = ["animate", "save_gif"]

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from physinv.config.files import write_atomically
from physinv.processes.layout import StateLayout
from physinv.reports.plots.pictures import picture_of
from physinv.reports.plots.style import array, house_style

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
    layout: StateLayout,
    *,
    frames: int = 60,
) -> list[Image.Image]:
    """Draw a reconstruction and the true trajectory from the last time to the first, side by side.

    Fields: images, profiles in one dimension. Particles: their first two coordinates, coloured by species. Vectors: the
    number against time, or the first two of several in their plane.

    Args:
        reconstruction: One reconstructed trajectory.
        truth: The true one, at the same times.
        times: Their times, in any order.
        layout: Layout of the states.
        frames: Largest number of images.

    Returns:
        The images, the last time first.

    Raises:
        ValueError: If the numbers of states and times differ, or are below 2.
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
    both = array(reconstruction, layout), array(truth, layout)
    draw = picture_of(layout).motion(figure, axes, both, t, layout)
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
    """Write a GIF that repeats, whole or not at all.

    Args:
        frames: Images of one size.
        path: File to write.
        seconds: Duration without the pause on the last frame.
        largest: Bytes that the file may have; frames are left out, and then shrunk, until it fits.
    """
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
