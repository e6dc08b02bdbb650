"""physinv's own method, its probability flow, the exact posterior and the linear estimate, as methods."""

from __future__ import annotations

__all__ = [
    "Flow",
    "OwnDensity",
    "OwnPosterior",
    "StoredPosterior",
    "fit_exact",
    "fit_flow",
    "fit_linear_estimate",
    "fit_physinv",
]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.equations.sde import Linear, Reverse
from physinv.equations.solve import solve
from physinv.evaluation.references import StoredReference, reference_for
from physinv.laws.gaussian import gaussian_log_prob
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.models.build import build_model
from physinv.models.references.linear import LinearReference
from physinv.posterior.posterior import Posterior
from physinv.training.loop import fit

_START = 1e-3  # of the first stored time: where the flow begins, see Posterior.log_prob
_STILL = 1e-9  # of the largest power: modes below do not vary among initial states
_EXACT_DIVERGENCE = 64  # numbers of a state up to which the divergence is computed by as many products
_TOLERANCE = 1e-4  # of the adaptive solver; at 1e-3 the density of heat comes out .02 nats per number too low


@dataclass(frozen=True)
class OwnPosterior(Answer):
    """The posterior of the reverse SDE with known physics and trained score; its mean is the reversal without noise.

    Args:
        posterior: The posterior of the score model.
    """

    posterior: Posterior

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.posterior.sample(final, n, generator=generator)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.posterior.mean_flow(final)

    def trajectories(
        self, final: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch time *state"]:
        """Reconstruct one trajectory for each observation.

        Args:
            final: Observed final states ``x_T``.
            generator: Source of randomness.

        Returns:
            States at the stored times, in increasing order of time.
        """
        p = self.posterior
        back = solve(Reverse(p.sde, p.score), final, p.times.flip(0), step=p.step, generator=generator)
        return back.flip(1)


@dataclass(frozen=True)
class OwnDensity(OwnPosterior):
    """The same posterior for a linear SDE, with the density of ``x_0`` given ``x_T``.

    Args:
        posterior: The posterior of the trained score.
        seed: Seed of the random directions of a divergence.
    """

    seed: int = 0

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """Return ``log p(x_0 | x_T)`` by the probability flow.

        The divergence of large states is estimated by one random probe from a fixed seed.  Modes that do not vary among
        initial states are left out, as by :func:`~physinv.laws.gaussian.gaussian_log_prob`: the density of their noise
        since the start of the flow is subtracted.

        Args:
            initial: Initial states ``x_0``.
            final: Final states ``x_T``.

        Returns:
            Log densities in nats, ``(batch,)``.
        """
        p = self.posterior
        probes, start = None if initial[0].numel() <= _EXACT_DIVERGENCE else 1, _START * float(p.times[1])
        generator = seeds(self.seed).child("method", "density").generator(initial.device)
        out = p.log_prob(
            initial, final, probes=probes, generator=generator, start=start, rtol=_TOLERANCE, atol=_TOLERANCE
        )
        if (reference := LinearReference.of(p.score)) is not None:
            gap, spectrum = reference.centred(initial, initial.new_full((len(initial),), start))
            still = spectrum.prior <= _STILL * spectrum.prior.amax()
            out = out - gaussian_log_prob(gap, spectrum.now * still, initial)
        return out


@dataclass(frozen=True)
class StoredPosterior(Answer):
    """Draws and means of a stored reference, for its observations only.

    Args:
        reference: The reference.
    """

    reference: StoredReference

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.reference.sample(final, n, generator=generator)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.reference.mean_of(final)


@dataclass(frozen=True)
class Flow(Answer):
    """The pre-image under the probability flow: an estimate without spread.

    Args:
        posterior: The posterior of the score model.
    """

    posterior: Posterior

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.mean(final).unsqueeze(1).expand(-1, n, *final.shape[1:])

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.posterior.flow(final)


def fit_physinv(problem: Problem) -> OwnPosterior:
    """Train the score model of this package, as `physinv train` does; in float32, as all methods.

    Args:
        problem: The process and its data.

    Returns:
        The trained posterior; for linear processes with a density.
    """
    posterior = _posterior(problem)
    return OwnDensity(posterior, problem.seed) if isinstance(problem.simulator, Linear) else OwnPosterior(posterior)


def fit_flow(problem: Problem) -> Flow:
    """Train the same score model, and solve the probability-flow ODE.

    Args:
        problem: The process and its data.

    Returns:
        The pre-image under the trained flow.

    References:
        Song et al. (2021), Score-based generative modeling through stochastic differential equations, eq. 13.
    """
    return Flow(_posterior(problem))


def fit_exact(problem: Problem) -> Answer:
    """Return the exact posterior of a process, or the stored reference of its test observations.

    Args:
        problem: The process.

    Returns:
        The exact posterior.

    Raises:
        NotApplicableError: Where neither is known.
    """
    exact = problem.simulator.exact()
    if exact is not None:
        return exact
    stored = reference_for(problem.simulator)
    if stored is None:
        raise NotApplicableError("no exact posterior is known for this process.")
    if stored.info["seed"] != problem.seed:
        raise NotApplicableError(f"the stored reference is for data of seed {stored.info['seed']}.")
    return StoredPosterior(stored)


def fit_linear_estimate(problem: Problem) -> Answer:
    """Fit the linear estimate (:func:`~physinv.methods.classical.linear_estimate.fit_linear`).

    Args:
        problem: The process and its data.

    Returns:
        The linear estimate.
    """
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
