"""Figures of observations without truth: samples beside what was observed, and what they lead to against it."""

from __future__ import annotations

__all__ = ["posterior", "predicted"]

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from physinv.config.inputs import Numbers, States, as_states, as_tensor
from physinv.processes.layout import StateLayout
from physinv.reports.plots.style import (
    BLACK,
    BLUE,
    ORANGE,
    SEEN,
    WIDTH,
    array,
    central_plane,
    check_layout,
    check_members,
    colour_scale,
    draw_image,
    house_style,
)

_ROWS = 3  # observations that are shown
_FAR = 20  # times the expected distance, from which on distances are drawn on a logarithmic axis
_POINTS = 600  # numbers that are drawn


@house_style()
def posterior(observation: States, samples: Numbers, layout: StateLayout) -> Figure:
    """Draw the first observations beside the samples of their initial states.

    Fields in the plane: images of observation, mean and standard deviation of the samples, and a sample. All others:
    every number of a state with the central 50 and 90 % of its samples, beside the observed one.

    Args:
        observation: Observed final states.
        samples: Posterior samples of each.
        layout: Layout of the states.

    Returns:
        The figure.

    Raises:
        ValueError: If the states have not the shape of ``layout``, or do not fit each other.
    """
    check_layout(layout)
    observation, samples = as_states(observation, "observation", layout.shape), as_tensor(samples, "samples")
    check_members(samples, observation)
    rows = min(_ROWS, len(observation))
    channel = next((c for c, name in enumerate(layout.names) if name not in layout.static), 0)
    y, x = array(observation[:rows], layout), array(samples[:rows], layout)
    if len(layout.space) > 1:
        y, x = central_plane(y[:, channel], layout), central_plane(x[:, :, channel], layout)
        columns = {"observation $x_T$": y, "sample of $x_0$": x[:, 0], "mean": x.mean(1), "std. deviation": x.std(1)}
        figure = Figure((WIDTH, 1.9 * rows), layout="constrained")
        axes = figure.subplots(rows, len(columns), squeeze=False)
        for j, (title, images) in enumerate(columns.items()):
            look = colour_scale(images if j in (0, 3) else np.concatenate([x[:, 0], x.mean(1)]))
            for i, image in enumerate(images):
                drawn = draw_image(axes[i, j], image, *look)
            axes[0, j].set_title(title)
            figure.colorbar(drawn, ax=list(axes[:, j]), orientation="horizontal", fraction=0.06, pad=0.03)
        return figure
    place = np.asarray(layout.coordinates[0]) if layout.space else np.arange(y[0].size)
    if layout.space:
        y, x = y[:, channel], x[:, :, channel]
    figure = Figure((WIDTH, 1.9 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
    for ax, seen, draws in zip(axes, y.reshape(rows, -1), x.reshape(rows, x.shape[1], -1), strict=True):
        low, left, middle, right, high = np.quantile(draws, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
        if layout.space:
            ax.fill_between(place, low, high, color=BLUE, alpha=0.2, lw=0, label="central 90 % of $x_0$")
            ax.fill_between(place, left, right, color=BLUE, alpha=0.3, lw=0, label="central 50 %")
            ax.plot(place, middle, color=BLUE, label="median")
            ax.plot(place, seen, **SEEN)
        else:
            ax.vlines(place, low, high, color=BLUE, lw=1, label="central 90 % of $x_0$")
            ax.vlines(place, left, right, color=BLUE, lw=3, alpha=0.5, label="central 50 %")
            ax.plot(place, middle, "_", color=BLUE, label="median")
            ax.plot(place, seen, "o", ms=4, color=ORANGE, label="observation $x_T$")
        ax.set_ylabel(layout.names[channel])
    axes[-1].set_xlabel(layout.axes[0] if layout.space else "component")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@house_style()
def predicted(
    observation: States,
    noisy: Numbers,
    distances: tuple[list[float], list[float]],
    layout: StateLayout,
) -> Figure:
    """Draw observed numbers against predicted ones, and the distance of each observation beside the expected one.

    Args:
        observation: Observed final states.
        noisy: Final states that samples lead to, with noise.
        distances: chi^2 per number of each observation, and the expected ones; empty where there are none.
        layout: Layout of the states.

    Returns:
        The figure.

    Raises:
        ValueError: If the states have not the shape of ``layout``, or do not fit each other.
    """
    check_layout(layout)
    observation, noisy = as_states(observation, "observation", layout.shape), as_tensor(noisy, "noisy")
    check_members(noisy, observation)
    y, x = array(layout.scored(observation)), array(layout.scored(noisy))
    y, x = y.reshape(-1), np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    pick = np.unique(np.linspace(0, len(y) - 1, min(_POINTS, len(y))).round().astype(int))
    y, (low, middle, high) = y[pick], np.quantile(x[:, pick], (0.05, 0.5, 0.95), axis=0)
    ours, expected = distances
    figure = Figure((WIDTH, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    bars = np.stack([middle - low, high - middle])
    left.errorbar(y, middle, yerr=bars, fmt=".", ms=3, lw=0.5, color=BLUE, label="median and central 90 %")
    ends = np.array([min(y.min(), low.min()), max(y.max(), high.max())])
    left.plot(ends, ends, color=BLACK, lw=0.8, label="observed = predicted")
    name = ", ".join(n for n in layout.names if n not in layout.static)
    left.set(xlabel=f"observed {name} at T", ylabel=f"{name} that samples lead to")
    right.plot(range(len(ours)), ours, "o", ms=4, color=BLUE, label="samples run forward")
    right.plot(range(len(expected)), expected, "_", ms=8, color=ORANGE, label="expected by chance")
    right.set(xlabel="observation", ylabel=r"$\chi^2$ per number")
    right.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if ours:
        far = max(ours) > _FAR * max(expected)
        right.set(yscale="log") if far else right.set_ylim(0, 1.15 * max(*ours, *expected))
    lines = [ax.get_legend_handles_labels() for ax in (left, right)]
    figure.legend(*map(list.__add__, *lines), loc="outside lower center", ncols=4)
    return figure
