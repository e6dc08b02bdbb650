"""Answers of physinv's own method for nonlinear processes: jump kernels beside the small steps of a score model."""

from __future__ import annotations

__all__ = [
    "FIELDS",
    "PARTICLES",
    "VECTORS",
    "JumpAnswer",
    "JumpDensity",
    "KernelFamily",
    "family_of",
    "first_guess",
    "load_jumps",
    "physics_is_learned",
]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.laws.record import ObservationRecord
from physinv.methods.own.newton import FirstGuess, Newton, load_newton
from physinv.methods.own.score import OwnPosterior, load_posterior, load_values
from physinv.methods.own.ways import STEPS
from physinv.methods.saving import Setup, below, prefixed
from physinv.models.jumps.base import Jump, JumpKernel, jump_grids
from physinv.models.jumps.field import empty_field_jumps, fit_field_jumps
from physinv.models.jumps.particles import empty_particle_jumps, fit_particle_jumps
from physinv.models.jumps.vector import VectorJumps, empty_vector_jumps, fit_vector_jumps
from physinv.posterior.atoms import Atoms
from physinv.posterior.jumps import JumpPosterior
from physinv.posterior.posterior import Posterior
from physinv.posterior.several_times.twisted import TwistedReversal
from physinv.posterior.value_map import ValueMap
from physinv.posterior.weigh import Reversal

_MEAN_DRAWS = 64
_WORSE = 1.1  # CRPS of small steps over the best one, from which they are told to be the worse way
_MOST_PAIRS = 256  # of an update, where states are small
_PAIRS = 2**15  # numbers in the states that jump kernels are validated on


@dataclass(frozen=True)
class JumpAnswer(OwnPosterior):
    """The posterior by jump kernels, or by the small steps of a score model where these score better.

    Args:
        posterior: The posterior of the score model, which serves the probability flow in any case.
        kernel: The jump kernels.
        grids: The grids of jumps that draws may follow.
        ways: What the draws are shared among: numbers of jumps of grids such as ``"2"``, or ``"steps"`` alone.
        found: CRPS on validation observations of small steps and of all pools of grids, in units of the deviation of
            ``x_0``.
        seed: Seed of the draws that :meth:`mean` averages.
        newton: Steps with the known physics from the mean of these, and draws around their end; None: samples are what
            was learned.
        tried: The figures that decided about these steps; empty where they do not apply.
    """

    kernel: JumpKernel
    grids: Sequence[Sequence[Jump]]
    ways: tuple[str, ...]
    found: Mapping[str, float]
    seed: int
    newton: Newton | None = field(default=None, kw_only=True)
    tried: Mapping[str, float | int | str] = field(default_factory=dict, kw_only=True)

    @property
    def learned(self) -> JumpAnswer:
        return replace(self, newton=None)

    @property
    def steps(self) -> int | None:
        return super().steps if STEPS in self.ways and self.newton is None else None

    @property
    def reversal(self) -> Reversal:
        if self.newton is not None:
            raise ValueError("samples are drawn around the end of Newton's steps, along no chain.")
        return super().reversal if STEPS in self.ways else self.jumps

    @property
    def jumps(self) -> JumpPosterior:
        """The posterior along the grids that are in use."""
        return JumpPosterior(self.kernel, [grid for grid in self.grids if str(len(grid)) in self.ways])

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        if self.newton is not None:
            return self.newton.sample(final, n, generator=generator)
        if STEPS in self.ways:
            return super().sample(final, n, generator=generator)
        drawn = self.jumps.sample(final, n, generator=generator)
        return drawn if self.values is None else self.values(drawn)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean: the end of Newton steps, else by the longest jump if in use, else of 64 draws.

        Args:
            final: Observed final states ``x_T``.
        """
        if self.newton is not None:
            return self.newton.mean(final)
        if "1" in self.ways:
            return self.jumps.mean(final)
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        return self.sample(final, _MEAN_DRAWS, generator=generator).mean(1)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and tables of the score model and of the jump kernels."""
        found = prefixed("score", super().tensors()) | prefixed("jumps", dict(self.kernel.state_dict()))
        return found if self.newton is None else found | prefixed("newton", self.newton.tensors())

    def given(self, observed: ObservationRecord) -> TwistedReversal:
        """Return the answer to a record, by particles of small steps, with a warning where these are the worse way.

        Args:
            observed: The record.

        Returns:
            The answer.
        """
        answer, steps = super().given(observed), self.found.get(STEPS, 0.0)
        worse = steps / min(self.found.values(), default=1.0)
        if not worse > _WORSE:
            return answer
        told = (
            f"records are answered by small steps, whose CRPS on validation data is {worse:.2g} times that of the "
            "jumps by which this run answers whole final states: train longer, or take importance or mcmc."
        )
        return replace(answer, doubt=told)

    def notes(self) -> dict[str, Any]:
        found = {**super().notes(), "model": "jumps", "ways": list(self.ways), "found": dict(self.found)}
        if self.kernel.built_with:
            found["kernel"] = self.kernel.built_with
        return found | {"newton": {"chosen": self.newton is not None, **self.tried}} if self.tried else found


@dataclass(frozen=True)
class JumpDensity(JumpAnswer):
    """The same for vectors, whose kernels have a density."""

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
        assert isinstance(self.kernel, VectorJumps)
        longest = torch.zeros(len(final), dtype=torch.int64, device=final.device)
        with torch.no_grad():
            return self.kernel.log_prob(initial, final, self.kernel.prepare(final, 0), longest)


@dataclass(frozen=True)
class KernelFamily:
    """What jump kernels of one kind of state are made of, and how they are trained.

    Args:
        fit: Builds them from data.
        empty: Builds them without data.
        grids: The grids that draws may follow, for a number of stored intervals, where a kernel knows their jumps.
        answer: The class of the answer, where samples are what was drawn.
        batch: Pairs per update, where the settings leave that open.
        rate: Learning rate, likewise.
        share: Share of the budget of the score model beside them.
        cheap: Whether new trajectories cost little beside the updates that see them.
        before: What kernels were built with, beside the settings, in runs that do not say so.
        numbers: Numbers in the states of a batch, at least, up to 256 of them: what an update of small states takes
            hardly depends on how many there are.
    """

    fit: Callable[..., JumpKernel]
    empty: Callable[..., JumpKernel]
    grids: Callable[[int], list[list[Jump]]]
    answer: type[JumpAnswer]
    batch: int
    rate: float
    share: float
    cheap: bool = True
    before: Mapping[str, int] = field(default_factory=dict)
    numbers: int = 0

    def batch_of(self, shape: Sequence[int]) -> int:
        """Return the pairs per update of states of a shape.

        Args:
            shape: Shape of a state.
        """
        return max(self.batch, min(self.numbers // math.prod(shape), _MOST_PAIRS))

    def answer_of(self, values: ValueMap | Atoms | None) -> type[JumpAnswer]:
        """Return the class of the answer: without a density where samples go through a map.

        Args:
            values: The map; None: none.
        """
        return self.answer if values is None else JumpAnswer


VECTORS = KernelFamily(
    fit_vector_jumps, empty_vector_jumps, jump_grids, JumpDensity, 512, 1e-2, 0.25, before={"components": 4}
)
"""Mixtures along grids of 1, 2 and 4 jumps."""

FIELDS = KernelFamily(
    fit_field_jumps, empty_field_jumps, lambda n: [[Jump(0, n)]], JumpAnswer, 32, 4e-3, 0.1, numbers=32 * 96
)
"""Normal laws around a learned mean, in one jump."""

PARTICLES = KernelFamily(
    fit_particle_jumps,
    empty_particle_jumps,
    jump_grids,
    JumpAnswer,
    64,
    4e-3,
    0.1,
    cheap=False,
    before={"grids": 1},
)
"""Normal laws around the learned mean of every particle, along grids of 1, 2 and 4 jumps; one jump of many of them."""


def load_jumps(setup: Setup, tensors: Mapping[str, Tensor]) -> JumpAnswer:
    """Load what :func:`~physinv.methods.own.training.fit_jumps` returned.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The posterior.
    """
    (family, settings), notes = family_of(setup), setup.notes
    posterior, stream = load_posterior(setup, below("score", tensors)), seeds(setup.seed).child("jumps")
    built_with = notes.get("kernel", family.before)
    kernel = family.empty(posterior.sde, setup.times, setup.layout, settings, **built_with, seed=stream)
    kernel.load_state_dict(below("jumps", tensors))
    kernel = kernel.to(setup.device).eval()
    grids = kernel.known(family.grids(len(setup.times) - 1))
    values = load_values(setup, below("score", tensors))
    kind = family.answer_of(values)
    answer = kind(posterior, kernel, grids, tuple(notes["ways"]), notes["found"], setup.seed, values=values)

    tried = {key: value for key, value in notes.get("newton", {}).items() if key != "chosen"}
    newton = below("newton", tensors)
    if not newton:
        return replace(answer, tried=tried)
    start = first_guess(answer, str(tried.get("start", STEPS)))
    return replace(answer, newton=load_newton(setup, newton, start), tried=tried)


def family_of(setup: Setup) -> tuple[KernelFamily, Settings]:
    """Return the jump kernels that suit the states of a problem, and its settings with what they leave open.

    Args:
        setup: What the run knows.

    Returns:
        The family, and the settings of its training.
    """
    family = PARTICLES if setup.layout.positions else FIELDS if setup.layout.space else VECTORS
    pairs = {
        "batch": family.batch_of(setup.layout.shape),
        "rate": family.rate,
        "validate_windows": max(64, _PAIRS // math.prod(setup.layout.shape)),
    }
    left: dict[str, Any] = {k: v for k, v in pairs.items() if not getattr(setup.settings, k)}
    if setup.settings.fresh == "auto":
        cheap = setup.simulator.startable and setup.simulator.spin_up_time == 0
        left["fresh"] = "off" if physics_is_learned(setup) or not family.cheap else "states" if cheap else "noise"
    return family, setup.settings.model_copy(update=left | {"windows": (2,)})


@dataclass(frozen=True)
class _Steps:
    """The mean of the small steps, from which Newton's begin."""

    posterior: Posterior

    def mean(self, final: Tensor) -> Tensor:
        return self.posterior.mean_flow(final)


def first_guess(answer: JumpAnswer, way: str) -> FirstGuess:
    """Return the mean of what was learned, in one of the two ways, from which Newton's steps begin.

    Args:
        answer: What was learned.
        way: :data:`~physinv.methods.own.ways.STEPS` for the flow of the score model, else a number of jumps.

    Returns:
        What gives the mean for final states.
    """
    return _Steps(answer.posterior) if way == STEPS else replace(answer, ways=(way,)).jumps


def physics_is_learned(setup: Setup) -> bool:
    """Return whether the physics comes from the data, which leaves nothing to simulate.

    Args:
        setup: What the run knows.
    """
    return not setup.simulator.known or setup.settings.physics == "learned"
