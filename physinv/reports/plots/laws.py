"""Laws of posterior samples: their spectra, and whether they are calibrated."""

from __future__ import annotations

__all__ = ["coverage_curve", "ranks", "spectra"]

import math

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from torch import Tensor

from physinv.config.inputs import Numbers, States, as_states, as_tensor, describe
from physinv.evaluation.metrics import coverage
from physinv.evaluation.spectra import radial_spectrum
from physinv.processes.layout import StateLayout
from physinv.reports.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    MEAN,
    PINK,
    SEEN,
    TRUTH,
    Look,
    array,
    check_layout,
    check_members,
    house_style,
)


@house_style()
def spectra(
    truth: States,
    observation: States,
    samples: Numbers,
    layout: StateLayout,
    exact_samples: Float[Tensor, "n m *state"] | None = None,
    *,
    channel: int = 0,
) -> Figure:
    """Draw radial power spectra of fields, averaged over the batch, without the shell of wave number 0.

    A posterior sample has the power of the truth at every wave number. Its error has twice that power at wave numbers
    that the observation does not inform, and there the mean of K samples keeps 1/K of their variance. Power that
    rounding alone could produce is not drawn.

    Args:
        truth: Initial states.
        observation: Final states.
        samples: Posterior samples.
        layout: Layout of the fields.
        exact_samples: Samples of the exact posterior, if it is known.
        channel: Channel that is shown.

    Returns:
        The figure.

    Raises:
        ValueError: If the states are no fields, or the shapes do not fit each other.
    """
    check_layout(layout, channel)
    if not layout.space:
        raise ValueError(f"`layout` must be that of a field to have spectra, got states of shape {layout.shape}.")
    truth, observation = as_states(truth, "truth", layout.shape), as_states(observation, "observation", layout.shape)
    samples, truth = check_members(samples, truth)
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
        ax.plot(array(wave[1:]), array(torch.where(mean > rounding, mean, math.nan)[1:]), **look)
    powers = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])
    if np.isfinite(powers).any():
        ax.set_yscale("log")
    else:
        ax.text(0.5, 0.5, "no power: these fields do not vary", transform=ax.transAxes, ha="center")
    ax.set(xscale="log", xlim=(0.9, 1.1 * float(wave[-1])))
    ax.set(xlabel="wave number $|k|$", ylabel=r"power per mode $\langle|u_k|^2\rangle$")
    ax.xaxis.set_major_locator(LogLocator(2))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    figure.legend(loc="outside right center")
    return figure


@house_style()
def ranks(counts: Numbers, layout: StateLayout | None = None) -> Figure:
    """Draw a rank histogram over its mean, and the 95 % band of a calibrated one.

    A count of N independent ranks is binomial with probability 1/(K + 1). Components of one state are dependent: if
    there are several, the figure says that counts may leave the band more often.

    Args:
        counts: How often the truth had each rank, from :func:`physinv.evaluation.metrics.rank_histogram`.
        layout: Layout of the states, if several components of a state were ranked.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no ranks, or counts that are none.
    """
    counts = as_tensor(counts, "counts")
    if counts.ndim != 1:
        raise ValueError(f"`counts` must be numbers along one axis, got {describe(counts)}; give a rank_histogram.")
    if bool((counts < 0).any() | (counts != counts.round()).any()):
        raise ValueError(f"`counts` must be whole numbers from 0, got {counts.tolist()[:4]}; give a rank_histogram.")
    k, total = len(counts) - 1, int(counts.sum())
    if total < 1:
        raise ValueError("`counts` must hold at least one rank, got none.")
    from scipy.stats import binom  # which takes a second to import

    mean = total / (k + 1)
    low, high = (float(binom.ppf(q, total, 1 / (k + 1))) / mean for q in (0.025, 0.975))
    figure = Figure((4.0, 2.6), layout="constrained")
    ax = figure.subplots()
    ax.bar(np.arange(k + 1), array(counts) / mean, width=0.86, color=BLUE, alpha=0.75)
    ax.axhspan(low, high, color="0.6", alpha=0.4, lw=0, zorder=0, label="95 % band for independent ranks")
    for edge in (low, high):  # where bars hide the band
        ax.axhline(edge, color="0.35", lw=0.8, ls=":")
    ax.axhline(1, color=BLACK, lw=1, label="calibrated")
    ax.set(xlabel=f"rank of the truth among {k} samples", ylabel="frequency / uniform", xlim=(-0.7, k + 0.7))
    ax.set_ylim(0, 1.15 * max(high, float(counts.max()) / mean))
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    several = layout is not None and math.prod(layout.shape) > 1
    note = "; components of a state are dependent:\nexpect more scatter than the band shows" if several else ""
    ax.set_title(f"{total:,} ranks{note}", loc="left", fontsize=8)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@house_style()
def coverage_curve(
    samples: Float[Tensor, "n k *state"],
    truth: Float[Tensor, "n *state"],
    exact_samples: Float[Tensor, "n m *state"] | None = None,
) -> Figure:
    """Draw the empirical coverage of central intervals against the nominal one.

    The band is 95 % of a binomial with one trial per state. It is too wide, if anything, since a state has many
    components.

    Args:
        samples: Posterior samples.
        truth: Initial states.
        exact_samples: Samples of the exact posterior, if it is known.

    Returns:
        The figure.

    References:
        :func:`physinv.evaluation.metrics.coverage`.
    """
    from scipy.stats import binom  # which takes a second to import

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
