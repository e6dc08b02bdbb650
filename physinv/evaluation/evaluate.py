"""Score a reconstruction file, with the exact posterior's values beside ours where they are known."""

from __future__ import annotations

__all__ = ["Row", "draw", "evaluate", "write_json"]

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.evaluation import metrics
from physinv.evaluation.spectra import spectral_error
from physinv.laws.exact import LinearGaussian
from physinv.posterior.reconstruct import Reconstruction
from physinv.training.checkpoint import write_atomically

_ENSEMBLE = 2  # members needed for the probabilistic scores


@dataclass(frozen=True)
class Row:
    """A metric: our value, the exact posterior's (or None), and what is best (``low``, ``high`` or a number)."""

    metric: str
    value: float
    exact: float | None
    best: str
    about: str


def evaluate(recon: Reconstruction, *, seed: int = 0) -> list[Row]:
    """All metrics that apply to the method and the state; the exact column uses as many exact draws as ours.

    ``sde`` is held against exact posterior samples, ``flow`` against the exact probability flow, ``mean-flow`` against
    the exact posterior mean: three questions, three answers.
    """
    exact, operator = recon.simulator.exact(), recon.operator
    reference: Tensor | None = None
    if operator is not None:
        if isinstance(exact, LinearGaussian) and recon.seen is not None:
            generator = seeds(seed).child("evaluation", "exact").generator()
            reference = exact.given(operator).sample(recon.seen, recon.samples.shape[1], generator=generator)
    elif exact is not None:
        n, final, method = recon.samples.shape[1], recon.observation, recon.info["method"]
        if method == "sde":
            reference = exact.sample(final, n, generator=seeds(seed).child("evaluation", "exact").generator())
        else:
            reference = (exact.flow(final) if method == "flow" else exact.mean(final))[:, None]
    rows = []
    for name, best, about, score in _scores(recon):
        ours = score(recon.samples)
        rows.append(Row(name, ours, None if reference is None else score(reference), best, about))
    return rows


def write_json(rows: list[Row], recon: Reconstruction, path: Path) -> None:
    """The table and how the reconstruction was made, as JSON."""
    text = json.dumps({"metrics": [dataclasses.asdict(r) for r in rows], "reconstruction": recon.info}, indent=1)
    write_atomically(path, lambda tmp: tmp.write_text(text + "\n", "utf-8"))


def draw(recon: Reconstruction, folder: Path, *, seed: int = 0) -> list[Path]:
    """Figures: reconstructions, spectra (fields), rank histogram and coverage curve (samples)."""
    from physinv.reports import plots as plot

    folder.mkdir(parents=True, exist_ok=True)
    layout, k = recon.simulator.layout, recon.samples.shape[1]
    figures = {"reconstruction": plot.reconstruction(recon.truth, recon.observation, recon.samples, layout)}
    if layout.kind == "field":
        exact = recon.simulator.exact()
        generator = seeds(seed).child("evaluation", "spectra").generator()
        reference = (
            None
            if exact is None or recon.operator is not None
            else exact.sample(recon.observation, 1, generator=generator)
        )
        figures["spectra"] = plot.spectra(recon.truth, recon.observation, recon.samples, layout, reference)
    if k >= _ENSEMBLE:
        generator = seeds(seed).child("evaluation", "ranks").generator()
        samples, truth = layout.moving(recon.samples), layout.moving(recon.truth)
        figures["ranks"] = plot.ranks(metrics.rank_histogram(samples, truth, generator=generator), layout)
        figures["coverage"] = plot.coverage_curve(samples, truth)
    for name, figure in figures.items():
        plot.save(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]


Score = tuple[str, str, str, Callable[[Tensor], float]]


def _scores(recon: Reconstruction) -> list[Score]:
    """Scores of ensembles; what is static in a state tells how it moves, but is not scored."""
    truth, many, moving = recon.truth, recon.samples.shape[1] >= _ENSEMBLE, recon.simulator.layout.moving

    def forward(x: Tensor) -> Tensor:
        return moving(recon.simulator.run(x, noise=False)[:, -1])

    out: list[Score] = [
        (
            "relative_l2",
            "low",
            "one reconstruction against the truth, |x - truth| / |truth|",
            lambda s: float(metrics.sample_relative_l2(moving(s), moving(truth))),
        ),
    ]
    if recon.simulator.known:
        out.append(
            (
                "reconstruction_mse",
                "low",
                "pushed forward without noise, against the truth pushed forward",
                lambda s: _few(s, lambda x: metrics.reconstruction_error(x, truth, forward)),
            )
        )
    if recon.simulator.layout.kind == "field" and min(truth.shape[2:]) >= 8:
        out.append(
            (
                "spectral_error",
                "low",
                "log radial spectrum of one reconstruction against the truth's",
                lambda s: _few(s, lambda x: spectral_error(x, truth)),
            )
        )
    if many:
        out += [
            (
                "relative_l2_mean",
                "low",
                "the ensemble mean against the truth",
                lambda s: float(metrics.relative_l2(moving(s.mean(1)), moving(truth))),
            ),
            ("crps", "low", "fair CRPS per component", lambda s: float(metrics.crps(moving(s), moving(truth)))),
            (
                "energy_score",
                "low",
                "fair energy score of whole states",
                lambda s: float(metrics.energy_score(moving(s), moving(truth))),
            ),
            (
                "coverage_90",
                "0.9",
                "share of components in the central 90 % interval",
                lambda s: float(metrics.coverage(moving(s), moving(truth), 0.9)),
            ),
            (
                "spread_skill",
                "1",
                "ensemble spread over the error of its mean",
                lambda s: float(metrics.spread_skill(moving(s), moving(truth))),
            ),
        ]
    return out


def _few(samples: Tensor, score: Callable[[Tensor], Tensor], few: int = 8) -> float:
    """A score of single reconstructions, averaged over the first few draws."""
    values = [score(samples[:, i]) for i in range(min(few, samples.shape[1]))]
    return float(torch.stack(values).mean())
