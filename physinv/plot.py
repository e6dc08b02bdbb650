"""Figures from tensors: trajectories, reconstructions, spectra, calibration, training.

Every function returns a :class:`matplotlib.figure.Figure` of its own, without pyplot: no display is needed and nothing
stays behind.  One house style: each role has one colour (Okabe and Ito's set, which colour-blind readers can tell
apart) and one dash; fields of both signs are on a diverging map with symmetric limits; all states of a figure share
one colour scale and one bar.
"""

from __future__ import annotations

__all__ = ["coverage_curve", "ranks", "reconstruction", "save", "spectra", "training", "trajectory"]

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor

from physinv.checkpoint import write_atomically
from physinv.metrics import coverage
from physinv.simulator import Layout
from physinv.spectra import radial_spectrum
from physinv.train import Record

Array = NDArray[np.float64]
Look = dict[str, Any]

BLACK, ORANGE, BLUE, RED, GREEN, PINK = "#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7"
TRUTH: Look = {"color": BLACK, "label": "truth $x_0$"}
SEEN: Look = {"color": ORANGE, "ls": (0, (5, 1.5)), "label": "observation $x_T$"}
MEAN: Look = {"color": RED, "ls": (0, (4, 1, 1, 1))}
SIGNED, POSITIVE, SPREAD = "RdBu_r", "viridis", "Greys"
WIDTH = 7.0  # inches: two columns of a journal page
UNDATED: dict[str, dict[str, None]] = {".png": {"Software": None}, ".pdf": {"CreationDate": None}}


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults plus ours, whatever the user's settings are; theirs come back afterwards."""
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
        yield


@_style()
def save(figure: Figure, path: Path) -> None:
    """Write ``path``, PNG or PDF as its suffix says, atomically; the same data give the same bytes."""
    suffix = path.suffix.lower()
    if suffix not in UNDATED:
        raise ValueError(f"`path` must end in {' or '.join(UNDATED)}, got {path.name!r}.")
    options: Look = {"format": suffix[1:], "metadata": UNDATED[suffix], "dpi": 150}
    figure.draw_without_rendering()  # lay it out once, then hold it: laying out again would move things a little
    figure.set_layout_engine("none")
    write_atomically(path, lambda tmp: figure.savefig(tmp, bbox_inches="tight", pad_inches=0.04, **options))


# ---- states


@_style()
def trajectory(
    states: Float[Tensor, "..."], times: Float[Tensor, " time"], layout: Layout, *, channel: int = 0, frames: int = 6
) -> Figure:
    """One trajectory ``(time, *state)``; for vectors also many, ``(n, time, dim)``.

    Fields in two dimensions: ``frames`` images from first to last time; in three the same of the central plane; in one
    a space-time image beside the first and last profile.  Vectors: components against time, one trajectory in one
    panel, many in a panel per component (four at most), coloured by where that component started.
    """
    many = layout.kind == "vector" and states.ndim == 3
    axes = len(layout.axes) + (layout.kind == "field")
    if states.ndim != axes + 1 + many or states.shape[int(many)] != len(times):
        raise ValueError(
            f"`states` must hold {len(times)} states of {axes} axes each, as `times` and `layout` say, "
            f"got shape {tuple(states.shape)}."
        )
    t = _array(times)
    if layout.kind == "vector":
        return _paths(_array(states), t, layout) if many else _components(_array(states), t, layout)
    fields = _array(states[:, channel])
    if len(layout.axes) == 1:
        return _space_time(fields, t, layout, layout.names[channel])
    return _strip(_plane(fields, layout), t, layout, layout.names[channel], frames)


@_style()
def reconstruction(
    truth: Float[Tensor, "n *state"],
    observation: Float[Tensor, "n *state"],
    samples: Float[Tensor, "n k *state"],
    layout: Layout,
    rows: int = 3,
    *,
    channel: int = 0,
) -> Figure:
    """What was seen, what may have been, what was: the first ``rows`` observations with their posterior samples.

    Fields in two dimensions (three: the central plane): one row per observation, from the observation over three
    samples, their mean and standard deviation to the truth.  States share one colour scale, set by truth and
    observation; the standard deviation has its own, from 0.  In one dimension: profiles over the central 50 and 90 % of
    the samples, and the same less the median.  Vectors: per observation a histogram (one coordinate) or a scatter plot
    (the first two).
    """
    _check_members(samples, truth)
    x, y, ensemble = _array(truth[:rows]), _array(observation[:rows]), _array(samples[:rows])
    if layout.kind == "vector":
        return _clouds(x, y, ensemble) if x.shape[1] > 1 else _histograms(x, y, ensemble, layout)
    x, y, ensemble, name = x[:, channel], y[:, channel], ensemble[:, :, channel], layout.names[channel]
    draw = _fans if len(layout.axes) == 1 else _gallery
    return draw(_plane(x, layout), _plane(y, layout), _plane(ensemble, layout), layout, name)


# ---- laws


@_style()
def spectra(
    truth: Float[Tensor, "n *state"],
    observation: Float[Tensor, "n *state"],
    samples: Float[Tensor, "n k *state"],
    layout: Layout,
    exact_samples: Float[Tensor, "n m *state"] | None = None,
    *,
    channel: int = 0,
) -> Figure:
    """Radial power spectra of fields, averaged over the batch; the shell of the mean is left out.

    A posterior sample has the truth's power at every wave number; its error reaches twice that where the observation
    says nothing any more; the mean of K samples keeps 1/K of their variance.  Power that rounding alone could produce
    is not drawn.
    """
    if layout.kind != "field":
        raise ValueError("`layout` must be that of a field to have spectra, got a vector.")
    _check_members(samples, truth)
    k, sample = samples.shape[1], samples[:, 0]
    lines: list[tuple[Tensor, Look]] = [
        (truth, {**TRUTH, "lw": 2.4}),
        (observation, SEEN),
        (sample, {"color": BLUE, "marker": "o", "ms": 3, "label": "posterior sample"}),
        (sample - truth, {"color": PINK, "ls": (0, (1, 1)), "label": "error of the sample"}),
    ]
    if k > 1:
        lines.append((samples.mean(1), {**MEAN, "label": f"mean of {k} samples"}))
    if exact_samples is not None:
        exact: Look = {"color": GREEN, "ls": "", "marker": "x", "ms": 5, "label": "exact posterior sample"}
        lines.append((exact_samples[:, 0], exact))
    figure = Figure((5.2, 3.0), layout="constrained")
    ax = figure.subplots()
    size = truth[:, channel].double().square().mean()
    for field, look in lines:
        wave, power = radial_spectrum(field)
        mean = power[:, channel].mean(0)
        rounding = (4 * torch.finfo(field.dtype).eps) ** 2 * size / math.prod(field.shape[2:])
        ax.plot(_array(wave[1:]), _array(torch.where(mean > rounding, mean, math.nan)[1:]), **look)
    ax.set(xscale="log", yscale="log", xlim=(0.9, 1.1 * float(wave[-1])))
    ax.set(xlabel="wave number $|k|$", ylabel=r"power per mode $\langle|u_k|^2\rangle$")
    ax.xaxis.set_major_locator(LogLocator(2))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    figure.legend(loc="outside right center")
    return figure


@_style()
def ranks(counts: Int[Tensor, " ranks"], layout: Layout | None = None) -> Figure:
    """Rank histogram (:func:`physinv.metrics.rank_histogram`) over its mean, and the 95 % band of a calibrated one.

    A count of N independent ranks is binomial with odds 1/(K + 1).  Components of one state are dependent: if
    ``layout`` says that there are several, the figure says that counts may leave the band more often.
    """
    k, total = len(counts) - 1, int(counts.sum())
    if total < 1:
        raise ValueError("`counts` must hold at least one rank, got none.")
    mean = total / (k + 1)
    low, high = (float(binom.ppf(q, total, 1 / (k + 1))) / mean for q in (0.025, 0.975))
    figure = Figure((4.0, 2.6), layout="constrained")
    ax = figure.subplots()
    ax.bar(np.arange(k + 1), _array(counts) / mean, width=0.86, color=BLUE, alpha=0.75)
    ax.axhspan(low, high, color="0.6", alpha=0.4, lw=0, zorder=2, label="95 % band for independent ranks")
    ax.axhline(1, color=BLACK, lw=1, label="calibrated")
    ax.set(xlabel=f"rank of the truth among {k} samples", ylabel="frequency / uniform", xlim=(-0.7, k + 0.7))
    ax.set_ylim(0, 1.15 * max(high, float(counts.max()) / mean))
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    several = layout is not None and (layout.kind == "field" or len(layout.coordinates[0]) > 1)
    note = "; components of a state are dependent:\nexpect more scatter than the band shows" if several else ""
    ax.set_title(f"{total:,} ranks{note}", loc="left", fontsize=8)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@_style()
def coverage_curve(
    samples: Float[Tensor, "n k *state"],
    truth: Float[Tensor, "n *state"],
    exact_samples: Float[Tensor, "n m *state"] | None = None,
) -> Figure:
    """How often central intervals hold the truth (:func:`physinv.metrics.coverage`) against how often they should.

    The band is 95 % of a binomial with one trial per state: too wide, if anything, since a state has many components.
    """
    levels, n = [*(i / 10 for i in range(1, 10)), 0.95], len(truth)
    figure = Figure((3.2, 3.0), layout="constrained")
    ax = figure.subplots()
    fine = np.linspace(0, 1, 201)
    low, high = (binom.ppf(q, n, fine) / n for q in (0.025, 0.975))
    ax.fill_between(fine, low, high, color="0.5", alpha=0.25, lw=0, label=f"95 % band, {n} states")
    ax.plot([0, 1], [0, 1], color=BLACK, lw=1, label="calibrated")
    curves: list[tuple[Tensor | None, Look]] = [
        (exact_samples, {"color": GREEN, "marker": "x", "ms": 5, "ls": "--", "label": "exact posterior"}),
        (samples, {"color": BLUE, "marker": "o", "ms": 3, "label": f"{samples.shape[1]} samples"}),
    ]
    for ensemble, look in curves:
        if ensemble is not None:
            ax.plot(levels, [float(coverage(ensemble, truth, level)) for level in levels], **look)
    ax.set(xlabel="nominal coverage", ylabel="empirical coverage", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend(loc="upper left")
    return figure


# ---- training


@_style()
def training(records: Sequence[Record]) -> Figure:
    """Losses, the validation loss above its best (late gains are small and matter: logarithmic), the learning rate.

    A loss is mostly noise in its targets, drawn anew for training and validation: changes along each line mean more
    than the gap between them.  Loss and rate begin at the second record; the first has seen no update.
    """
    if not records:
        raise ValueError("`records` must hold at least one record; train for longer.")
    step, valid = np.array([float(r.step) for r in records]), np.array([r.valid for r in records])
    loss, rate = (np.where(step > 0, [getattr(r, name) for r in records], np.nan) for name in ("loss", "rate"))
    best = int(np.nanargmin(valid))
    excess = np.where(valid > valid[best], valid - valid[best], np.nan)
    figure = Figure((4.8, 4.0), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    top.plot(step, loss, color=BLUE, lw=0.6, alpha=0.35)
    top.plot(step, _smooth(loss, len(loss) // 40), color=BLUE, label="training")
    top.plot(step, valid, color=RED, label="validation")
    label = f"best, {valid[best]:.5g} at step {records[best].step}"
    top.plot(step[best], valid[best], "*", color=BLACK, ms=8, label=label)
    top.set_ylabel("loss per component")
    _skip_the_start(top, step, np.stack([loss, valid]))
    middle.plot(step, excess, color=RED)
    middle.set(ylabel="validation loss\nabove its best", yscale="log")
    if np.isfinite(excess).any():
        middle.set_ylim(bottom=0.5 * np.nanquantile(excess, 0.05))
    bottom.plot(step, rate, color="0.3")
    bottom.set(ylabel="rate", xlabel="step", ylim=(0, None))
    for ax in (top, middle, bottom):
        ax.axvline(step[best], color="0.6", lw=0.8, ls=":", zorder=0)
    for before, after in itertools.pairwise(records):
        if after.window != before.window:
            top.axvline(before.step, color="0.8", lw=0.8, zorder=0)
            top.text(before.step, 1, f" window {after.window}", transform=top.get_xaxis_transform(), va="top", size=7)
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _smooth(x: Array, reach: int) -> Array:
    """Means over ``reach`` neighbours on either side; NaN is left out and left in place."""
    index = np.arange(len(x))
    weight = (np.abs(index[:, None] - index) <= reach) & np.isfinite(x)
    return np.where(np.isfinite(x), weight @ np.nan_to_num(x) / np.maximum(weight.sum(1), 1), np.nan)


def _skip_the_start(ax: Axes, step: Array, lines: Array) -> None:
    """Let the first 5 % of the steps run out of the picture if they would squeeze the rest into half of it."""
    low, high = np.nanmin(lines), np.nanmax(lines[:, step >= 0.05 * step[-1]])
    if np.nanmax(lines) - low > 2 * (high - low) > 0:
        ax.set_ylim(low - 0.05 * (high - low), high + 0.15 * (high - low))


# ---- parts of `trajectory`


def _components(states: Array, times: Array, layout: Layout) -> Figure:
    figure = Figure((4.6, 2.4), layout="constrained")
    ax = figure.subplots()
    for i, line in enumerate(states.T):
        ax.plot(times, line, color=(BLUE, RED, GREEN, PINK, ORANGE, BLACK)[i % 6], label=f"$x_{{{i + 1}}}$")
    ax.set(xlabel="time $t$", ylabel=layout.names[0])
    if states.shape[1] > 1:
        figure.legend(loc="outside right center")
    return figure


def _paths(states: Array, times: Array, layout: Layout) -> Figure:
    shown = min(states.shape[2], 4)
    figure = Figure((min(WIDTH, 1.4 + 2.4 * shown), 2.4), layout="constrained")
    axes = figure.subplots(1, shown, sharey=True, squeeze=False)[0]
    for i, ax in enumerate(axes):
        start = states[:, 0, i]
        colours = mpl.colormaps["plasma"](0.85 * Normalize(start.min(), start.max())(start))
        for line, colour in zip(states[:, :, i], colours, strict=True):
            ax.plot(times, line, color=colour, lw=0.6, alpha=max(0.2, min(0.8, 50 / len(states))))
        ax.set(xlabel="time $t$", title=f"$x_{{{i + 1}}}$" if shown > 1 else "")
    axes[0].set_ylabel(layout.names[0])
    return figure


def _space_time(fields: Array, times: Array, layout: Layout, name: str) -> Figure:
    x, axis = np.array(layout.coordinates[0]), f"${layout.axes[0]}$"
    figure = Figure((WIDTH, 2.3), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.08})
    cmap, norm = _colours(fields)
    drawn = left.pcolormesh(times, x, fields.T, cmap=cmap, norm=norm, shading="nearest", rasterized=True)
    figure.colorbar(drawn, ax=left, label=name, pad=0.02)
    left.set(xlabel="time $t$", ylabel=axis, xlim=(times[0], times[-1]))
    right.plot(x, fields[0], color=BLACK, label=f"$t = {times[0]:.3g}$")
    right.plot(x, fields[-1], **{**SEEN, "label": f"$t = {times[-1]:.3g}$"})
    right.set(xlabel=axis, ylabel=name)
    right.legend()
    _angles(left.yaxis, layout)
    _angles(right.xaxis, layout)
    return figure


def _strip(images: Array, times: Array, layout: Layout, name: str, frames: int) -> Figure:
    pick = np.unique(np.linspace(0, len(times) - 1, frames).round().astype(int))
    figure = Figure((WIDTH, 0.4 + WIDTH / max(len(pick), 4)), layout="compressed")
    axes = figure.subplots(1, len(pick), squeeze=False)[0]
    look = _colours(images[pick])
    for ax, i in zip(axes, pick, strict=True):
        drawn = _image(ax, images[i], *look)
        ax.set_title(f"$t = {times[i]:.3g}$")
    _name_axes(axes[0], layout)
    figure.colorbar(drawn, ax=axes, label=name, fraction=0.05, pad=0.01, aspect=14)
    return figure


# ---- parts of `reconstruction`


def _gallery(truth: Array, seen: Array, ensemble: Array, layout: Layout, name: str) -> Figure:
    """Rows of images, one per observation, over a bar for the states and one for the standard deviation."""
    n, k = ensemble.shape[:2]
    columns = [("observation $x_T$", seen)]
    columns += [(f"sample {i + 1}" if k > 1 else "reconstruction", ensemble[:, i]) for i in range(min(k, 3))]
    if k > 1:
        columns += [(f"mean of {k}", ensemble.mean(1)), ("std. deviation", ensemble.std(1, ddof=1))]
    columns.append(("truth $x_0$", truth))
    spread = len(columns) - 2 if k > 1 else len(columns)
    width = WIDTH / max(len(columns), 5)
    figure = Figure((width * len(columns), width * n + 0.8), layout="compressed")
    grid = figure.add_gridspec(n + 1, len(columns), height_ratios=[1.0] * n + [0.08])
    cmap, norm = _colours(np.stack([truth, seen]))
    for j, (title, images) in enumerate(columns):
        peak = float(images.max()) or 1.0
        look = (SPREAD, Normalize(0, peak)) if j == spread else (cmap, norm)
        for i, image in enumerate(images):
            ax = figure.add_subplot(grid[i, j], title=title if i == 0 else "")
            drawn = _image(ax, image, *look)
        if j == 0:
            _name_axes(ax, layout)
            low, high = ensemble[:, :3].min() < norm.vmin, ensemble[:, :3].max() > norm.vmax
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


def _fans(truth: Array, seen: Array, ensemble: Array, layout: Layout, name: str) -> Figure:
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
        left.plot(x, seen[i], **SEEN)
        left.set(ylabel=name, xlim=(x[0], x[-1]))
    axes[0, 1].set_title(f"less the {middle}")
    for ax in axes[-1]:
        ax.set_xlabel(f"${layout.axes[0]}$")
        _angles(ax.xaxis, layout)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _histograms(truth: Array, seen: Array, ensemble: Array, layout: Layout) -> Figure:
    """One scalar: the share of samples per bin, one panel per observation."""
    figure, axes = _panels(len(truth), 1.9, layout.names[0], "share of samples")
    k, values = ensemble.shape[1], np.concatenate([a.ravel() for a in (truth, seen, ensemble)])
    margin = 0.05 * (np.ptp(values) or 1.0)
    edges = np.linspace(values.min() - margin, values.max() + margin, 35)
    for ax, x, y, draws in zip(axes, truth[:, 0], seen[:, 0], ensemble[:, :, 0], strict=True):
        label = "samples" if k > 1 else "reconstruction"
        ax.hist(draws, list(edges), weights=np.full(k, 1 / k), color=BLUE, alpha=0.7, label=label)
        ax.axvline(x, **TRUTH)
        ax.axvline(y, **SEEN)
        if k > 1:
            ax.axvline(draws.mean(), **MEAN, label="mean")
        ax.set_title(f"$x_T = {y:.2g}$")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _clouds(truth: Array, seen: Array, ensemble: Array) -> Figure:
    """The first two coordinates of a vector, one panel per observation."""
    figure, axes = _panels(len(truth), WIDTH / 3, "$x_1$", "$x_2$")
    k, values = ensemble.shape[1], np.concatenate([a[..., :2].reshape(-1, 2) for a in (truth, seen, ensemble)])
    centre, reach = (values.max(0) + values.min(0)) / 2, 0.55 * (np.ptp(values, axis=0).max() or 1.0)
    box = dict(zip(("xlim", "ylim"), np.stack([centre - reach, centre + reach], 1), strict=True))
    edge: Look = {"ls": "", "mec": "w", "mew": 0.6}
    for ax, x, y, draws in zip(axes, truth, seen, ensemble, strict=True):
        look = {"alpha": max(0.25, min(1.0, 60 / k)), "label": "samples" if k > 1 else "reconstruction"}
        ax.plot(draws[:, 0], draws[:, 1], "o", color=BLUE, ms=3 if k > 1 else 6, mew=0, **look)
        ax.plot(y[0], y[1], marker="s", ms=6, **{**SEEN, **edge})
        if k > 1:
            ax.plot(*draws.mean(0)[:2], marker="D", ms=6, label="mean", **{**MEAN, **edge})
        ax.plot(x[0], x[1], marker="*", ms=11, **{**TRUTH, **edge})
        ax.set(aspect="equal", **box)
    legend = figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    if legend.legend_handles[0] is not None:
        legend.legend_handles[0].set(alpha=1, markersize=4)
    return figure


def _panels(n: int, height: float, xlabel: str, ylabel: str) -> tuple[Figure, list[Axes]]:
    """``n`` panels with shared axes, three to a row."""
    columns, lines = min(n, 3), math.ceil(n / 3)
    figure = Figure((0.4 + (WIDTH - 0.4) * columns / 3, height * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for ax in grid.flat[n:]:
        ax.remove()
    for ax in grid.flat[n - columns : n]:
        ax.set_xlabel(xlabel)
        ax.tick_params(labelbottom=True)
    for ax in grid[:, 0]:
        ax.set_ylabel(ylabel)
    return figure, list(grid.flat[:n])


# ---- shared


def _image(ax: Axes, image: Array, cmap: str, norm: Normalize) -> AxesImage:
    """Draw ``(x, y)`` with x to the right and y upward."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    return ax.imshow(image.T, cmap=cmap, norm=norm, origin="lower", interpolation="nearest")


def _name_axes(ax: Axes, layout: Layout) -> None:
    x, y, *rest = layout.axes
    plane = "".join(f"  (${z} = {c[len(c) // 2]:.3g}$)" for z, c in zip(rest, layout.coordinates[2:], strict=True))
    ax.set(xlabel=f"${x}${plane}", ylabel=f"${y}$")


def _angles(axis: Axis, layout: Layout) -> None:
    """Ticks at multiples of pi on a periodic box of length 2 pi."""
    x = layout.coordinates[0]
    if layout.boundary == "PERIODIC" and math.isclose(len(x) * (x[1] - x[0]), 2 * math.pi, rel_tol=1e-6):
        axis.set_ticks([0, math.pi, 2 * math.pi], labels=["0", r"$\pi$", r"$2\pi$"])


def _plane(fields: Array, layout: Layout) -> Array:
    """``(..., x, y)`` as it is; of ``(..., x, y, z)`` the central plane."""
    return fields if len(layout.axes) < 3 else fields[..., fields.shape[-1] // 2]


def _colours(fields: Array) -> tuple[str, Normalize]:
    """Symmetric limits on a diverging map where both signs matter, else the range on a sequential one."""
    low, high = float(fields.min()), float(fields.max())
    if min(-low, high) > 0.05 * max(-low, high):
        return SIGNED, Normalize(-max(-low, high), max(-low, high))
    return POSITIVE, Normalize(low, high if high > low else low + 1)


def _array(x: Tensor) -> Array:
    return np.asarray(x.detach().cpu().double())


def _check_members(samples: Tensor, truth: Tensor) -> None:
    if samples.ndim != truth.ndim + 1 or samples.shape[:1] + samples.shape[2:] != truth.shape:
        raise ValueError(
            f"`samples` must have shape (n, K, *state) for a truth of shape {tuple(truth.shape)}, "
            f"got {tuple(samples.shape)}; put the members on axis 1."
        )
