"""The figures of one reconstruction file."""

from __future__ import annotations

__all__ = ["FIGURES", "draw_reconstruction", "picture"]

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.evaluation.evaluate import check_predictive
from physinv.evaluation.metrics import rank_histogram
from physinv.laws.observation import seen_components
from physinv.posterior.reconstruction import Reconstruction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("reconstruction", "spectra", "ranks", "coverage", "posterior", "predicted")
"""Names of all figures that may be drawn."""


def picture(recon: Reconstruction) -> Figure:
    """Draw observations beside posterior samples, and the truth if it is known; what was not seen is drawn as unseen.

    Args:
        recon: The reconstruction.

    Returns:
        The figure, with its title.
    """
    from physinv.reports import plots as plot
    from physinv.reports.plots.pictures.base import first_moving

    layout = recon.simulator.layout
    if recon.truth is None:
        figure = plot.posterior(recon.observation, recon.samples, layout)
    else:
        figure = plot.reconstruction(recon.truth, _shown(recon), recon.samples, layout, channel=first_moving(layout))
    _units(figure, recon)
    return plot.titled(figure, f"{_name(recon)}: initial states given final ones")


def draw_reconstruction(recon: Reconstruction, folder: Path, *, seed: int = 0) -> list[Path]:
    """Draw reconstructions, spectra (fields), and for ensembles a rank histogram and a coverage curve.

    Of observations without truth: samples beside what was observed, and what they lead to against it.

    Args:
        recon: The reconstruction.
        folder: Folder that gets the PNG files; made if it does not exist.
        seed: Seed of the exact posterior's samples, and of the ranks of ties.

    Returns:
        The files written.
    """
    from physinv.reports import plots as plot
    from physinv.reports.plots.pictures.base import first_moving

    folder.mkdir(parents=True, exist_ok=True)
    layout, name = recon.simulator.layout, _name(recon)
    if recon.truth is None:
        return _draw_observed(recon, folder, seed)
    figures = {"reconstruction": picture(recon)}

    # Spectra of fields, with those of the exact posterior of whole observations.
    if layout.space:
        exact = None if recon.operator is not None else recon.simulator.exact()
        generator = seeds(seed).child("evaluation", "spectra").generator()
        reference = None if exact is None else exact.sample(recon.observation, 1, generator=generator)
        figures["spectra"] = plot.spectra(
            recon.truth, recon.observation, recon.samples, layout, reference, channel=first_moving(layout)
        )
        plot.titled(figures["spectra"], f"{name}: power spectra")

    # Calibration of ensembles.
    if recon.samples.shape[1] > 1:
        generator = seeds(seed).child("evaluation", "ranks").generator()
        samples, truth = layout.moving(recon.samples), layout.moving(recon.truth)
        figures["ranks"] = plot.ranks(rank_histogram(samples, truth, generator=generator), layout)
        plot.titled(figures["ranks"], f"{name}: ranks of the truth")
        figures["coverage"] = plot.coverage_curve(samples, truth)
        plot.titled(figures["coverage"], f"{name}: coverage")
    return _saved(figures, folder)


def _draw_observed(recon: Reconstruction, folder: Path, seed: int) -> list[Path]:
    """The figures of observations without truth."""
    from physinv.reports import plots as plot

    layout, name = recon.simulator.layout, _name(recon)
    figures = {"posterior": picture(recon)}
    if recon.operator is None and (found := check_predictive(recon, seed=seed)) is not None:
        prediction, result = found
        distances = [row.distance for row in result.rows], [row.expected for row in result.rows]
        figures["predicted"] = plot.predicted(recon.observation, prediction.noisy, distances, layout)
        _units(figures["predicted"], recon)
        plot.titled(figures["predicted"], f"{name}: samples run forward, against what was observed")
    return _saved(figures, folder)


def _units(figure: Figure, recon: Reconstruction) -> None:
    """Write the units that the run knows at the labels of a figure."""
    from physinv.reports import plots as plot

    told = recon.info["run"]
    plot.with_units(figure, recon.simulator.layout, told.get("units", {}), told.get("components", ()))


def _saved(figures: dict[str, Figure], folder: Path) -> list[Path]:
    """Write figures, and list their files."""
    from physinv.reports import plots as plot

    for name, figure in figures.items():
        plot.save(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]


def _name(recon: Reconstruction) -> str:
    """The process and the method, for titles."""
    return f"{recon.info['simulator']}, {recon.called}"


def _shown(recon: Reconstruction) -> Tensor:
    """What was observed, with NaN where nothing was."""
    if (operator := recon.operator) is None:
        return recon.observation
    seen = seen_components(operator, recon.observation[0])
    return torch.where(seen, recon.observation, torch.nan)
