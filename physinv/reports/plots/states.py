"""Figures of states: trajectories, and reconstructions beside the truth."""

from __future__ import annotations

__all__ = ["reconstruction", "trajectory"]

from matplotlib.figure import Figure

from physinv.config.inputs import Numbers, States, Times, as_states, as_tensor, as_times, check_batch, check_count
from physinv.processes.layout import StateLayout
from physinv.reports.plots.pictures import picture_of
from physinv.reports.plots.style import array, check_layout, check_members, house_style


@house_style()
def trajectory(
    states: Numbers,
    times: Times,
    layout: StateLayout,
    *,
    channel: int = 0,
    frames: int = 6,
) -> Figure:
    """Draw how states change in time.

    Fields in two dimensions: images from the first to the last time; in three dimensions the same of the central plane;
    in one a space-time image beside the first and last profile. Vectors: components against time, one trajectory in one
    panel, many in a panel per component (four at most), coloured by where that component started. Particles: scatter
    plots, with the path of each particle since the last one.

    Args:
        states: One trajectory ``(time, *state)``; of vectors also many, ``(n, time, dim)``.
        times: Stored times, in the process's unit.
        layout: Layout of the states.
        channel: Channel of fields that is shown.
        frames: Number of images or scatter plots.

    Returns:
        A figure of its own.

    Raises:
        ValueError: If ``states`` do not fit ``times`` and ``layout``.
    """
    check_layout(layout, channel)
    check_count(frames, "frames")
    states, times = as_tensor(states, "states"), as_times(times)
    picture, one = picture_of(layout), len(layout.shape) + 1
    many = picture.together > 1 and states.ndim == one + 1
    if states.ndim != one + many or states.shape[int(many)] != len(times):
        raise ValueError(
            f"`states` must hold {len(times)} states of {one - 1} axes each, as `times` and `layout` say, "
            f"got shape {tuple(states.shape)}."
        )
    if not states.numel():
        raise ValueError(f"`states` must hold one trajectory or more, got shape {tuple(states.shape)}.")
    return picture.trajectory(array(states, layout), array(times), layout, channel, frames)


@house_style()
def reconstruction(
    truth: States,
    observation: States,
    samples: Numbers,
    layout: StateLayout,
    rows: int = 3,
    *,
    channel: int = 0,
) -> Figure:
    """Draw observations, their posterior samples and the true initial states.

    Fields in two dimensions (three: the central plane): one row per observation, from the observation over three
    samples, their mean and standard deviation to the truth. States share one colour scale, set by truth and
    observation; the standard deviation has its own, from 0. In one dimension: profiles over the central 50 and 90 % of
    the samples, and the same less the median. Vectors: per observation a histogram (one coordinate) or a scatter plot
    (the first two). Particles: one row per observation, coloured by species.

    Args:
        truth: Initial states.
        observation: Final states, or pictures of what was observed of them.
        samples: Posterior samples of each observation.
        layout: Layout of the states.
        rows: Number of observations that are shown, from the first on.
        channel: Channel of fields that is shown.

    Returns:
        A figure of its own.

    Raises:
        ValueError: If the states have not the shape of ``layout``, or do not fit each other.
    """
    check_layout(layout, channel)
    check_count(rows, "rows")
    truth, observation = as_states(truth, "truth", layout.shape), as_states(observation, "observation", layout.shape)
    check_batch(observation, "observation", truth, "truth")
    samples, truth = check_members(samples, truth)
    x, y, ensemble = (array(states[:rows], layout) for states in (truth, observation, samples))
    return picture_of(layout).reconstruction(x, y, ensemble, layout, channel)
