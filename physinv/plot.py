"""Figures from tensors: trajectories, reconstructions, spectra, calibration, training.

Every function returns a :class:`matplotlib.figure.Figure` of its own, without pyplot: no display is needed and nothing
stays behind.  One house style: colours that colour-blind readers can tell apart, each bound to one role; fields that
change sign on a diverging map with symmetric limits; one colour scale and one bar for all states of a figure.
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

TRUTH, SEEN, SAMPLE, MEAN, EXACT, ERROR = "#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SIGNED, POSITIVE, SPREAD = "RdBu_r", "viridis", "Greys"
WIDTH = 7.0  # inches: two columns of a journal page
_STYLE: dict[str, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "figure.dpi": 150,
    "pdf.fonttype": 42,
    "svg.hashsalt": "physinv",
}
_METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults plus ours, whatever the user's settings are; theirs come back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


@_style()
def save(figure: Figure, path: Path) -> None:
    """Write ``path`` as its suffix says (.png, .pdf, .svg), atomically; the same figure gives the same bytes."""
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise ValueError(f"`path` must end in {', '.join(_METADATA)}, got {path.name!r}.")
    options = {"dpi": 150, "bbox_inches": "tight", "pad_inches": 0.04, "metadata": _METADATA[suffix]}
    write_atomically(path, lambda tmp: figure.savefig(tmp, format=suffix[1:], **options))


# ---- states


@_style()
def trajectory(
    states: Float[Tensor, "..."], times: Float[Tensor, " time"], layout: Layout, *, channel: int = 0, frames: int = 6
) -> Figure:
    """One trajectory ``(time, *state)``; for vectors also many, ``(n, time, dim)``.

    Fields in two dimensions: ``frames`` images from first to last time; in three the same of the central slice; in one
    a space-time image with the first and last profile.  Vectors: components against time, one trajectory in one
    panel, many in a panel per component (four at most), coloured by where that component started.
    """
    many = layout.kind == "vector" and states.ndim == 3
    want = len(layout.axes) + 1 + (layout.kind == "field")
    if states.ndim != want + many or states.shape[int(many)] != len(times):
        raise ValueError(
            f"`states` must have shape (time, *state) with {want - 1} axes per state and {len(times)} times, "
            f"got {tuple(states.shape)}."
        )
    if layout.kind == "vector":
        return _paths(_array(states), _array(times), layout, many)
    if len(layout.axes) == 1:
        return _space_time(_array(states[:, channel]), _array(times), layout, channel)
    pick = np.unique(np.linspace(0, len(times) - 1, frames).round().astype(int))
    images = _plane(_array(states[:, channel]), layout)[pick]
    figure = Figure((WIDTH, 0.4 + WIDTH / max(len(pick), 4)), layout="compressed")
    axes = figure.subplots(1, len(pick), squeeze=False)
    cmap, norm = _colours(images)
    for ax, image, t in zip(axes[0], images, times[torch.from_numpy(pick)].tolist(), strict=True):
        drawn = _image(ax, image, cmap, norm)
        ax.set_title(f"$t = {t:.3g}$")
    _name_axes(axes[0, 0], layout)
    figure.colorbar(drawn, ax=axes, label=layout.names[channel], fraction=0.05, pad=0.01, aspect=14)
    return figure


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

    Fields in two dimensions (three: the central slice): one row per observation, from the observation over three
    samples, their mean and standard deviation to the truth.  States share one colour scale, set by truth and
    observation; the standard deviation has its own, from 0.  In one dimension: the truth over the median and the central
    50 and 90 % of the samples.  Vectors: a histogram (one coordinate) or a scatter plot (first two) per observation.
    """
    _ensemble(samples, truth)
    n = min(rows, len(truth))
    x, y, ensemble = _array(truth[:n]), _array(observation[:n]), _array(samples[:n])
    if layout.kind == "vector":
        draw = _histograms if x.shape[1] == 1 else _clouds
        return draw(x, y, ensemble, layout)
    if len(layout.axes) == 1:
        return _fans(x[:, channel], y[:, channel], ensemble[:, :, channel], layout, channel)
    return _gallery(*(_plane(a, layout) for a in (x[:, channel], y[:, channel], ensemble[:, :, channel])), layout, channel)


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

    A sample should have the truth's power at every wave number, and at scales that the observation no longer holds
    an error of twice that; the mean of K samples keeps at least 1/K of their variance.  Power that float rounding alone
    could produce is not drawn.
    """
    if layout.kind != "field":
        raise ValueError("`spectra` needs a field; a vector has none.")
    _ensemble(samples, truth)
    k = samples.shape[1]
    lines: list[tuple[str, Tensor, dict[str, Any]]] = [
        ("truth $x_0$", truth, {"color": TRUTH, "lw": 2.2}),
        ("observation $x_T$", observation, {"color": SEEN, "ls": (0, (5, 1.5))}),
        ("posterior sample", samples[:, 0], {"color": SAMPLE, "marker": "o", "ms": 3}),
        ("error of the sample", samples[:, 0] - truth, {"color": ERROR, "ls": (0, (1, 1))}),
    ]
    if k > 1:
        lines.append((f"mean of {k} samples", samples.mean(1), {"color": MEAN, "ls": (0, (4, 1, 1, 1))}))
    if exact_samples is not None:
        lines.append(("exact posterior sample", exact_samples[:, 0], {"color": EXACT, "ls": "", "marker": "x", "ms": 5}))
    figure = Figure((4.6, 3.0), layout="constrained")
    ax = figure.subplots()
    for label, field, look in lines:
        wave, power = radial_spectrum(field)
        noise = (4 * torch.finfo(field.dtype).eps) ** 2 * truth[:, channel].double().square().mean()
        mean = power[:, channel].mean(0)
        kept = torch.where(mean > noise / math.prod(field.shape[2:]), mean, math.nan)
        ax.plot(_array(wave[1:]), _array(kept[1:]), label=label, **look)
    ax.set(xscale="log", yscale="log", xlabel="wave number $|k|$", ylabel=r"power per mode $\langle|u_k|^2\rangle$")
    ax.xaxis.set_major_locator(LogLocator(2))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.set_xlim(0.9, 1.1 * float(wave[-1]))
    figure.legend(loc="outside right center")
    return figure


@_style()
def ranks(counts: Int[Tensor, " ranks"], layout: Layout | None = None) -> Figure:
    """Rank histogram (:func:`physinv.metrics.rank_histogram`) over its mean, with the 95 % band of a calibrated ensemble.

    Each count of N independent ranks is binomial with odds 1/(K + 1).  Components of one state are dependent, so
    if ``layout`` says that there are several, the figure says that counts may leave the band more often.
    """
    k, total = len(counts) - 1, int(counts.sum())
    if total < 1:
        raise ValueError("`counts` must hold at least one rank, got none.")
    mean = total / (k + 1)
    low, high = (float(binom.ppf(q, total, 1 / (k + 1))) / mean for q in (0.025, 0.975))
    dependent = layout is not None and (layout.kind == "field" or len(layout.coordinates[0]) > 1)
    figure = Figure((4.0, 2.6), layout="constrained")
    ax = figure.subplots()
    ax.bar(np.arange(k + 1), _array(counts) / mean, width=0.86, color=SAMPLE, alpha=0.75)
    ax.axhspan(low, high, color="0.6", alpha=0.4, lw=0, label="95 % band for independent ranks", zorder=2)
    ax.axhline(1, color=TRUTH, lw=1, label="calibrated")
    ax.set(xlabel=f"rank of the truth among {k} samples", ylabel="frequency / uniform", xlim=(-0.7, k + 0.7))
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_ylim(0, 1.15 * max(high, float(counts.max()) / mean))
    note = "; components of a state are dependent:\nexpect more scatter than the band shows" if dependent else ""
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
    levels = [0.1 * i for i in range(1, 10)] + [0.95]
    n = len(truth)
    figure = Figure((3.2, 3.0), layout="constrained")
    ax = figure.subplots()
    fine = np.linspace(0, 1, 201)
    low, high = (binom.ppf(q, n, fine) / n for q in (0.025, 0.975))
    ax.fill_between(fine, low, high, color="0.5", alpha=0.25, lw=0, label=f"95 % band, {n} states")
    ax.plot([0, 1], [0, 1], color=TRUTH, lw=1, label="calibrated")
    if exact_samples is not None:
        found = [float(coverage(exact_samples, truth, level)) for level in levels]
        ax.plot(levels, found, color=EXACT, marker="x", ms=4, ls="--", label="exact posterior")
    found = [float(coverage(samples, truth, level)) for level in levels]
    ax.plot(levels, found, color=SAMPLE, marker="o", ms=3, label=f"{samples.shape[1]} samples")
    ax.set(xlabel="nominal coverage", ylabel="empirical coverage", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend(loc="upper left")
    return figure


# ---- training


@_style()
def training(records: Sequence[Record]) -> Figure:
    """Losses, validation loss above its best (logarithmic: late gains are small and matter), learning rate.

    Most of a loss is noise in its targets: training and validation differ by their draws of it, so changes along each
    line mean more than the gap between them.  The training loss starts at the second record: the first has seen no update.
    """
    if not records:
        raise ValueError("`records` must hold at least one record; train for longer.")
    step, valid = np.array([r.step for r in records]), np.array([r.valid for r in records])
    loss, rate = (np.where(step > 0, [getattr(r, name) for r in records], np.nan) for name in ("loss", "rate"))
    best = int(np.nanargmin(valid))
    smooth, excess = _smooth(loss, max(1, len(loss) // 20)), valid - valid[best]
    figure = Figure((4.8, 4.0), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    top.plot(step, loss, color=SAMPLE, lw=0.6, alpha=0.35)
    top.plot(step, smooth, color=SAMPLE, label="training")
    top.plot(step, valid, color=MEAN, label="validation")
    top.plot(step[best], valid[best], "*", color=TRUTH, ms=8, label=f"best, {valid[best]:.5g} at step {step[best]}")
    top.set(ylabel="loss per component")
    _leave_out_the_start(top, step, np.stack([loss, valid]))
    middle.plot(step, np.where(excess > 0, excess, np.nan), color=MEAN)
    middle.set(ylabel="validation loss\nabove its best", yscale="log")
    if (excess > 0).any():
        middle.set_ylim(bottom=0.5 * np.quantile(excess[excess > 0], 0.05))
    bottom.plot(step, rate, color="0.3")
    bottom.set(ylabel="rate", xlabel="step", ylim=(0, None))
    for ax in (top, middle, bottom):
        ax.axvline(step[best], color="0.6", lw=0.8, ls=":", zorder=0)
    for before, after in itertools.pairwise(records):
        if after.window != before.window:
            top.axvline(before.step, color="0.85", lw=0.8, zorder=0)
            top.text(before.step, 1.0, f" window {after.window}", transform=top.get_xaxis_transform(), va="top", size=7)
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


# ---- parts

Array = NDArray[np.float64]


def _paths(states: Array, times: Array, layout: Layout, many: bool) -> Figure:
    """Components of a vector against time."""
    if not many:
        figure = Figure((4.6, 2.4), layout="constrained")
        ax = figure.subplots()
        for i, (line, color) in enumerate(zip(states.T, itertools.cycle((SAMPLE, MEAN, EXACT, ERROR, SEEN, TRUTH)))):
            ax.plot(times, line, color=color, label=f"$x_{{{i + 1}}}$")
        ax.set(xlabel="time $t$", ylabel=layout.names[0])
        if states.shape[1] > 1:
            figure.legend(loc="outside right center")
        return figure
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


def _space_time(states: Array, times: Array, layout: Layout, channel: int) -> Figure:
    """A one-dimensional field over space and time, with its first and last profile."""
    x = np.array(layout.coordinates[0])
    figure = Figure((WIDTH, 2.3), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.08})
    cmap, norm = _colours(states)
    drawn = left.pcolormesh(times, x, states.T, cmap=cmap, norm=norm, shading="nearest", rasterized=True)
    left.set(xlabel="time $t$", ylabel=f"${layout.axes[0]}$")
    figure.colorbar(drawn, ax=left, label=layout.names[channel], pad=0.02)
    left.set_xlim(times[0], times[-1])
    right.plot(x, states[0], color=TRUTH, label=f"$t = {times[0]:.3g}$")
    right.plot(x, states[-1], color=SEEN, ls=(0, (5, 1.5)), label=f"$t = {times[-1]:.3g}$")
    right.set(xlabel=f"${layout.axes[0]}$", ylabel=layout.names[channel])
    _angles(left.yaxis, layout)
    _angles(right.xaxis, layout)
    right.legend()
    return figure


def _gallery(truth: Array, seen: Array, ensemble: Array, layout: Layout, channel: int) -> Figure:
    """Rows of images, one per observation, over a bar for the states and one for the standard deviation."""
    n, k = ensemble.shape[:2]
    shown = min(k, 3)
    columns = [("observation $x_T$", seen)]
    columns += [(f"sample {i + 1}" if k > 1 else "reconstruction", ensemble[:, i]) for i in range(shown)]
    if k > 1:
        columns += [(f"mean of {k}", ensemble.mean(1)), ("std. deviation", ensemble.std(1, ddof=1))]
    columns.append(("truth $x_0$", truth))
    side = WIDTH / max(len(columns), 5)
    figure = Figure((side * len(columns), side * n + 0.8), layout="compressed")
    grid = figure.add_gridspec(n + 1, len(columns), height_ratios=[1.0] * n + [0.08])
    cmap, norm = _colours(np.stack([truth, seen]))
    spread = len(columns) - 2 if k > 1 else len(columns)
    for j, (title, images) in enumerate(columns):
        look = (SPREAD, Normalize(0, float(images.max()))) if j == spread else (cmap, norm)
        for i, image in enumerate(images):
            ax = figure.add_subplot(grid[i, j])
            drawn = _image(ax, image, *look)
            ax.set_title(title if i == 0 else "")
            if j == 0 and i == n - 1:
                _name_axes(ax, layout)
        if j == 0:
            states, drawn_states = figure.add_subplot(grid[n, :spread]), drawn
        if j == spread:
            bar = figure.add_subplot(grid[n, j])
            figure.colorbar(drawn, cax=bar, orientation="horizontal", ticks=MaxNLocator(2))
    low, high = ensemble[:, :shown].min() < norm.vmin, ensemble[:, :shown].max() > norm.vmax
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[low, high]
    figure.colorbar(drawn_states, cax=states, orientation="horizontal", label=layout.names[channel], extend=extend)
    return figure


def _fans(truth: Array, seen: Array, ensemble: Array, layout: Layout, channel: int) -> Figure:
    """Profiles of a one-dimensional field, one row per observation; on the right, less the median, what is uncertain."""
    x, n = np.array(layout.coordinates[0]), len(truth)
    figure = Figure((WIDTH, 0.8 + 1.25 * n), layout="constrained")
    axes = figure.subplots(n, 2, sharex=True, sharey="col", squeeze=False)
    for i, (left, right) in enumerate(axes):
        q = np.quantile(ensemble[i], (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
        for ax, base in ((left, 0.0), (right, q[2])):
            ax.fill_between(x, q[0] - base, q[4] - base, color=SAMPLE, alpha=0.2, lw=0, label="90 % of samples")
            ax.fill_between(x, q[1] - base, q[3] - base, color=SAMPLE, alpha=0.35, lw=0, label="50 % of samples")
            ax.plot(x, q[2] - base, color=SAMPLE, label="median")
            ax.plot(x, truth[i] - base, color=TRUTH, lw=1, label="truth $x_0$")
        left.plot(x, seen[i], color=SEEN, ls=(0, (5, 1.5)), label="observation $x_T$")
        left.set(ylabel=layout.names[channel], xlim=(x[0], x[-1]))
    axes[0, 1].set_title("less the median")
    for ax in axes[-1]:
        ax.set_xlabel(f"${layout.axes[0]}$")
        _angles(ax.xaxis, layout)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _histograms(truth: Array, seen: Array, ensemble: Array, layout: Layout) -> Figure:
    """One scalar: how many samples fall where, per observation."""
    figure, axes = _panels(len(truth), 1.9, layout.names[0], "share of samples")
    values = np.concatenate([a.ravel() for a in (truth, seen, ensemble)])
    margin = 0.05 * (np.ptp(values) or 1.0)
    edges = np.linspace(values.min() - margin, values.max() + margin, 49)
    many = ensemble.shape[1] > 1
    for i, ax in enumerate(axes):
        draws, share = ensemble[i].ravel(), np.full(ensemble.shape[1], 1 / ensemble.shape[1])
        ax.hist(draws, edges, weights=share, color=SAMPLE, alpha=0.7, label="samples" if many else "reconstruction")
        ax.axvline(truth[i, 0], color=TRUTH, label="truth $x_0$")
        ax.axvline(seen[i, 0], color=SEEN, ls=(0, (4, 1.5)), label="observation $x_T$")
        if many:
            ax.axvline(draws.mean(), color=MEAN, ls=(0, (1, 1)), label="mean")
        ax.set_title(f"$x_T = {seen[i, 0]:.2g}$")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _clouds(truth: Array, seen: Array, ensemble: Array, layout: Layout) -> Figure:
    """The first two coordinates of a vector: samples, mean, truth and observation."""
    figure, axes = _panels(len(truth), WIDTH / 3, "$x_1$", "$x_2$")
    many = ensemble.shape[1] > 1
    outline = {"ls": "", "mec": "w", "mew": 0.6}
    for i, ax in enumerate(axes):
        alpha, label = max(0.25, min(1.0, 60 / ensemble.shape[1])), "samples" if many else "reconstruction"
        ax.plot(*ensemble[i, :, :2].T, "o", color=SAMPLE, ms=3, mew=0, alpha=alpha, label=label)
        ax.plot(*seen[i, :2], marker="s", color=SEEN, ms=6, label="observation $x_T$", **outline)
        if many:
            ax.plot(*ensemble[i].mean(0)[:2], marker="D", color=MEAN, ms=6, label="mean", **outline)
        ax.plot(*truth[i, :2], marker="*", color=TRUTH, ms=11, label="truth $x_0$", **outline)
        ax.set_aspect("equal", adjustable="datalim")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _histograms(truth: Array, seen: Array, ensemble: Array, layout: Layout) -> Figure:
    """One scalar: how many samples fall where, per observation."""
    figure, axes = _panels(len(truth), 1.9)
    values = np.concatenate([a.ravel() for a in (truth, seen, ensemble)])
    margin = 0.05 * (np.ptp(values) or 1.0)
    edges = np.linspace(values.min() - margin, values.max() + margin, 49)
    for i, ax in enumerate(axes):
        draws = ensemble[i].ravel()
        ax.hist(draws, edges, weights=np.full(len(draws), 1 / len(draws)), color=SAMPLE, alpha=0.7, label="samples")
        ax.axvline(truth[i, 0], color=TRUTH, lw=1.3, label="truth $x_0$")
        ax.axvline(seen[i, 0], color=SEEN, lw=1.3, ls=(0, (4, 1.5)), label="observation $x_T$")
        ax.axvline(draws.mean(), color=MEAN, lw=1.3, ls=(0, (1, 1)), label="mean")
        ax.set_xlabel(layout.names[0])
    axes[0].set_ylabel("share of samples")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _panels(n: int, height: float, xlabel: str, ylabel: str) -> tuple[Figure, list[Axes]]:
    """``n`` equal panels with shared axes, three to a row."""
    columns, lines = min(n, 3), math.ceil(n / 3)
    figure = Figure((0.4 + (WIDTH - 0.4) * columns / 3, height * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for ax in grid.flat[n:]:
        ax.remove()
    for ax in grid.flat[max(n - columns, 0) : n]:
        ax.set_xlabel(xlabel)
        ax.tick_params(labelbottom=True)
    for ax in grid[:, 0]:
        ax.set_ylabel(ylabel)
    return figure, list(grid.flat[:n])


def _image(ax: Axes, image: Array, cmap: str, norm: Normalize) -> AxesImage:
    """Draw ``(x, y)`` with x to the right and y upward."""
    drawn = ax.imshow(image.T, cmap=cmap, norm=norm, origin="lower", interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    return drawn


def _name_axes(ax: Axes, layout: Layout) -> None:
    ax.set(xlabel=f"${layout.axes[0]}$", ylabel=f"${layout.axes[1]}$")
    if len(layout.axes) == 3:
        z = layout.coordinates[2]
        ax.set_xlabel(f"${layout.axes[0]}$  (${layout.axes[2]} = {z[len(z) // 2]:.3g}$)")


def _angles(axis: Axis, layout: Layout) -> None:
    """Ticks at multiples of pi on the usual periodic box."""
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


def _smooth(x: Array, reach: int) -> Array:
    """Means over up to ``reach`` neighbours on either side, NaN left out."""
    near = np.abs(np.subtract.outer(np.arange(len(x)), np.arange(len(x)))) <= reach // 2
    weight = near & np.isfinite(x)
    return np.where(np.isfinite(x), weight @ np.nan_to_num(x) / np.maximum(weight.sum(1), 1), np.nan)


def _leave_out_the_start(ax: Axes, step: Array, lines: Array) -> None:
    """Let the first 5 % of the steps run out of the picture if they would squeeze the rest into half of it."""
    late = lines[:, step >= 0.05 * step[-1]]
    low, high = np.nanmin(lines), np.nanmax(late)
    if np.nanmax(lines) - low > 2 * (high - low) > 0:
        ax.set_ylim(low - 0.05 * (high - low), high + 0.15 * (high - low))


def _array(x: Tensor) -> Array:
    return np.asarray(x.detach().double().cpu())


def _ensemble(samples: Tensor, truth: Tensor) -> None:
    if samples.ndim != truth.ndim + 1 or samples.shape[:1] + samples.shape[2:] != truth.shape:
        raise ValueError(
            f"`samples` must have shape (n, K, *state) for a truth of shape {tuple(truth.shape)}, "
            f"got {tuple(samples.shape)}."
        )
