"""The law of ``x_0`` relative to the observation, in one step: for recordings, whose physics nobody wrote down."""

from __future__ import annotations

__all__ = ["Increments", "fit_increments", "increment_loss", "load_increments"]

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.data.imports.windows import FEWEST_INDEPENDENT, independent
from physinv.equations.sde import SDE, Score
from physinv.equations.series import mean_error
from physinv.methods.classical.linear_estimate import LinearEstimate, cross_fit
from physinv.methods.learned.backbone import chunked
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, below, loaded_by, prefixed
from physinv.models.increments import LEAST, FieldIncrements, IncrementLaw, VectorIncrements
from physinv.models.networks.build import build_network
from physinv.processes.layout import StateLayout
from physinv.training.objectives.base import Batch

_OPEN: dict[bool, dict[str, Any]] = {  # settings where they are left open: vectors, fields
    False: {"batch": 512, "rate": 3e-3, "validate_every": 50, "validate_windows": 4096},
    True: {"rate": 2e-3, "network": "tokens", "width": 64, "validate_every": 50},
}
_MEMBERS = {False: 4, True: 1}  # networks for vectors, for fields
_STRETCHES = (0.25, 3.0, 56)  # of the spread, 1 among them, from which validation data choose
_DOUBT, _SURE = 1.0, 2.0  # standard errors by which a factor has to be worse, and by which 1 has to be
_COPIES = 16  # draws for each error by which they are compared
_JUDGED = 2**19  # numbers in the validation fields by which noise and spread are fitted, 64 fields at least


@dataclass(frozen=True)
class Increments(Answer):
    """The posterior as a law around the linear estimate, in one step from ``x_T`` to ``x_0``.

    Args:
        linear: The linear estimate.
        laws: The trained laws around it, among which draws are shared in equal parts.
        stretch: Factor of the distance of draws from their mean.
    """

    linear: LinearEstimate
    laws: tuple[IncrementLaw, ...]
    stretch: float = 1.0

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        def work(x: Tensor) -> Tensor:
            seen = self.laws[0].seen(x)
            known, drawn = self.linear.mean(seen), x.new_empty((len(x), n, *x.shape[1:]))
            for i, law in enumerate(self.laws[:n]):
                place = drawn[:, i :: len(self.laws)]
                place.copy_(law.draw(seen, known, place.shape[1], generator=generator))
            if self.stretch == 1.0:
                return drawn
            mean = torch.stack([law.mean(seen, known) for law in self.laws]).mean(0)[:, None]
            return self.laws[0].within(mean + self.stretch * (drawn - mean), seen[:, None])

        return chunked(work, final)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:

        def work(x: Tensor) -> Tensor:
            seen = self.laws[0].seen(x)
            known = self.linear.mean(seen)
            return torch.stack([law.mean(seen, known) for law in self.laws]).mean(0)

        return chunked(work, final)

    def tensors(self) -> dict[str, Tensor]:
        """Return the linear estimate, and weights and scales of the laws."""
        found = prefixed("linear", self.linear.tensors()) | {"stretch": torch.tensor([self.stretch])}
        for i, law in enumerate(self.laws):
            found |= prefixed(_folder(i), dict(law.state_dict()))
        return found


def increment_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the loss of a law of increments for windows ``(x_0, x_T)`` with estimates.

    Args:
        score: An :class:`~physinv.models.increments.base.IncrementLaw`.
        sde: Not used.
        batch: Windows, and their estimates.
    """
    assert isinstance(score, IncrementLaw)
    assert batch.estimate is not None
    return score.loss(batch.states[:, 0], batch.states[:, 1], batch.estimate, batch.generator, judged=batch.judged)


def load_increments(setup: Setup, tensors: Mapping[str, Tensor]) -> Increments:
    """Load what :func:`fit_increments` returned.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The posterior.
    """
    on = {k: v.to(setup.device) for k, v in tensors.items()}
    settings, laws = _settings(setup.settings, setup.layout), []
    for i in range(_MEMBERS[bool(setup.layout.space)]):
        law = _law(setup.layout, settings, seeds(setup.seed).child("member", i))
        law.load_state_dict(below(_folder(i), on))
        laws.append(law.to(setup.device).eval())
    linear = LinearEstimate.from_tensors(setup.layout, below("linear", on))
    return Increments(linear, tuple(laws), float(on["stretch"]))


@loaded_by(load_increments, partial=True)
def fit_increments(problem: Problem) -> Increments:
    """Train the law of ``x_0`` relative to the observation.

    The linear estimate is the best of ridge regressions of ``x_0`` and of ``x_0 - x_T`` on validation data
    (:func:`~physinv.methods.classical.linear_estimate.fit_linear`).  Networks learn the law around it from
    cross-fitted estimates, whose errors are as large as on new data: of a vector four, from
    different first weights.  Validation data set the spread.  No physics is learned, and nothing is run backward in
    time.

    Args:
        problem: The process and its data.

    Returns:
        The trained posterior.

    Raises:
        NotApplicableError: For particles.
    """
    layout = problem.train.layout
    if layout.positions:
        raise NotApplicableError("increments are for vectors and fields, got particles; take physinv.")
    linear, estimates = cross_fit(problem.simulator, problem.train, problem.valid)
    part, members = replace(problem, settings=_settings(problem.settings, layout)), _MEMBERS[bool(layout.space)]
    first, last = (problem.train.states(i) for i in (0, -1))
    judges = [problem.valid.states(i) for i in (0, -1)]

    # Train around the estimates; what remains is fitted to validation data, evenly over all of them.
    laws: list[IncrementLaw] = []
    at = _evenly(len(judges[0]), max(64, _JUDGED // math.prod(layout.shape))).to(problem.device)
    for i in range(members):
        stream = seeds(problem.seed).child("member", i)
        law = _law(layout, part.settings, stream).to(problem.device)
        law.adapt(first, last, estimates)
        seen = law.seen(judges[1])
        known = linear.mean(seen)
        mine = part.part(_folder(i), share=1 / members, begun=i / members)
        mine.minimise(law, increment_loss, estimates=(estimates, known), seed=stream)
        generator = stream.child("method", "increments").generator(problem.device)
        law.finish(judges[0][at], seen[at], known[at], generator)
        laws.append(law.eval())
    answer = Increments(linear, tuple(laws))
    generator = seeds(problem.seed).child("method", "increments").generator(problem.device)
    stretch = _stretch(answer, judges[0][at], judges[1][at], generator)
    if independent(problem.valid.n_trajectories, problem.valid.config) < FEWEST_INDEPENDENT:
        stretch = max(stretch, 1.0)  # one quiet stretch of time does not say that all are
    return replace(answer, stretch=stretch)


@torch.no_grad()
def _stretch(answer: Increments, initial: Tensor, final: Tensor, generator: torch.Generator) -> float:
    """A factor of the spread: 1 unless its CRPS is clearly worse than the best one's, else the widest about as good.

    Each error counts in units of the spread that was predicted for it.  Validation windows may be few and alike: then
    they say little against the spread that was learned.  Where they do, too little spread is the worse mistake.  A
    single trajectory says nothing about the spread.
    """
    if len(initial) < 2:
        return 1.0
    mean = answer.mean(final)[:, None]
    noise, gap = answer.sample(final, _COPIES, generator=generator) - mean, initial[:, None] - mean
    unit = noise.square().mean(1, keepdim=True).sqrt()
    unit = unit.clamp(min=LEAST * float(unit.amax()) + torch.finfo(unit.dtype).tiny)
    apart = (noise - noise.roll(1, 1)).abs() / 2
    factors = torch.linspace(*_STRETCHES)
    scores = torch.stack([(((f * noise - gap).abs() - f * apart) / unit).flatten(1).mean(1) for f in factors])
    behind = scores - scores[scores.mean(1).argmin()]
    worse, error = behind.mean(1), mean_error(behind)
    one = int((factors - 1).abs().argmin())
    if bool(worse[one] <= _SURE * error[one]):
        return 1.0
    return float(factors[worse <= _DOUBT * error].max())


def _folder(i: int) -> str:
    """Name of a member among folders and tensors."""
    return f"member-{i}"


def _evenly(n: int, most: int) -> Tensor:
    """Numbers below ``n``, at most so many, spread over all."""
    return torch.linspace(0, n - 1, min(n, most)).round().long()


def _settings(settings: Settings, layout: StateLayout) -> Settings:
    """The settings, with what they leave open as suits the states."""
    defaults = Settings()
    left = {k: v for k, v in _OPEN[bool(layout.space)].items() if getattr(settings, k) == getattr(defaults, k)}
    if settings.network:
        left.pop("width", None)
    return settings.model_copy(update=left)


def _law(layout: StateLayout, settings: Settings, seed: Seed) -> IncrementLaw:
    """The untrained law of the states of a layout."""
    kind: type[FieldIncrements] | type[VectorIncrements] = FieldIncrements if layout.space else VectorIncrements
    network = build_network(layout, *kind.sizes(layout), settings, seed=seeds(seed).child("model", "network"))
    return kind(network, layout)
