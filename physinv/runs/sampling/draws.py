"""The draws of one batch of observations, by whatever answer a run has, with unknown parameters first."""

from __future__ import annotations

__all__ = ["Asked", "check_unknown", "drawn_states", "heard", "refuse_warnings", "steps_of"]

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.failures import blamed_on
from physinv.config.inputs import describe
from physinv.evaluation.observed.plausibility import divergence
from physinv.laws.observation import Observation
from physinv.methods.parameters import draws_parameters, joint_samples
from physinv.methods.problem import Answer, RowsWarning
from physinv.methods.reverse import ReverseAnswer
from physinv.models.jumps.parameters import ParameterKernel
from physinv.posterior.partial import sample_final
from physinv.training.final_estimate import Reader

_LEAST_STEPS = 16  # of a solver: fewer may be too few where more are stable
_MEAN_DRAWS = 32  # of unknown parameters, over which single estimates of a state are averaged


@runtime_checkable
class Asked(Protocol):
    """What is asked of each observation; :class:`~physinv.runs.sampling.plan.SamplingPlan` says what it means."""

    @property
    def answer(self) -> str:
        """What is computed."""

    @property
    def draws(self) -> int:
        """States for each observation."""

    @property
    def steps(self) -> int | None:
        """Solver steps of a score model."""

    @property
    def grid(self) -> str:
        """Their placement."""

    @property
    def observe(self) -> str | None:
        """Partial observation."""

    @property
    def refine(self) -> int:
        """Gradients of Monte Carlo behind each sample."""


def steps_of(answer: Answer) -> int | None:
    """Return the solver steps of the samples of a score model; None for samples without small steps.

    Args:
        answer: The answer.
    """
    return answer.steps if isinstance(answer, ReverseAnswer) else None


@contextlib.contextmanager
def heard(told: list[str]) -> Iterator[None]:
    """Add what answers warn of to sentences that a file and the user are told, once each, of rows for all batches.

    Args:
        told: The sentences.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for message in (w.message for w in caught if issubclass(w.category, UserWarning)):
        line, place = _Line(message), len(told)
        if isinstance(message, RowsWarning):
            before = ((i, kept.of) for i, kept in enumerate(told) if isinstance(kept, _Line))
            for i, kept in before:
                if isinstance(kept, RowsWarning) and kept.tell is message.tell:
                    line, place = _Line(RowsWarning((*kept.numbers, *message.numbers), message.tell)), i
        if place < len(told) or line not in told:
            told[place : place + 1] = [line]


class _Line(str):
    """A sentence that knows the warning that it is of."""

    of: Warning | str

    def __new__(cls, of: Warning | str) -> _Line:
        made = super().__new__(cls, of)
        made.of = of
        return made


def refuse_warnings(told: Sequence[str], *, strict: bool) -> None:
    """Raise ValueError with all warnings, where they are errors.

    Args:
        told: The warnings.
        strict: Whether they are errors.

    Raises:
        ValueError: If they are, and there are some.
    """
    if strict and told:
        raise ValueError(" ".join(told))


def check_unknown(names: Sequence[str], asked: Asked, reader: Reader | None) -> None:
    """Refuse what needs known parameters, where some are unknown.

    Args:
        names: The unknown parameters; none: nothing is refused.
        asked: What is asked for.
        reader: What reads the partial observations that the run is trained for; None: it is trained for none.

    Raises:
        ValueError: If it is partial observations, refinement, or the solution of a probability flow.
    """
    needs = {"observe": asked.observe if reader is None else None, "refine": asked.refine or None}
    needs |= {"answer": asked.answer} if asked.answer not in ("samples", "mean") else {}
    for name, value in needs.items():
        if value is not None and names:
            told = f"`{name}` = {value} needs known parameters, {', '.join(names)} is unknown here"
            raise ValueError(f"{told}; leave it out{', or train a run for it' if name == 'observe' else ''}.")


def drawn_states(
    parameters: ParameterKernel | None,
    answer: Answer,
    observation: Observation | Reader | None,
    x: Float[Tensor, "batch *seen"],
    asked: Asked,
    generator: torch.Generator,
    finals: Float[Tensor, "m *state"] | None = None,
) -> Float[Tensor, "batch k *state"]:
    """Reconstruct the states of one batch of observations.

    Args:
        parameters: The law of unknown parameters, which are drawn first; None: all are known, or the answer draws them.
        answer: The answer.
        observation: Partial observation of the final states, or their estimate from it where the answer is trained for
            that; None: they are observed whole.
        x: Final states, or the observed numbers.
        asked: What is asked for.
        generator: Source of randomness.
        finals: Final states at which draws given a part of them begin; None: those of the reference law.

    Returns:
        As many states as are asked for.

    Raises:
        ValueError: If a number is not finite.
    """
    if parameters is None or draws_parameters(answer):
        return _drawn(answer, observation, x, asked, asked.draws, generator, finals)
    reader = observation if isinstance(observation, Reader) else None
    if reader is not None:
        x, observation = reader(x), None
    samples = asked.answer == "samples"
    count = asked.draws if samples else _MEAN_DRAWS
    joint = joint_samples(
        parameters,
        lambda seen: _drawn(answer, observation, seen, asked, 1, generator)[:, 0],
        x,
        count,
        generator=generator,
    )
    joint = joint if reader is None else reader.plain(joint)
    return joint if samples else joint.mean(1, keepdim=True)


def _drawn(
    answer: Answer,
    observation: Observation | Reader | None,
    x: Tensor,
    asked: Asked,
    count: int,
    generator: torch.Generator,
    finals: Tensor | None = None,
) -> Float[Tensor, "batch k *state"]:
    """States given observations, whose parameters are known."""
    if isinstance(observation, Reader):
        drawn = observation.plain(answer.sample(observation(x), count, generator=generator))
    elif isinstance(answer, ReverseAnswer) and observation is not None:
        final = sample_final(answer.posterior, observation, x, count, generator=generator, finals=finals)
        drawn = answer.learned.sample(final.flatten(0, 1), 1, generator=generator).reshape(final.shape)
    elif asked.answer == "samples":
        drawn = _checked(answer, "sample", lambda: answer.sample(x, count, generator=generator), (len(x), count))
    elif isinstance(answer, ReverseAnswer) and asked.answer != "mean":
        p = answer.posterior
        drawn = (p.flow(x) if asked.answer == "flow" else p.mean_flow(x))[:, None]
    else:
        drawn = _checked(answer, "mean", lambda: answer.mean(x), (len(x),))[:, None]
    if not bool(drawn.isfinite().all()):
        few = asked.steps is not None and asked.steps < _LEAST_STEPS and asked.grid == "stored"
        raise ValueError(f"`{asked.answer}`: {divergence(drawn, x, steps=steps_of(answer) if few else None)}")
    return drawn.detach()


def _checked(answer: Answer, part: str, call: Callable[[], Tensor], lead: tuple[int, ...]) -> Tensor:
    """What an answer returns; one from outside may fail for other observations than those that it was tried on."""
    kind = type(answer)
    if kind.__module__.startswith("physinv."):
        return call()
    with blamed_on(f"`{part}` of {kind.__name__}"):
        found: Any = call()
    if not isinstance(found, Tensor) or found.ndim <= len(lead) or tuple(found.shape[: len(lead)]) != lead:
        wanted = ", ".join(map(str, lead))
        raise ValueError(f"`{part}` of {kind.__name__} must return a tensor ({wanted}, *state), got {describe(found)}.")
    return found
