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
from physinv.data.imports.windows import FEWEST_INDEPENDENT, held_out, independent
from physinv.equations.sde import SDE, Score
from physinv.methods.classical.later_times import ends_before_tests, growth_beyond
from physinv.methods.classical.linear_estimate import LinearEstimate, cross_fit
from physinv.methods.learned.backbone import chunked
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, below, loaded_by, prefixed
from physinv.models.increments import (
    FieldIncrements,
    IncrementLaw,
    VectorIncrements,
    factor_of_mixture,
    spread_factor,
    spread_scores,
)
from physinv.models.networks.build import build_network
from physinv.processes.layout import StateLayout
from physinv.training.objectives.base import Batch

_OPEN: dict[bool, dict[str, Any]] = {  # settings where they are left open: vectors, fields
    False: {"batch": 512, "rate": 3e-3, "validate_every": 50, "validate_windows": 4096},
    True: {"rate": 2e-3, "network": "tokens", "width": 64, "validate_every": 50},
}
_NETWORKS, _OF_FIELDS = 4, 2  # for vectors, and for fields with few validation data; one for other fields
_PLENTY = 32  # independent validation trajectories from which on they know a spread: to 1 / (2 n)^(1/2), an eighth
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
    members = {name.partition(".")[0] for name in on if name.startswith(_folder(""))}
    for i in range(len(members)):
        law = _law(setup.layout, settings, seeds(setup.seed).child("member", i))
        own = law.state_dict()  # runs of earlier versions knew no hard bounds, and nothing of later times
        law.load_state_dict(
            {name: own[name] for name in ("floor", "ceiling", "beyond", "drift") if name in own} | below(_folder(i), on)
        )
        laws.append(law.to(setup.device).eval())
    linear = LinearEstimate.from_tensors(setup.layout, below("linear", on))
    return Increments(linear, tuple(laws), float(on["stretch"]))


@loaded_by(load_increments, partial=True)
def fit_increments(problem: Problem) -> Increments:
    """Train the law of ``x_0`` relative to the observation.

    The linear estimate is the best of ridge regressions of ``x_0`` and of ``x_0 - x_T`` on validation data
    (:func:`~physinv.methods.classical.linear_estimate.fit_linear`).  Networks learn the law around it from
    cross-fitted estimates, whose errors are as large as on new data: of a vector four, of a field with few
    validation data two, from different first weights, each without a quarter of the training data: of each block of
    time that the recording was cut into.  What each of them says about what it did not see sets the spread, which lies
    between what it saw, as test data do; all together miss less than each
    (:func:`~physinv.models.increments.spread.factor_of_mixture`).  Of other fields there is one network, and validation
    data set the spread.

    Where all training comes before tests, of fields there is one network, validation data widen the spread as well, and
    draws have errors in addition, as far as those of regressions grow from there to tests
    (:func:`~physinv.methods.classical.later_times.growth_beyond`).  No physics is learned, and nothing is run
    backward in time.

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
    part = replace(problem, settings=_settings(problem.settings, layout))
    judges_worth = independent(problem.valid.n_trajectories, problem.valid.config)
    members, n = _OF_FIELDS if layout.space else _NETWORKS, problem.train.n_trajectories
    blocks = held_out(n, _NETWORKS, problem.train.config)[:: _NETWORKS // members]
    later = ends_before_tests(problem.train)  # its parts lie between what is trained on, and tests lie beyond
    if layout.space and (judges_worth >= _PLENTY or not blocks or later):  # networks of fields are dear
        members, blocks = 1, []
    first, last = (problem.train.states(i) for i in (0, -1))
    judges = [problem.valid.states(i) for i in (0, -1)]

    # Train around the estimates, of several laws each without a block of time; what remains is fitted to validation
    # data, evenly over all of them, and the spread to the blocks that were left out, where there are such.
    laws: list[IncrementLaw] = []
    unseen: list[Tensor] = []
    most = max(64, _JUDGED // math.prod(layout.shape))
    at = _evenly(len(judges[0]), most).to(problem.device)
    ends = problem.train.ends()
    for i in range(members):
        stream = seeds(problem.seed).child("member", i)
        law = _law(layout, part.settings, stream).to(problem.device)
        law.adapt(first, last, estimates)
        law.believe(judges[1])
        seen = law.seen(judges[1])
        known, mine = linear.mean(seen), part.part(_folder(i), share=1 / members, begun=i / members)
        generator = stream.child("method", "increments").generator(problem.device)
        judged = judges[0][at], seen[at], known[at]
        if blocks:
            block, rest = (torch.from_numpy(at).to(problem.device) for at in blocks[i])
            mine = replace(mine, train=ends.with_states(torch.stack([first[rest], last[rest]], 1)))
            mine.minimise(law, increment_loss, estimates=(estimates[rest], known), seed=stream)
            some = block[_evenly(len(block), max(64, most // members)).to(problem.device)]
            left_out = first[some], law.seen(last[some]), estimates[some]
            x0, xT, guessed = (torch.cat(both) for both in zip(left_out, judged, strict=True))
            law.finish(x0, xT, guessed, generator)
            unseen.append(_unseen(law.eval(), *left_out, generator))
        else:
            mine.minimise(law, increment_loss, estimates=(estimates, known), seed=stream)
            law.finish(*judged, generator)
        laws.append(law.eval())
    answer = Increments(linear, tuple(laws))
    generator = seeds(problem.seed).child("method", "increments").generator(problem.device)
    stretch = _together(spread_factor(torch.cat(unseen, 1)), answer, judges[1][at], generator) if blocks else 0.0
    if not blocks or later:
        stretch = max(stretch, spread_factor(_validated(answer, judges[0][at], judges[1][at], generator)))
        if judges_worth < FEWEST_INDEPENDENT:
            stretch = max(stretch, 1.0)  # one quiet stretch of time does not say that all are

    # What errors on tests have beyond those on validation data, which lie nearer to training.
    growth = growth_beyond(problem.simulator, problem.train, problem.valid)
    if growth > 1:
        missed = judges[0] - answer.mean(judges[1])
        for law in laws:
            law.widen(missed, math.sqrt(growth**2 - 1) / stretch)
    return replace(answer, stretch=stretch)


@torch.no_grad()
def _validated(answer: Increments, initial: Tensor, final: Tensor, generator: torch.Generator) -> Tensor:
    """Scores of factors of the spread of an answer on validation data."""
    mean = answer.mean(final)
    return spread_scores(answer.sample(final, _COPIES, generator=generator) - mean[:, None], initial - mean)


@torch.no_grad()
def _unseen(law: IncrementLaw, initial: Tensor, seen: Tensor, estimate: Tensor, generator: torch.Generator) -> Tensor:
    """Scores of factors of the spread of a law on the training data that it was not trained on."""
    mean = law.mean(seen, estimate)
    return spread_scores(law.draw(seen, estimate, _COPIES, generator=generator) - mean[:, None], initial - mean)


@torch.no_grad()
def _together(factor: float, answer: Increments, final: Tensor, generator: torch.Generator) -> float:
    """Factor of the spread of all laws together, of one that holds for each of them."""
    laws, layout = answer.laws, answer.laws[0].layout
    seen = laws[0].seen(final)
    known = answer.linear.mean(seen)
    means = torch.stack([layout.scored(law.mean(seen, known)).flatten(1) for law in laws])
    drawn = (layout.scored(law.draw(seen, known, _COPIES, generator=generator)).flatten(2) for law in laws)
    return factor_of_mixture(factor, means, torch.stack([x.std(1) for x in drawn]))


def _folder(i: int | str) -> str:
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
