"""Evaluate a reconstruction file by metrics, with those of the exact posterior beside them where it is known."""

from __future__ import annotations

__all__ = ["Metric", "Row", "check", "evaluate", "metrics_of", "write_json"]

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from physinv.config.files import write_text
from physinv.config.inputs import check_instance
from physinv.config.seeds import seeds
from physinv.evaluation import metrics
from physinv.evaluation.checks import Check, check_samples, warnings
from physinv.evaluation.references import reference_for
from physinv.evaluation.spectra import spectral_error
from physinv.laws.exact import LinearGaussian
from physinv.posterior.reconstruction import Reconstruction, read_reconstruction

_ENSEMBLE = 2  # fewest members that have a spread
_SINGLE = 8  # draws of each observation that metrics of single reconstructions are averaged over
_SHORTEST = 8  # points along an axis from which a spectrum has shells to compare


@dataclass(frozen=True)
class Metric:
    """A metric of ensembles, ready to be computed.

    Args:
        name: Name of the metric, as in tables.
        best: The best value: ``"low"``, ``"high"``, or a number as text.
        about: What it measures, in one line.
        value: Samples ``(batch, members, *state)`` to the metric.
    """

    name: str
    best: str
    about: str
    value: Callable[[Tensor], float]


@dataclass(frozen=True)
class Row:
    """One line of the table of metrics.

    Args:
        metric: Name of the metric.
        value: Its value for the reconstruction.
        exact: Its value for the exact answer to the same question; None where that is not known.
        best: The best value: ``"low"``, ``"high"``, or a number as text.
        about: What it measures, in one line.
    """

    metric: str
    value: float
    exact: float | None
    best: str
    about: str


def evaluate(recon: Reconstruction | Path | str, *, seed: int = 0) -> list[Row]:
    """Compute all metrics that apply to a reconstruction.

    Samples are compared with samples of the exact posterior, ``flow`` with the exact probability flow, ``mean`` and
    ``mean-flow`` with the exact posterior mean: three questions with three answers.

    Args:
        recon: The reconstruction, or the file that :func:`~physinv.runs.reconstruct.reconstruct` wrote.
        seed: Seed of the exact posterior's samples, as many as the reconstruction has.

    Returns:
        One row for each metric.
    """
    recon = _read(recon)
    reference = _exact_samples(recon, seed)
    return [
        Row(m.name, m.value(recon.samples), None if reference is None else m.value(reference), m.best, m.about)
        for m in metrics_of(recon)
    ]


def check(recon: Reconstruction | Path | str, *, seed: int = 0) -> list[Check]:
    """Check the samples of a reconstruction by what needs no exact posterior.

    Args:
        recon: The reconstruction, or its file.
        seed: Seed of new noise, of places of patches and of bootstrap samples.

    Returns:
        The checks (:func:`~physinv.evaluation.checks.check_samples`); none for single estimates, which are no samples.
    """
    recon = _read(recon)
    if recon.samples.shape[1] < _ENSEMBLE:
        return []
    final = recon.observation if recon.seen is None else recon.seen
    generator = seeds(seed).child("evaluation", "checks").generator()
    return check_samples(
        recon.samples, recon.truth, final, recon.simulator, observation=recon.operator, generator=generator
    )


def write_json(rows: list[Row], recon: Reconstruction, path: Path, checks: Sequence[Check] = ()) -> None:
    """Write the tables of metrics and checks, and how the reconstruction was made, as JSON.

    Args:
        rows: The table of metrics.
        recon: The reconstruction that it is of.
        path: The file to write, whole or not at all.
        checks: The table of checks; numbers that are not finite are null.
    """
    told = [
        {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in dataclasses.asdict(c).items()}
        for c in checks
    ]
    content = {
        "metrics": [dataclasses.asdict(r) for r in rows],
        "checks": told,
        "warnings": warnings(checks),
        "reconstruction": recon.info,
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def metrics_of(recon: Reconstruction) -> list[Metric]:
    """List the metrics that apply to a reconstruction.

    Static channels are inputs of the physics and enter no metric, nor do points without data.

    Args:
        recon: The reconstruction, whose truth the metrics compare with.

    Returns:
        The metrics, in the order of the table.
    """
    simulator, moving, scored = recon.simulator, recon.simulator.layout.moving, recon.simulator.layout.scored
    truth, initial = scored(recon.truth), recon.truth

    def single(metric: Callable[[Tensor], Tensor]) -> Callable[[Tensor], float]:
        return lambda s: float(torch.stack([metric(s[:, i]) for i in range(min(_SINGLE, s.shape[1]))]).mean())

    def ensemble(metric: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], float]:
        return lambda s: float(metric(scored(s), truth))

    def forward(x: Tensor) -> Tensor:
        return moving(simulator.run(x, noise=False)[:, -1])

    # Metrics of single reconstructions.
    found = [
        Metric(
            "relative_l2",
            "low",
            "one reconstruction against the truth, |x - truth| / |truth|",
            ensemble(metrics.sample_relative_l2),
        )
    ]
    if simulator.known:
        about = "pushed forward without noise, against the truth pushed forward"
        value = single(lambda x: metrics.reconstruction_error(x, initial, forward))
        found.append(Metric("reconstruction_mse", "low", about, value))
    if simulator.layout.space and not simulator.layout.mask and min(initial.shape[2:]) >= _SHORTEST:
        about = "log radial spectrum of one reconstruction against the truth's"
        found.append(Metric("spectral_error", "low", about, single(lambda x: spectral_error(x, initial))))
    if recon.samples.shape[1] < _ENSEMBLE:
        return found

    # Metrics of ensembles.
    def of_mean(s: Tensor) -> float:
        return float(metrics.relative_l2(scored(s.mean(1)), truth))

    return [
        *found,
        Metric("relative_l2_mean", "low", "the ensemble mean against the truth", of_mean),
        Metric("crps", "low", "fair CRPS per component", ensemble(metrics.crps)),
        Metric("energy_score", "low", "fair energy score of whole states", ensemble(metrics.energy_score)),
        Metric("coverage_90", "0.9", "share of components in the central 90 % interval", ensemble(metrics.coverage)),
        Metric("spread_skill", "1", "ensemble spread over the error of its mean", ensemble(metrics.spread_skill)),
    ]


def _read(recon: Reconstruction | Path | str) -> Reconstruction:
    """A reconstruction, read if it is a file."""
    recon = read_reconstruction(recon) if isinstance(recon, (str, Path)) else recon
    check_instance(recon, Reconstruction, "recon", "give the file that reconstruct(run, data, out) wrote")
    return recon


def _exact_samples(recon: Reconstruction, seed: int) -> Tensor | None:
    """The exact answer to the question that the reconstruction answers, as an ensemble; None where it is not known."""
    exact, generator = recon.simulator.exact(), seeds(seed).child("evaluation", "exact").generator()
    n, final, answer = recon.samples.shape[1], recon.observation, recon.info["answer"]
    if recon.operator is not None:
        if isinstance(exact, LinearGaussian) and recon.seen is not None:
            return exact.given(recon.operator).sample(recon.seen, n, generator=generator)
        return None
    if exact is None:
        stored = reference_for(recon.simulator)
        if stored is None or answer == "flow" or stored.places(final) is None:
            return None
        if answer == "samples":
            return stored.sample(final, min(n, stored.draws.shape[1]), generator=generator)
        return stored.mean_of(final)[:, None]
    if answer == "samples":
        return exact.sample(final, n, generator=generator)
    return (exact.flow(final) if answer == "flow" else exact.mean(final))[:, None]
