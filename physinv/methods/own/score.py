"""Answers of physinv's score model: samples of the reverse SDE, with a density where there is one, and the flow."""

from __future__ import annotations

__all__ = [
    "Flow",
    "OwnDensity",
    "OwnPosterior",
    "atoms_of",
    "begin_posterior",
    "fit_posterior",
    "fit_score",
    "load_posterior",
    "load_score",
    "load_values",
    "mapped",
    "train_posterior",
]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.files import load_tensors, save_tensors
from physinv.config.seeds import seeds
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE, Linear, Reverse
from physinv.equations.solve import solve
from physinv.methods.mapped import MappedAnswer, with_value_map
from physinv.methods.problem import Problem
from physinv.methods.reverse import ReverseAnswer, load_score_model
from physinv.methods.saving import Setup, below, prefixed
from physinv.models.build import build_model
from physinv.models.learned_drift import LearnedDrift, load_drift
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.atoms import Atoms, find_atoms
from physinv.posterior.likelihood import EXACT_DIVERGENCE
from physinv.posterior.posterior import Posterior
from physinv.posterior.value_map import ValueMap
from physinv.posterior.weigh import Reversal
from physinv.training.fit_drift import fit_drift

_START = 1e-3  # of the first stored time: where the flow begins, see Posterior.log_prob
_STILL = 1e-9  # of the largest power: modes below do not vary among initial states
_TOLERANCE = 1e-4  # of the adaptive solver; at 1e-3 the density of heat comes out .02 nats per number too low


@dataclass(frozen=True)
class OwnPosterior(ReverseAnswer):
    """The posterior of the reverse SDE with known physics and trained score; its mean is the reversal without noise.

    Args:
        posterior: The posterior of the score model.
        values: What samples go through for sharp initial states, a quantile mapping of fields or the few values that
            components of vectors take; None: nothing.
    """

    values: ValueMap | Atoms | None = field(default=None, kw_only=True)

    @property
    def reversal(self) -> Reversal:
        """The steps or jumps that samples are drawn along, before their values are mapped."""
        return self.posterior

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        drawn = self.posterior.draws(final, n, generator=generator)
        return drawn if self.values is None else self.values(drawn)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.posterior.mean_flow(final)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, tables of the reference law, and learned physics and a map of values, if any."""
        values = {} if self.values is None else prefixed("values", self.values.tensors())
        return super().tensors() | _physics_tensors(self.posterior.sde) | values

    def notes(self) -> dict[str, Any]:
        return {"model": "score", **super().notes()}

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
        initial states are left out, as by :func:`~physinv.equations.gaussian.gaussian_log_prob`: the density of their
        noise since the start of the flow is subtracted.

        Args:
            initial: Initial states ``x_0``.
            final: Final states ``x_T``.

        Returns:
            Log densities in nats, ``(batch,)``.
        """
        p = self.posterior
        probes, start = None if initial[0].numel() <= EXACT_DIVERGENCE else 1, _START * float(p.times[1])
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
class Flow(ReverseAnswer):
    """The pre-image under the probability flow: an estimate without spread."""

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.mean(final).unsqueeze(1).expand(-1, n, *final.shape[1:])

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.posterior.flow(final)

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | _physics_tensors(self.posterior.sde)


def fit_score(problem: Problem) -> OwnPosterior:
    """Train a score model, and answer by its reverse SDE.

    Args:
        problem: The process and its data.

    Returns:
        The trained posterior; for linear processes with a density.
    """
    return mapped(_with_density(fit_posterior(problem), problem.seed), problem)


def mapped(answer: OwnPosterior, problem: Problem) -> OwnPosterior:
    """Put a quantile mapping behind the samples of fields, where their values are not those of initial states.

    Components of vectors that begin at few values keep to these.

    Args:
        answer: The answer.
        problem: The process and its data.

    Returns:
        The answer, without a density where values are mapped.
    """
    values: ValueMap | Atoms | None = atoms_of(problem)
    if problem.train.layout.space:
        problem.say("choice of a quantile mapping")
        generator = seeds(problem.seed).child("method", "values").generator(problem.device)
        found = with_value_map(answer, problem.simulator, problem.train, problem.valid, generator)
        values = found.value_map if isinstance(found, MappedAnswer) else None
    if values is None:
        return answer
    plain = OwnPosterior(answer.posterior) if isinstance(answer, OwnDensity) else answer
    return replace(plain, values=values)


def atoms_of(problem: Problem) -> Atoms | None:
    """Return the few values at which components of vectors begin, or None.

    Args:
        problem: The process and its data.
    """
    layout = problem.train.layout
    return None if layout.space or layout.positions else find_atoms(layout.moving(problem.train.states(0)))


def load_score(setup: Setup, tensors: Mapping[str, Tensor]) -> OwnPosterior:
    """Load what :func:`fit_score` returned.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The posterior.
    """
    posterior, values = load_posterior(setup, tensors), load_values(setup, tensors)
    return _with_density(posterior, setup.seed) if values is None else OwnPosterior(posterior, values=values)


def load_values(setup: Setup, tensors: Mapping[str, Tensor]) -> ValueMap | Atoms | None:
    """Load what samples of an answer go through, or None.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The map.
    """
    stored = {k: v.to(setup.device) for k, v in below("values", tensors).items()}
    if not stored:
        return None
    return Atoms(stored["atoms"]) if "atoms" in stored else ValueMap.from_tensors(stored, setup.layout)


def fit_posterior(problem: Problem) -> Posterior:
    """Train a score model on top of the physics, which is learned first where it is not known, in half of the budget.

    Args:
        problem: The process and its data.

    Returns:
        The posterior of the trained score.
    """
    sde, rest = _physics(problem)
    return train_posterior(rest, begin_posterior(problem, sde))


def begin_posterior(problem: Problem, sde: SDE) -> Posterior:
    """Return the posterior of the reference law, in a score model whose network is not trained.

    Args:
        problem: The process and its data.
        sde: The physics.
    """
    problem.say("fit of the reference law")
    model = build_model(sde, problem.train, problem.settings, seed=problem.seed)
    return Posterior(sde, model.to(problem.device).eval(), problem.train.times)


def train_posterior(problem: Problem, posterior: Posterior) -> Posterior:
    """Train the score model of a posterior in place.

    Args:
        problem: The process, its data, and the budget.
        posterior: What :func:`begin_posterior` returned.

    Returns:
        The same posterior.
    """
    model = posterior.score
    assert isinstance(model, ScoreModel)
    model.mixed = problem.mixed
    problem.minimise_windows(model.train(), posterior.sde)
    model.mixed = False  # bfloat16 is for training alone
    model.eval()
    return posterior


def load_posterior(setup: Setup, tensors: Mapping[str, Tensor]) -> Posterior:
    """Load what :func:`fit_posterior` returned.

    Args:
        setup: What the run knows.
        tensors: Weights, tables of the reference law, and learned physics where there is some.

    Returns:
        The posterior of the trained score.
    """
    learned, sde = below("physics", tensors), setup.simulator
    physics: SDE = load_drift(learned, setup.layout, setup.settings).to(setup.device) if learned else sde
    own = {k: v for k, v in tensors.items() if not k.startswith(("physics.", "values."))}
    return Posterior(physics, load_score_model(setup, physics, own), setup.times)


def _with_density(posterior: Posterior, seed: int) -> OwnPosterior:
    """The answer of a score model, with a density where transitions have one."""
    return OwnDensity(posterior, seed) if isinstance(posterior.sde, Linear) else OwnPosterior(posterior)


def _physics(problem: Problem) -> tuple[SDE, Problem]:
    """The simulator, or physics learned in half of the budget, and the problem with the budget that remains."""
    simulator, settings = problem.simulator, problem.settings
    if simulator.known and settings.physics == "simulator":
        return simulator, problem
    rest, layout = replace(problem, budget=problem.budget.share(0.5)), problem.train.layout
    rest = replace(rest, progress=problem.shifted(0.5, 0.5))
    path = None if problem.folder is None else problem.folder / "physics.safetensors"
    if path is None or not (problem.resume and path.exists()):
        problem.say("fit of the physics")
        learned = fit_drift(
            problem.train,
            problem.valid,
            settings=settings,
            budget=rest.budget,
            seed=problem.seed,
            progress=problem.shifted(0.5, 0.0),
            announce=lambda phase: problem.say(f"{phase} of the physics"),
        )
        if path is None:
            return learned, rest
        problem.open()
        save_tensors(path, learned.state_dict(), {"format": "physinv learned drift 1"})
    return load_drift(load_tensors(path)[0], layout, settings).to(problem.train.device), rest


def _physics_tensors(sde: SDE) -> dict[str, Tensor]:
    """Learned physics under names of its own: reference laws may hold the same tensors."""
    return prefixed("physics", sde.state_dict()) if isinstance(sde, LearnedDrift) else {}
