"""The figures of one reconstruction file."""

from __future__ import annotations

__all__ = ["draw_reconstruction"]

from pathlib import Path

from physinv.config.seeds import seeds
from physinv.evaluation.evaluate import check_predictive
from physinv.evaluation.metrics import rank_histogram
from physinv.posterior.reconstruction import Reconstruction


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

    folder.mkdir(parents=True, exist_ok=True)
    layout = recon.simulator.layout
    if recon.truth is None:
        return _draw_observed(recon, folder, seed)
    figures = {"reconstruction": plot.reconstruction(recon.truth, recon.observation, recon.samples, layout)}

    # Spectra of fields, with those of the exact posterior of whole observations.
    if layout.space:
        exact = None if recon.operator is not None else recon.simulator.exact()
        generator = seeds(seed).child("evaluation", "spectra").generator()
        reference = None if exact is None else exact.sample(recon.observation, 1, generator=generator)
        figures["spectra"] = plot.spectra(recon.truth, recon.observation, recon.samples, layout, reference)

    # Calibration of ensembles.
    if recon.samples.shape[1] > 1:
        generator = seeds(seed).child("evaluation", "ranks").generator()
        samples, truth = layout.moving(recon.samples), layout.moving(recon.truth)
        figures["ranks"] = plot.ranks(rank_histogram(samples, truth, generator=generator), layout)
        figures["coverage"] = plot.coverage_curve(samples, truth)
    for name, figure in figures.items():
        plot.save(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]


def _draw_observed(recon: Reconstruction, folder: Path, seed: int) -> list[Path]:
    """The figures of observations without truth."""
    from physinv.reports import plots as plot

    layout = recon.simulator.layout
    figures = {"posterior": plot.posterior(recon.observation, recon.samples, layout)}
    if (found := check_predictive(recon, seed=seed)) is not None:
        prediction, result = found
        distances = [row.distance for row in result.rows], [row.expected for row in result.rows]
        figures["predicted"] = plot.predicted(recon.observation, prediction.noisy, distances, layout)
    for name, figure in figures.items():
        plot.save(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]
