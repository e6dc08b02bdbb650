"""Processes of every kind of state with an ensemble to draw, and what a figure holds."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from physinv.processes.simulator import Simulator
from physinv.reports import plots as plot
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from simulators.vectors.quadratic import Quadratic

torch.set_num_threads(1)  # a process of its own draws the same numbers
KINDS: dict[str, Simulator] = {
    "heat 1-D": Heat(dimension=1),
    "heat 2-D": Heat(size=16),
    "heat 3-D": Heat(dimension=3, size=8, steps=8),
    "OU 1-D": OrnsteinUhlenbeck(dim=1),
    "OU 4-D": OrnsteinUhlenbeck(),
    "quadratic": Quadratic(),
    "double well": DoubleWell(),
    "double well 2-D": DoubleWell(dimension=2),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@functools.cache
def draw(kind: str, n: int = 4, members: int = 5) -> tuple[Simulator, Tensor, Tensor]:
    """The simulator, trajectories, and an ensemble: exact posterior samples where these are cheap, else the prior's."""
    simulator, generator = KINDS[kind], torch.Generator().manual_seed(0)
    paths = simulator.simulate(n, generator=generator)
    if isinstance(simulator, Heat | OrnsteinUhlenbeck):
        exact = simulator.exact()
        assert exact is not None
        return simulator, paths, exact.sample(paths[:, -1], members, generator=generator)
    return simulator, paths, simulator.initial(n * members, generator=generator).unflatten(0, (n, members))


def images(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for ax in figure.axes for image in ax.images]


def lines(figure: Figure, panel: int = 0) -> dict[str, np.ndarray]:
    """Data ``(points, 2)`` of the labelled lines of a panel."""
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in figure.axes[panel].lines}


def small() -> Figure:
    """One figure of few pixels."""
    simulator, paths, samples = draw("heat 2-D")
    return plot.reconstruction(paths[:, 0], paths[:, -1], samples, simulator.layout, rows=1)
