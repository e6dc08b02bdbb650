"""physinv's own method for nonlinear vectors: jump kernels beside the score model, chosen by a proper score."""

from __future__ import annotations

__all__ = ["STEPS", "JumpAnswer", "fit_jumps", "load_jumps"]

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.evaluation.metrics import crps_map
from physinv.methods.own_score import OwnPosterior, fit_posterior, load_posterior
from physinv.methods.problem import Problem
from physinv.methods.saving import Setup, below, prefixed
from physinv.models.jumps.base import jump_grids
from physinv.models.jumps.vector import VectorJumps, empty_vector_jumps, fit_vector_jumps
from physinv.posterior.jumps import JumpPosterior
from physinv.training.jump_pairs import choose_fresh

STEPS = "steps"
"""The way of small steps by the reverse SDE, beside the numbers of jumps of the grids."""

_SHARE = 0.25  # of the budget: what the score model gets, which serves the flow and competes for the samples
_HALF = 0.5  # the same for states of one number, where small steps do no harm, and with physics to be learned first
_CHOICE = 0.05  # of the budget: left for the choice among them
_OBSERVATIONS, _DRAWS = 500, 16  # by which grids of jumps, and small steps, are compared
_DOUBT = 2.0  # standard errors by which small steps have to be better than jumps
_MEAN_DRAWS = 64
_BATCH, _RATE = 512, 1e-2  # of the training of jump kernels, where the settings leave them open
_PAIRS = 8192  # on which they are validated


@dataclass(frozen=True)
class JumpAnswer(OwnPosterior):
    """The posterior by jump kernels, or by the small steps of a score model where these score better.

    Args:
        posterior: The posterior of the score model, which serves the probability flow in any case.
        kernel: The jump kernels.
        ways: Names of what the draws are shared among: numbers of jumps such as ``"2"``, or ``"steps"`` alone.
        found: CRPS on validation observations of small steps and of all pools of grids, in units of the deviation of
            ``x_0``.
        seed: Seed of the draws that :meth:`mean` averages.
    """

    kernel: VectorJumps
    ways: tuple[str, ...]
    found: Mapping[str, float]
    seed: int

    @property
    def steps(self) -> int | None:
        return super().steps if STEPS in self.ways else None

    @property
    def jumps(self) -> JumpPosterior:
        """The posterior along the grids that are in use."""
        grids = jump_grids(len(self.kernel.times) - 1)
        return JumpPosterior(self.kernel, [grid for grid in grids if str(len(grid)) in self.ways])

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        if STEPS in self.ways:
            return super().sample(final, n, generator=generator)
        return self.jumps.sample(final, n, generator=generator)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean: that of the longest jump if it is in use, else the mean of 64 draws.

        Args:
            final: Observed final states ``x_T``.
        """
        if "1" in self.ways:
            return self.jumps.mean(final)
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        return self.sample(final, _MEAN_DRAWS, generator=generator).mean(1)

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """Return ``log p(x_0 | x_T)`` by the kernel of the longest jump.

        Args:
            initial: Initial states ``x_0``.
            final: Final states ``x_T``.

        Returns:
            Log densities in nats, ``(batch,)``.
        """
        longest = torch.zeros(len(final), dtype=torch.int64, device=final.device)
        with torch.no_grad():
            return self.kernel.log_prob(initial, final, self.kernel.prepare(final, 0), longest)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and tables of the score model and of the jump kernels."""
        return prefixed("score", super().tensors()) | prefixed("jumps", dict(self.kernel.state_dict()))

    def notes(self) -> dict[str, Any]:
        return {**super().notes(), "model": "jumps", "ways": list(self.ways), "found": dict(self.found)}


def fit_jumps(problem: Problem) -> JumpAnswer:
    """Train a score model and jump kernels, and keep what scores best on validation observations.

    The observations are simulated anew where the simulator is known, so that there are enough of them to tell.

    Args:
        problem: The process and its data.

    Returns:
        The trained posterior.
    """
    learned = not problem.simulator.known or problem.settings.physics == "learned"
    share = _HALF if learned or problem.train.shape == (1,) else _SHARE
    posterior = fit_posterior(problem.part("score", share=share))

    # The jump kernels, on top of the same physics.
    rest = problem.part("jumps", share=1 - share - _CHOICE, begun=share)
    settings = _settings(problem.settings)
    kernel = fit_vector_jumps(posterior.sde, problem.train, settings, seed=seeds(problem.seed).child("jumps"))
    rest.minimise_jumps(kernel.to(problem.device), posterior.sde, settings)
    answer = JumpAnswer(posterior, kernel.eval(), (), {}, problem.seed)

    # Small steps, and all pools of grids, judged by the CRPS of their draws.
    truth, final = _judges(problem)
    unit = problem.train.states(0).std(0).clamp(min=torch.finfo(truth.dtype).tiny)
    drawn = {}
    for way in [str(len(grid)) for grid in jump_grids(len(kernel.times) - 1)] + [STEPS]:
        generator = seeds(problem.seed).child("method", "choice").generator(problem.device)
        drawn[way] = replace(answer, ways=(way,)).sample(final, _DRAWS, generator=generator)
    scores = {
        ways: (crps_map(torch.cat([drawn[way] for way in ways], 1), truth) / unit).mean(-1) for ways in _pools(drawn)
    }
    found = {"+".join(ways): round(float(each.mean()), 5) for ways, each in scores.items()}
    return replace(answer, ways=_best(scores), found=found)


def load_jumps(setup: Setup, tensors: Mapping[str, Tensor]) -> JumpAnswer:
    """Load what :func:`fit_jumps` returned.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The posterior.
    """
    posterior, notes = load_posterior(setup, below("score", tensors)), setup.notes
    kernel = empty_vector_jumps(
        posterior.sde, setup.times, setup.layout, _settings(setup.settings), seed=seeds(setup.seed).child("jumps")
    )
    kernel.load_state_dict(below("jumps", tensors))
    return JumpAnswer(posterior, kernel.to(setup.device).eval(), tuple(notes["ways"]), notes["found"], setup.seed)


def _settings(settings: Settings) -> Settings:
    """Settings of the training of jump kernels, where they are left open."""
    pairs = {"batch": _BATCH, "rate": _RATE, "validate_windows": _PAIRS}
    return settings.model_copy(update={k: v for k, v in pairs.items() if not getattr(settings, k)} | {"windows": (2,)})


@torch.no_grad()
def _judges(problem: Problem) -> tuple[Tensor, Tensor]:
    """First and last states that no training has seen."""
    simulator, valid = problem.simulator, problem.valid
    if choose_fresh("auto", simulator) == "states":
        generator = seeds(problem.seed).child("method", "judges").generator(problem.device)
        x = simulator.initial(_OBSERVATIONS, generator=generator, device=problem.device)
        ends = simulator.run(x, valid.times, generator=generator)[:, [0, -1]]
        ends = ends[ends.flatten(1).isfinite().all(1)]
        return ends[:, 0], ends[:, 1]
    return valid.states(0), valid.states(-1)


def _pools(drawn: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
    """Small steps alone, and all sets of grids of jumps, as far as their draws are finite."""
    fine = [way for way, x in drawn.items() if bool(x.isfinite().all())]
    jumps = [way for way in fine if way != STEPS]
    pools = [pool for n in range(1, len(jumps) + 1) for pool in itertools.combinations(jumps, n)]
    return pools + [(STEPS,)] * (STEPS in fine)


def _best(scores: Mapping[tuple[str, ...], Tensor]) -> tuple[str, ...]:
    """The best pool of jumps; small steps where they are better by more than the error of the difference."""
    pool = min((ways for ways in scores if ways != (STEPS,)), key=lambda ways: float(scores[ways].mean()))
    if (STEPS,) not in scores:
        return pool
    gap = scores[STEPS,] - scores[pool]
    doubt = _DOUBT * float(gap.std()) / math.sqrt(len(gap))
    return (STEPS,) if float(gap.mean()) < -doubt else pool
