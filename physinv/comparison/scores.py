"""All figures of one method: proper scores, calibration, spectra, physics.  What diverged is replaced and counted."""

from __future__ import annotations

__all__ = ["Curves", "Drawn", "score"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.evaluation import metrics
from physinv.evaluation.calibration import calibration_error, coverage_curve, sbc, tarp
from physinv.evaluation.spectra import ensemble_spectra, spectral_error
from physinv.evaluation.two_sample import c2st, wasserstein
from physinv.processes.simulator import Simulator

Curves = dict[str, list[float]]

LEVELS = tuple(i / 20 for i in range(1, 20))
RANGE = 3.0  # times the largest number in any truth: a draw beyond counts as diverged
_SMALL = 16  # numbers in a state up to which whole laws are compared (C2ST, Wasserstein)
_MOST = 1000  # points on each side of such a comparison
_TESTABLE = 40  # observations from which ranks can be tested
_ATOMS = 8  # values that all truths together take, up to which they count as points
_FORWARD = 4  # draws of each observation that are run forward again


@dataclass(frozen=True)
class Drawn:
    """What a method gave for the test observations, on the CPU: the input of all scores."""

    truth: Float[Tensor, "n *state"]
    final: Float[Tensor, "n *state"]
    samples: Float[Tensor, "n members *state"]
    mean: Float[Tensor, "n *state"]

    def broken(self) -> Bool[Tensor, "n members"]:
        """Draws that are not finite, or beyond three times the range of the truth."""
        flat = self.samples.flatten(2)
        finite = flat.isfinite().all(-1)
        return ~finite | (flat.nan_to_num().abs().amax(-1) > RANGE * self.truth.abs().max())

    def mended(self, instead: Float[Tensor, "*state"]) -> Drawn:
        """With ``instead`` (the mean of the training states) in the place of each diverged draw and estimate."""
        lead = [1] * (self.truth.ndim - 1)
        samples = torch.where(self.broken().reshape(*self.samples.shape[:2], *lead), instead, self.samples)
        usable = self.mean.flatten(1).isfinite().all(-1) & (
            self.mean.flatten(1).nan_to_num().abs().amax(-1) <= RANGE * self.truth.abs().max()
        )
        return Drawn(self.truth, self.final, samples, torch.where(usable.reshape(-1, *lead), self.mean, instead))


@torch.no_grad()
def score(
    drawn: Drawn, simulator: Simulator, instead: Float[Tensor, "*state"], *, seed: int
) -> tuple[dict[str, float], Curves]:
    """Metrics and curves by name; what does not apply to the state is left out.

    Of initial states that take few values, ranks are those of the value that a draw is nearest to.  Single estimates
    (whose draws are all the same) get the scores of a point mass, and none of calibration: they claim no interval.
    """
    broken = drawn.broken().double().mean()
    drawn = drawn.mended(instead)
    layout = simulator.layout
    truth, samples, mean = (layout.moving(x) for x in (drawn.truth, drawn.samples, drawn.mean))
    streams = seeds(seed).child("comparison")
    figures: dict[str, Tensor | float] = {
        "crps": metrics.crps(samples, truth),
        "energy_score": metrics.energy_score(samples, truth),
        "relative_l2_mean": metrics.relative_l2(samples.mean(1), truth),
        "relative_l2_estimate": metrics.relative_l2(mean, truth),
        "relative_l2": metrics.sample_relative_l2(samples, truth),
        "diverged": broken,
    }
    curves: Curves = {}
    if not bool((samples == samples[:, :1]).all()):
        more, curves = _calibration(_on_atoms(samples, truth), samples, truth, streams.child("calibration").generator())
        figures |= more
    if truth[0].numel() > 1:
        figures["variogram_score"] = metrics.variogram_score(
            samples,
            truth,
            generator=streams.child("variogram").generator(),  # the same pairs for every method
        )
    if layout.kind == "field" and min(drawn.truth.shape[2:]) >= 8:
        figures["spectral_error"] = _few(samples, lambda x: spectral_error(x, truth))
        curves |= _spectra(samples, truth)
    if truth[0].numel() <= _SMALL:
        figures |= _laws(drawn, streams.child("laws").generator())
    if simulator.known:
        figures["reconstruction_mse"] = _few(
            drawn.samples,
            lambda x: metrics.reconstruction_error(
                x, drawn.truth, lambda y: layout.moving(simulator.run(y, noise=False)[:, -1])
            ),
        )
    return {k: float(v) for k, v in figures.items()}, curves


def _calibration(
    ranked: Tensor, samples: Tensor, truth: Tensor, generator: torch.Generator
) -> tuple[dict[str, float], Curves]:
    """Do intervals hold the truth as often as they say?  Of ``ranked`` draws; the spread is that of the bare ones."""
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    test = tarp(ranked, truth, generator=generator)
    figures = {
        "coverage_90": float(metrics.coverage(ranked, truth, 0.9)),
        "calibration_error": float(calibration_error(ranked, truth, levels)),
        "spread_skill": float(metrics.spread_skill(samples, truth)),
        "tarp_p": test.p_value,
    }
    if len(truth) >= _TESTABLE:
        figures["sbc_p"] = sbc(ranked, truth, generator=generator)
    curves = {
        "levels": list(LEVELS),
        "coverage": coverage_curve(ranked, truth, levels).tolist(),
        "ranks": metrics.rank_histogram(ranked, truth, generator=generator).tolist(),
        "tarp_levels": test.levels.tolist(),
        "tarp": test.coverage.tolist(),
    }
    return figures, curves


def _on_atoms(samples: Tensor, truth: Tensor) -> Tensor:
    """Each draw moved to the nearest truth, where states take so few values that ranks among equals decide.

    A draw at 1.0001 for a start at exactly 1 is a hit, not an overestimate.  Few values are met four times each, on
    average; a handful of observations that all differ are no atoms.
    """
    atoms: Tensor = torch.unique(truth.flatten(1), dim=0)
    if len(atoms) > min(_ATOMS, len(truth) // 4):
        return samples
    nearest = torch.cdist(samples.flatten(2), atoms[None]).argmin(-1)
    moved: Tensor = atoms[nearest].reshape(samples.shape)
    return moved


def _spectra(samples: Tensor, truth: Tensor) -> Curves:
    """Means over the channels."""
    k, found = ensemble_spectra(samples, truth)
    parts = {"truth": found.truth, "samples": found.samples, "mean": found.mean}
    parts |= {"spread": found.spread, "error": found.error}
    return {"k": k.tolist()} | {f"spectrum_{name}": values.mean(0).tolist() for name, values in parts.items()}


def _laws(drawn: Drawn, generator: torch.Generator) -> dict[str, Tensor]:
    """Is (draw, x_T) from the law of (truth, x_T)?  One draw for each observation; .5 and the floor are perfect."""
    n = min(len(drawn.truth), _MOST)
    scale = torch.cat([drawn.truth, drawn.final], 1).std(0).clamp(min=1e-12)
    ours, theirs = (torch.cat([x[:n], drawn.final[:n]], 1) / scale for x in (drawn.samples[:, 0], drawn.truth))
    return {"c2st": c2st(ours, theirs, paired=True, generator=generator), "wasserstein": wasserstein(ours, theirs)}


def _few(samples: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """A score of single reconstructions, averaged over the first few draws."""
    return torch.stack([value(samples[:, i]) for i in range(min(_FORWARD, samples.shape[1]))]).mean()
