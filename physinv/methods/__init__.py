"""The methods that are compared, behind one signature: ``fit(problem) -> answer`` with ``sample`` and ``mean``.

Options of a method are the keyword arguments of its function.  A method of your own is one more such function.
"""

from __future__ import annotations

__all__ = ["METHODS", "Answer", "Entry", "Method", "NotApplicableError", "Problem"]

from collections.abc import Callable
from dataclasses import dataclass

from physinv.methods.classical.ensemble_kalman import fit_ensemble_kalman
from physinv.methods.classical.physics import fit_physics
from physinv.methods.classical.variational import fit_gauss_newton, fit_lbfgs
from physinv.methods.learned.conditional import fit_conditional_diffusion, fit_flow_matching
from physinv.methods.learned.deep_ensemble import fit_deep_ensemble
from physinv.methods.learned.diffusion_prior import fit_diffusion_prior
from physinv.methods.learned.operator import fit_fno
from physinv.methods.learned.regression import fit_dropout, fit_regression
from physinv.methods.learned.score_only import fit_score_only
from physinv.methods.learned.simulation_based import fit_fmpe, fit_npse
from physinv.methods.own import fit_exact, fit_flow, fit_linear_estimate, fit_physinv
from physinv.methods.problem import Answer, Method, NotApplicableError, Problem


@dataclass(frozen=True)
class Entry:
    """A method, and what it is in one line."""

    fit: Callable[..., Answer]
    about: str


METHODS: dict[str, Entry] = {
    "exact": Entry(fit_exact, "the exact posterior, where one is known"),
    "physinv": Entry(fit_physinv, "reverse SDE with known physics and trained score (this package)"),
    "physinv-flow": Entry(fit_flow, "probability-flow ODE with the same score: one pre-image"),
    "linear": Entry(fit_linear_estimate, "linear estimate (LMMSE, Wiener filter) with the variance that it misses"),
    "physics": Entry(fit_physics, "the physics run backward, without score"),
    "score-only": Entry(fit_score_only, "reverse SDE whose score has to learn the physics as well"),
    "regression": Entry(fit_regression, "supervised network from x_T to x_0: one estimate"),
    "fno": Entry(fit_fno, "Fourier neural operator from x_T to x_0: one estimate"),
    "dropout": Entry(fit_dropout, "Bayesian network by spatial dropout"),
    "deep-ensemble": Entry(fit_deep_ensemble, "five networks, each with mean and variance"),
    "lbfgs": Entry(
        fit_lbfgs, "variational (4D-Var) by L-BFGS through the simulator, Gaussian prior, Laplace posterior"
    ),
    "gauss-newton": Entry(fit_gauss_newton, "variational by Gauss-Newton, Gaussian prior, Laplace posterior"),
    "ensemble-kalman": Entry(fit_ensemble_kalman, "ensemble Kalman inversion, multiple data assimilation"),
    "dps": Entry(fit_diffusion_prior, "unconditional diffusion prior, posterior sampling through the simulator"),
    "conditional-diffusion": Entry(fit_conditional_diffusion, "diffusion from noise to x_0, given x_T"),
    "flow-matching": Entry(fit_flow_matching, "flow matching from noise to x_0, given x_T"),
    "npse": Entry(fit_npse, "neural posterior score estimation (package sbi), vectors"),
    "fmpe": Entry(fit_fmpe, "flow matching posterior estimation (package sbi), vectors"),
}
