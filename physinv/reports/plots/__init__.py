"""Figures from tensors: trajectories, reconstructions, spectra, calibration, training.

Every function returns a :class:`matplotlib.figure.Figure` of its own, without pyplot: no display is needed and nothing
stays behind.
"""

from __future__ import annotations

__all__ = [
    "coverage_curve",
    "posterior",
    "predicted",
    "ranks",
    "reconstruction",
    "save",
    "spectra",
    "titled",
    "training",
    "trajectory",
    "with_units",
]

from physinv.reports.plots.curves import training
from physinv.reports.plots.laws import coverage_curve, ranks, spectra
from physinv.reports.plots.observed import posterior, predicted
from physinv.reports.plots.states import reconstruction, trajectory
from physinv.reports.plots.style import save, titled
from physinv.reports.plots.units import with_units


def __dir__() -> list[str]:
    """List the public names, for completion in notebooks."""
    return sorted(__all__)
