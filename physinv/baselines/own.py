"""physinv's own method, its probability flow, and the exact posterior, behind the signature of all methods."""

from __future__ import annotations

__all__ = ["Flow", "OwnPosterior", "fit_exact", "fit_flow", "fit_linear_estimate", "fit_physinv"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.assemble import build_model
from physinv.baselines.problem import Answer, NotApplicableError, Problem
from physinv.linear_estimate import fit_linear
from physinv.posterior import Posterior
from physinv.sde import Reverse
from physinv.solvers import solve
from physinv.train import fit


@dataclass(frozen=True)
class OwnPosterior:
    """Samples of the reverse SDE under the known physics and the trained score."""

    posterior: Posterior

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Independent draws."""
        return self.posterior.sample(final, n, generator=generator)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """The reversal without noise."""
        return self.posterior.mean_flow(final)

    def trajectories(
        self, final: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch time *state"]:
        """One reconstruction of the whole way for each ``x_T``, in the order of time."""
        p = self.posterior
        back = solve(Reverse(p.sde, p.score), final, p.times.flip(0), step=p.step, generator=generator)
        return back.flip(1)


@dataclass(frozen=True)
class Flow:
    """The one pre-image under the probability flow: an estimate, repeated as often as asked for."""

    posterior: Posterior

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """The same state ``n`` times."""
        return self.mean(final).unsqueeze(1).expand(-1, n, *final.shape[1:])

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """The pre-image."""
        return self.posterior.flow(final)


def fit_physinv(problem: Problem) -> OwnPosterior:
    """The method of this package, as `physinv train` and `physinv reconstruct` have it; in float32 on every device, as
    all methods are."""
    return OwnPosterior(_posterior(problem))


def fit_flow(problem: Problem) -> Flow:
    """The same score, solved as the probability-flow ODE (Song et al. 2021, eq. 13)."""
    return Flow(_posterior(problem))


def fit_exact(problem: Problem) -> Answer:
    """The exact posterior; NotApplicableError where none is known."""
    exact = problem.simulator.exact()
    if exact is None:
        raise NotApplicableError("no exact posterior is known for this process.")
    return exact


def fit_linear_estimate(problem: Problem) -> Answer:
    """Linear estimate (LMMSE; Wiener's filter for periodic fields) with the variance that it misses."""
    return fit_linear(problem.simulator, problem.train, problem.valid)


def _posterior(problem: Problem) -> Posterior:
    sde, settings = problem.simulator, problem.settings
    model = build_model(sde, problem.train, settings, seed=problem.seed).to(problem.device)
    fit(
        model,
        sde,
        problem.train,
        problem.valid,
        settings=settings,
        steps=problem.steps,
        budget=problem.budget,
        seed=problem.seed,
    )
    return Posterior(sde, model.eval(), problem.train.times)
