"""physinv's own method, its probability flow, and the exact posterior, behind the signature of all methods."""

from __future__ import annotations

__all__ = ["Flow", "OwnDensity", "OwnPosterior", "fit_exact", "fit_flow", "fit_linear_estimate", "fit_physinv"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.equations.sde import Linear, Reverse
from physinv.equations.solve import solve
from physinv.laws.gaussian import gaussian_log_prob
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.models.build import build_model
from physinv.models.references.base import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.training.loop import fit

_START = 1e-3  # of the first stored time: where the flow begins, see Posterior.log_prob
_NOTHING = 1e-9  # of the largest power: a mode without
_FEW = 64  # numbers of a state up to which a divergence is worth as many products
_CLOSE = 1e-4  # of the adaptive solver; at 1e-3 the density of heat comes out .02 nats per number too low


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
class OwnDensity(OwnPosterior):
    """The same for a linear SDE, where the density of ``x_0`` given ``x_T`` is known as well; ``seed`` is for that."""

    seed: int = 0

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """``log p(x_0 | x_T)`` by the probability flow (:meth:`~physinv.posterior.posterior.Posterior.log_prob`).

        The divergence of large states is estimated by one random probe, always the same ones.  Modes that do not vary
        among initial states are left out, as by :func:`~physinv.laws.gaussian.gaussian_log_prob`: their
        noise since the flow's start is subtracted.
        """
        p = self.posterior
        probes, start = None if initial[0].numel() <= _FEW else 1, _START * float(p.times[1])
        generator = seeds(self.seed).child("method", "density").generator(initial.device)
        out = p.log_prob(initial, final, probes=probes, generator=generator, start=start, rtol=_CLOSE, atol=_CLOSE)
        if isinstance(p.score, ScoreModel) and isinstance(p.score.reference, LinearReference):
            gap, spectrum = p.score.reference.centred(initial, initial.new_full((len(initial),), start))
            still = spectrum.prior <= _NOTHING * spectrum.prior.amax()
            out = out - gaussian_log_prob(gap, spectrum.now * still, initial)
        return out


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
    posterior = _posterior(problem)
    return OwnDensity(posterior, problem.seed) if isinstance(problem.simulator, Linear) else OwnPosterior(posterior)


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
        budget=problem.budget,
        seed=problem.seed,
    )
    return Posterior(sde, model.eval(), problem.train.times)
