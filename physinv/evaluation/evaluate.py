"""Evaluate a reconstruction file by metrics, with those of the exact posterior beside them where it is known."""

from __future__ import annotations

__all__ = ["Metric", "Row", "check", "check_predictive", "evaluate", "judge", "metrics_of", "to_json"]

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physinv.config.files import as_json
from physinv.config.inputs import check_instance
from physinv.config.seeds import seeds
from physinv.evaluation import metrics
from physinv.evaluation.checks import Check, check_samples, warnings
from physinv.evaluation.frames import Frame, Missing, exact_given
from physinv.evaluation.observed.predictive import PredictedFinals, Predictive, Way, check_prediction, predict
from physinv.evaluation.observed.records import check_record, predict_record
from physinv.evaluation.references import reference_for
from physinv.evaluation.spectra import spectral_error
from physinv.evaluation.unknown import parameter_metrics
from physinv.evaluation.verdict.baselines import baselines
from physinv.evaluation.verdict.certificate import certificate_rows, certificate_sentences
from physinv.evaluation.verdict.parameters import judge_parameters
from physinv.evaluation.verdict.words import TRUSTED, Verdict, verdict
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.posterior.reconstruction import Reconstruction, read_reconstruction
from physinv.processes.priors import OBSERVED_NOISE
from physinv.processes.varying import Varying

_ENSEMBLE = 2  # fewest members that have a spread
_SINGLE = 8  # draws of each observation that metrics of single reconstructions are averaged over
_OF_SINGLE = ("relative_l2", "crps", "energy_score")  # metrics that baselines without spread are given
_OF_ALL = (*_OF_SINGLE, "relative_l2_mean", "coverage_90", "spread_skill")


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
        climatology: Its value for initial states of the training data; None where it means nothing, or is not known.
        persistence: Its value for ``x_0 = x_T``.
        linear: Its value for the linear estimate.
    """

    metric: str
    value: float
    exact: float | None
    best: str
    about: str
    climatology: float | None = None
    persistence: float | None = None
    linear: float | None = None


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
    rivals = baselines(recon, seed=seed)
    rows = []
    for m in metrics_of(recon):
        beside = {b.name: m.value(b.samples) for b in rivals if m.name in (_OF_ALL if b.spread else _OF_SINGLE)}
        exact = None if reference is None else m.value(reference)
        rows.append(Row(m.name, m.value(recon.samples), exact, m.best, m.about, **beside))
    return rows + [Row(*stated) for stated in certificate_rows(recon)]


def judge(
    recon: Reconstruction | Path | str, rows: Sequence[Row], *, checks: Sequence[Check] = (), seed: int = 0
) -> Verdict:
    """Judge a reconstruction with known truths in sentences.

    Args:
        recon: The reconstruction, or its file.
        rows: Its metrics.
        checks: Its checks: where one of them says that the samples cannot be right, intervals are not said to be.
        seed: Seed of the draws of climatology and of the linear estimate.

    Returns:
        The verdict (:func:`~physinv.evaluation.verdict.words.verdict`).
    """
    recon = _read(recon)
    values = {row.metric: row.value for row in rows}
    rivals = baselines(recon, seed=seed)
    names = recon.info["run"].get("components", ())
    layout, doubted = recon.simulator.layout, bool(warnings(checks))
    found = verdict(recon.samples, recon.known_truth, layout, rivals, values, _unit(recon), names, doubted=doubted)
    unknown, (n, k) = recon.simulator.unknown, recon.samples.shape[:2]
    if not unknown or n < TRUSTED or k < 2:
        return found
    drawn, true = (layout.constants(x, unknown) for x in (recon.samples, recon.known_truth))
    said, warned = judge_parameters(drawn, true, {name: values.get(f"sbc_{name}", 1.0) for name in unknown})
    return Verdict((*found.sentences, *said, *warned), (*found.warnings, *warned))


def check_predictive(recon: Reconstruction | Path | str, *, seed: int = 0) -> tuple[PredictedFinals, Predictive] | None:
    """Make the posterior predictive check: run samples forward, and see where the observation lies among the results.

    Args:
        recon: The reconstruction, or its file, with or without true initial states.
        seed: Seed of the noise, where the file does not hold the final states that samples lead to.

    Returns:
        These final states, or the numbers that are seen of the runs where not all is observed, and the check
        (:func:`~physinv.evaluation.observed.predictive.check_prediction`,
        :func:`~physinv.evaluation.observed.records.check_record`); None where there is nothing to run samples by.

    Raises:
        ValueError: If the samples were changed in the file, and the physics that they were run by is not known.
    """
    recon = _read(recon)
    if recon.operator is not None:
        return _check_seen(recon, recon.operator, seed)
    if recon.predicted is not None and recon.predicted_clean is not None:
        prediction = PredictedFinals(recon.predicted, recon.predicted_clean)
    elif recon.simulator.known:
        generator = seeds(seed).child("evaluation", "prediction").generator()
        prediction = predict(recon.simulator, recon.simulator.times, recon.samples, generator=generator)
    elif recon.stale:
        raise ValueError(
            "the samples of `recon` were changed after they were written, and the run is needed to say where they "
            "lead; reconstruct again."
        )
    else:
        return None
    learned = not recon.simulator.known or recon.info["run"].get("settings", {}).get("physics") == "learned"
    way: Way = "regression" if recon.info.get("forward") == "regression" else "learned" if learned else "known"
    return prediction, check_prediction(prediction, recon.observation, recon.simulator.layout, way)


def _check_seen(recon: Reconstruction, operator: Observation, seed: int) -> tuple[PredictedFinals, Predictive] | None:
    """The check of numbers that were observed of final states, or at several times."""
    process, y = recon.simulator, recon.seen
    if not process.known or y is None:
        return None
    record, levels = recon.record or ObservationRecord((process.horizon, operator)), None
    if isinstance(process, Varying) and OBSERVED_NOISE in process.unknown:
        if record.level is None:  # of one final state, whose own noise is the middle of the prior
            level = dict(process.priors)[OBSERVED_NOISE]
            record = ObservationRecord((process.horizon, Observation(operator.operator, 1.0)), level=level)
        flat = process.values(recon.samples.flatten(0, 1))[:, process.unknown.index(OBSERVED_NOISE)]
        levels = flat.reshape(recon.samples.shape[:2])
    generator = seeds(seed).child("evaluation", "prediction").generator()
    prediction = predict_record(process, record, recon.samples, levels=levels, generator=generator)
    return prediction, check_record(prediction, y.flatten(1))


def check(recon: Reconstruction | Path | str, *, seed: int = 0) -> list[Check]:
    """Check the samples of a reconstruction by what needs no exact posterior.

    Args:
        recon: The reconstruction, or its file.
        seed: Seed of new noise, of places of patches and of bootstrap samples.

    Returns:
        The checks (:func:`~physinv.evaluation.checks.check_samples`); none for single estimates, which are no samples,
        and for records of several times, which samples of ``x_0`` do not tell alone.
    """
    recon = _read(recon)
    if recon.samples.shape[1] < _ENSEMBLE or recon.record is not None:
        return []
    final = recon.observation if recon.seen is None else recon.seen
    generator = seeds(seed).child("evaluation", "checks").generator()
    return check_samples(
        recon.samples,
        recon.known_truth,
        final,
        recon.simulator,
        observation=recon.operator,
        known=recon.climatology,
        names=recon.info.get("run", {}).get("components", ()),
        generator=generator,
    )


def to_json(
    rows: Sequence[Row],
    recon: Reconstruction,
    checks: Sequence[Check] = (),
    verdict: Verdict | None = None,
    predictive: Predictive | None = None,
    frames: Sequence[Frame] = (),
    missing: Missing | None = None,
) -> str:
    """Return the tables of metrics and checks, and how the reconstruction was made, as JSON.

    Args:
        rows: The table of metrics; numbers that are not finite are null, here and below.
        recon: The reconstruction that it is of.
        checks: The table of checks.
        verdict: The verdict in words.
        predictive: The posterior predictive check.
        frames: Metrics of the frames of trajectories.
        missing: Metrics of their missing entries.

    Returns:
        The text of a JSON file.
    """
    told = warnings(checks)
    content: dict[str, Any] = {"metrics": as_json(rows), "checks": as_json(checks)}
    if verdict is not None:
        content["verdict"] = verdict.sentences
        told += verdict.warnings
    if predictive is not None:
        content["predictive"] = as_json(predictive.rows)
        content["verdict"] = predictive.verdict
        told += predictive.warnings
    if frames:
        content["frames"] = as_json(frames)
    if missing is not None:
        content["missing"] = as_json([missing])[0]
    if certificate := recon.info.get("certificate"):
        content["certificate"] = {**certificate, "sentences": certificate_sentences(recon.info)}
    told += recon.info.get("familiarity", {}).get("warnings", [])
    content |= {"warnings": told, "reconstruction": recon.info}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def metrics_of(recon: Reconstruction) -> list[Metric]:
    """List the metrics that apply to a reconstruction.

    Static channels are inputs of the physics and enter no metric, nor do points without data.

    Args:
        recon: The reconstruction, whose truth the metrics compare with.

    Returns:
        The metrics, in the order of the table.
    """
    simulator, moving, scored = recon.simulator, recon.simulator.layout.moving, recon.simulator.layout.scored
    initial = recon.known_truth
    truth = scored(initial)

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
    if simulator.layout.has_bands:
        about = "log radial spectrum of one reconstruction against the truth's"
        found.append(Metric("spectral_error", "low", about, single(lambda x: spectral_error(moving(x), truth))))
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
        *(Metric(*found) for found in parameter_metrics(recon)),
    ]


def _read(recon: Reconstruction | Path | str) -> Reconstruction:
    """A reconstruction, read if it is a file."""
    recon = read_reconstruction(recon) if isinstance(recon, (str, Path)) else recon
    check_instance(recon, Reconstruction, "recon", "give the file that reconstruct(run, data, out) wrote")
    return recon


def _unit(recon: Reconstruction) -> str:
    """The unit that all numbers of a state have; nothing where they differ or have none."""
    told, layout = recon.info["run"], recon.simulator.layout
    names = told.get("components") or [name for name in layout.names if name not in layout.static]
    found = {told.get("units", {}).get(name, "") for name in names}
    return str(found.pop()) if len(found) == 1 else ""


def _exact_samples(recon: Reconstruction, seed: int) -> Tensor | None:
    """The exact answer to the question that the reconstruction answers, as an ensemble; None where it is not known."""
    exact, generator = recon.simulator.exact(), seeds(seed).child("evaluation", "exact").generator()
    n, final, answer = recon.samples.shape[1], recon.observation, recon.info["answer"]
    if recon.operator is not None:
        law = exact_given(recon)
        return None if law is None or recon.seen is None else law.sample(recon.seen, n, generator=generator)
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
