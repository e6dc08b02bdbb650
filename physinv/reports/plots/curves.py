"""Training curves."""

from __future__ import annotations

__all__ = ["training"]

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physinv.config.inputs import describe
from physinv.reports.plots.style import BLACK, BLUE, RED, Array, house_style
from physinv.training.validation import History, ValidationRecord


@house_style()
def training(records: History | Sequence[ValidationRecord]) -> Figure:
    """Draw losses, the validation loss above its best (logarithmic, since late gains are small) and the learning rate.

    A loss is mostly noise in its targets, drawn anew for training and validation: changes along each line mean more
    than the gap between them. Loss and rate begin at the second record, since the first precedes all updates.

    Args:
        records: The log of a training, or its lines, at least one.

    Returns:
        The figure.

    Raises:
        ValueError: If there are none.
    """
    records = records.records if isinstance(records, History) else records
    if not isinstance(records, Sequence) or not all(isinstance(record, ValidationRecord) for record in records):
        raise ValueError(f"`records` must be the log of a training, got {describe(records)}; give what fit returned.")
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
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _smooth(x: Array, reach: int) -> Array:
    """Mean over ``reach`` neighbours on either side; NaN counts in no mean and stays NaN."""
    index = np.arange(len(x))
    weight = (np.abs(index[:, None] - index) <= reach) & np.isfinite(x)
    return np.where(np.isfinite(x), weight @ np.nan_to_num(x) / np.maximum(weight.sum(1), 1), np.nan)


def _skip_the_start(ax: Axes, step: Array, lines: Array) -> None:
    """Let the first 5 % of the steps run out of the picture if they would squeeze the rest into half of it."""
    low, high = np.nanmin(lines), np.nanmax(lines[:, step >= 0.05 * step[-1]])
    if np.nanmax(lines) - low > 2 * (high - low) > 0:
        ax.set_ylim(low - 0.05 * (high - low), high + 0.15 * (high - low))
