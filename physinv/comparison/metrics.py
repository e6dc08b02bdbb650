"""All metrics of one method: proper scoring rules, calibration, spectra, physics; diverged draws are counted."""

from __future__ import annotations

__all__ = ["Curves", "Drawn", "all_metrics"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.evaluation import metrics
from physinv.evaluation.calibration import LEVELS, calibration_error, coverage_curve, sbc, tarp
from physinv.evaluation.checks import check_samples
from physinv.evaluation.spectra import ensemble_spectra, spectral_error
from physinv.evaluation.two_sample import c2st, wasserstein
from physinv.processes.simulator import Simulator

Curves = dict[str, list[float]]
"""Curves by name, such as coverage by level."""

_RANGE = 3.0  # times the largest number in any truth: a draw beyond counts as diverged
_SMALL = 16  # numbers in a state up to which whole laws are compared (C2ST, Wasserstein)
_FOLDS = 5  # of the classifier that is to tell draws from truths
_MOST = 1000  # points on each side of such a comparison
_TESTABLE = 40  # observations from which ranks can be tested
_ATOMS = 8  # values that all truths together take, up to which they count as points
_RELATIVE = ("misfit_median", "misfit_90", "zigzags")  # checks whose expected value is that of the truths
_FORWARD = 4  # draws of each observation that are run forward again


@dataclass(frozen=True)
class Drawn:
    """The draws of a method for the test observations, on the CPU.

    Args:
        truth: True initial states.
        final: Observed final states.
        samples: Samples of the method.
        mean: Its single best estimates.
    """

    truth: Float[Tensor, "n *state"]
    final: Float[Tensor, "n *state"]
    samples: Float[Tensor, "n members *state"]
    mean: Float[Tensor, "n *state"]

    def broken(self) -> Bool[Tensor, "n members"]:
        """Find the draws that are not finite, or beyond three times the range of the truth.

        Returns:
            True for each diverged draw.
        """
        flat = self.samples.flatten(2)
        finite = flat.isfinite().all(-1)
        return ~finite | (flat.nan_to_num().abs().amax(-1) > _RANGE * self.truth.abs().max())

    def mended(self, instead: Float[Tensor, "*state"]) -> Drawn:
        """Replace diverged draws and estimates.

        Args:
            instead: The state that takes their place, such as the mean of the training states.

        Returns:
            The same draws, all of them finite.
        """
        lead = [1] * (self.truth.ndim - 1)
        samples = torch.where(self.broken().reshape(*self.samples.shape[:2], *lead), instead, self.samples)
        usable = self.mean.flatten(1).isfinite().all(-1) & (
            self.mean.flatten(1).nan_to_num().abs().amax(-1) <= _RANGE * self.truth.abs().max()
        )
        return Drawn(self.truth, self.final, samples, torch.where(usable.reshape(-1, *lead), self.mean, instead))


@torch.no_grad()
def all_metrics(
    drawn: Drawn, simulator: Simulator, instead: Float[Tensor, "*state"], *, seed: int, whole: bool = True
) -> tuple[dict[str, float], Curves]:
    """Compute all metrics and curves that apply to the state.

    Where initial states take few values only, ranks are computed from the value nearest to each draw.  Single
    estimates, whose draws are all the same, are evaluated as point masses, without calibration, since they give no
    interval.

    Args:
        drawn: Samples and estimates beside their truths.
        simulator: The process.
        instead: The state that replaces diverged draws.
        seed: Seed of everything random in metrics: ties, pairs, folds.
        whole: Whether the method saw whole final states, with which draws are compared then.

    Returns:
        Metrics by name, and curves by name.
    """
    broken = drawn.broken().double().mean()
    drawn = drawn.mended(instead)
    layout = simulator.layout
    truth, samples, mean = (layout.moving(x) for x in (drawn.truth, drawn.samples, drawn.mean))

    # Metrics of every kind of state.
    streams = seeds(seed).child("comparison")
    figures: dict[str, Tensor | float] = {
        "crps": metrics.crps(samples, truth),
        "energy_score": metrics.energy_score(samples, truth),
        "relative_l2_mean": metrics.relative_l2(samples.mean(1), truth),
        "relative_l2_estimate": metrics.relative_l2(mean, truth),
        "relative_l2": metrics.sample_relative_l2(samples, truth),
        "diverged": broken,
    }

    # Calibration, for ensembles with a spread.
    curves: Curves = {}
    if not bool((samples == samples[:, :1]).all()):
        more, curves = _calibration(_on_atoms(samples, truth), samples, truth, streams.child("calibration").generator())
        figures |= more
        if whole:
            figures |= _checks(drawn, simulator, streams.child("checks").generator())

    # Metrics of some kinds of states.
    if truth[0].numel() > 1:
        figures["variogram_score"] = metrics.variogram_score(
            samples,
            truth,
            generator=streams.child("variogram").generator(),  # the same pairs for every method
        )
    if layout.has_bands:
        figures["spectral_error"] = _few(samples, lambda x: spectral_error(x, truth))
        curves |= _spectra(samples, truth)
    if whole and truth[0].numel() <= _SMALL:
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
    """Calibration of ``ranked`` draws; the ratio of spread to skill is that of the unchanged samples."""
    test = tarp(ranked, truth, generator=generator)
    figures = {
        "coverage_90": float(metrics.coverage(ranked, truth, 0.9)),
        "calibration_error": float(calibration_error(ranked, truth)),
        "spread_skill": float(metrics.spread_skill(samples, truth)),
        "tarp_p": test.p_value,
    }
    if len(truth) >= _TESTABLE:
        figures["sbc_p"] = sbc(ranked, truth, generator=generator)
    curves = {
        "levels": LEVELS.tolist(),
        "coverage": coverage_curve(ranked, truth).tolist(),
        "ranks": metrics.rank_histogram(ranked, truth, generator=generator).tolist(),
        "tarp_levels": test.levels.tolist(),
        "tarp": test.coverage.tolist(),
    }
    return figures, curves


def _checks(drawn: Drawn, simulator: Simulator, generator: torch.Generator) -> dict[str, float]:
    """Checks that need no exact posterior; misfits and zigzags over those of the truths, so that their target is 1."""
    found = check_samples(drawn.samples, drawn.truth, drawn.final, simulator, generator=generator)
    return {c.name: c.ratio if c.name in _RELATIVE else c.value for c in found}


def _on_atoms(samples: Tensor, truth: Tensor) -> Tensor:
    """Draws moved to the nearest truth, where states take few values and ranks would be decided by rounding.

    A draw at 1.0001 for an initial state at exactly 1 is a hit, not an overestimate.  Values count as few if each
    occurs four times or more, on average, so that a handful of different observations does not.
    """
    atoms: Tensor = torch.unique(truth.flatten(1), dim=0)
    if len(atoms) > min(_ATOMS, len(truth) // 4):
        return samples
    nearest = torch.cdist(samples.flatten(2), atoms[None]).argmin(-1)
    moved: Tensor = atoms[nearest].reshape(samples.shape)
    return moved


def _spectra(samples: Tensor, truth: Tensor) -> Curves:
    """Ensemble spectra, averaged over the channels."""
    k, found = ensemble_spectra(samples, truth)
    parts = {"truth": found.truth, "samples": found.samples, "mean": found.mean}
    parts |= {"spread": found.spread, "error": found.error}
    return {"k": k.tolist()} | {f"spectrum_{name}": values.mean(0).tolist() for name, values in parts.items()}


def _laws(drawn: Drawn, generator: torch.Generator) -> dict[str, Tensor]:
    """Two-sample tests of pairs (draw, x_T) against (truth, x_T), one draw for each observation."""
    n = min(len(drawn.truth), _MOST)
    scale = torch.cat([drawn.truth, drawn.final], 1).double().std(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale)).to(drawn.truth)
    ours, theirs = (torch.cat([x[:n], drawn.final[:n]], 1) / scale for x in (drawn.samples[:, 0], drawn.truth))
    found = {"wasserstein": wasserstein(ours, theirs)}
    if n >= _FOLDS:  # fewer say nothing about a classifier
        found["c2st"] = c2st(ours, theirs, folds=_FOLDS, paired=True, generator=generator)
    return found


def _few(samples: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """A metric of single reconstructions, averaged over the first few draws."""
    return torch.stack([value(samples[:, i]) for i in range(min(_FORWARD, samples.shape[1]))]).mean()
