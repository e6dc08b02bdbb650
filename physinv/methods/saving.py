"""How an answer is saved and loaded: as tensors by name, with a few words of JSON where tensors cannot say it.

An answer that is saved has ``tensors()``.  The function that fits its method is marked with the function that makes the
answer again from these tensors:

    @loaded_by(load_mine)
    def fit_mine(problem, *, width=64): ...
"""

from __future__ import annotations

__all__ = [
    "Loading",
    "Noted",
    "Setup",
    "Saveable",
    "below",
    "check_saveable",
    "loaded_by",
    "loading_of",
    "notes_of",
    "prefixed",
    "tensors_of",
    "unsaved",
]

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import describe
from physinv.config.settings import Settings
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator

Fit = TypeVar("Fit", bound=Callable[..., Any])


@dataclass(frozen=True)
class Setup:
    """What a run knows without data: all that a stored answer is made of, but its tensors.

    Args:
        simulator: The process.
        times: Stored times, from 0 to T, float64.
        settings: Sizes and training of the networks.
        seed: Seed of training.
        device: Device of networks and data.
        notes: What the answer said of itself beside its tensors (:class:`Noted`).
    """

    simulator: Simulator
    times: Float[Tensor, " time"]
    settings: Settings = field(default_factory=Settings)
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layout(self) -> StateLayout:
        """Names, axes and coordinates of the states."""
        return self.simulator.layout


@runtime_checkable
class Saveable(Protocol):
    """An answer that can be saved."""

    def tensors(self) -> dict[str, Tensor]:
        """Return all that was fitted, by name.

        Returns:
            Tensors of any shape, on any device.
        """


@runtime_checkable
class Noted(Protocol):
    """An answer that needs a few words beside its tensors, such as the name of a part."""

    def notes(self) -> dict[str, Any]:
        """Return these words.

        Returns:
            Values by name, fit for JSON.
        """


@dataclass(frozen=True)
class Loading:
    """How an answer is made again from tensors, and what is known of a method without running it.

    Args:
        load: ``load(setup, tensors, **options)``, which makes the answer again; None: it cannot be saved.
        trains: Whether fitting spends the budget; what does not can be fitted anew whenever it is needed.
        partial: Whether final states are inputs and nothing else, so that estimates of them may take their place.
        reason: Why it cannot be saved.
        prior: Whether a prior can be given; then nothing is trained.
    """

    load: Callable[..., Any] | None
    trains: bool = True
    partial: bool = False
    reason: str = ""
    prior: bool = False


_LOADINGS: dict[Callable[..., Any], Loading] = {}


def loaded_by(
    load: Callable[..., Any], *, trains: bool = True, partial: bool = False, prior: bool = False
) -> Callable[[Fit], Fit]:
    """Mark the function of a method with the one that loads its answers.

    Args:
        load: ``load(setup, tensors, **options)`` with the options of the method.
        trains: False where fitting takes no training: such methods reconstruct without a run, too.
        partial: True where final states are inputs and nothing else, so that the method can be trained for partial
            observations: with estimates of final states in their place.
        prior: True where a prior can be given (:attr:`Problem.prior <physinv.methods.problem.Problem>`), with which
            nothing is trained.

    Returns:
        A decorator that returns the function as it is.
    """

    def mark(fit: Fit) -> Fit:
        _LOADINGS[fit] = Loading(load, trains, partial, prior=prior)
        return fit

    return mark


def unsaved(reason: str, *, trains: bool = True) -> Callable[[Fit], Fit]:
    """Mark the function of a method whose answers cannot be saved.

    Args:
        reason: Why, as a clause that follows a colon.
        trains: False where fitting takes no training: such methods reconstruct without a run.

    Returns:
        A decorator that returns the function as it is.
    """

    def mark(fit: Fit) -> Fit:
        _LOADINGS[fit] = Loading(None, trains, reason=reason)
        return fit

    return mark


def loading_of(fit: Callable[..., Any]) -> Loading:
    """Return how the answers of a method are loaded.

    Args:
        fit: The function of the method.
    """
    missing = "mark its function with `@loaded_by(load)` and give its answer `tensors()` (see docs/methods.md)"
    return _LOADINGS.get(fit, Loading(None, reason=missing))


def check_saveable(name: str, fit: Callable[..., Any]) -> None:
    """Refuse a method whose answers cannot be saved, before it is trained.

    Args:
        name: Name of the method.
        fit: Its function.

    Raises:
        ValueError: If they cannot, or could not be loaded; one line says what to do.
    """
    loading = loading_of(fit)
    if loading.load is None:
        raise ValueError(f"method `{name}` can't be saved as a run: {loading.reason}.")
    options = [p.name for p in inspect.signature(fit).parameters.values() if p.kind == p.KEYWORD_ONLY]
    told = f"`load` of method `{name}` must be a function ({', '.join(['setup', 'tensors', *options])})"
    if not callable(loading.load):
        raise ValueError(f"{told}, got {describe(loading.load)}; give it to `@loaded_by`.")
    taken = inspect.signature(loading.load)
    try:
        taken.bind(None, None, **dict.fromkeys(options))
    except TypeError as error:
        raise ValueError(f"{told}, got one of {taken}: {error}.") from None


def tensors_of(name: str, answer: Any) -> dict[str, Tensor]:
    """Return the tensors of an answer.

    Args:
        name: Name of the method.
        answer: What it returned.

    Raises:
        ValueError: If it has none, or they are no tensors by name.
    """
    if not isinstance(answer, Saveable):
        raise ValueError(f"the answer of method `{name}` must have `tensors()` to be saved, got {type(answer)}.")
    found: Any = answer.tensors()
    wanted = f"`tensors()` of the answer of method `{name}` must return torch tensors by name"
    if not isinstance(found, Mapping):
        raise ValueError(f"{wanted}, got {describe(found)}; return a dict.")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{wanted}, got {describe(value)} for {key!r}; convert it by torch.as_tensor.")
    return dict(found)


def notes_of(answer: Any) -> dict[str, Any]:
    """Return what an answer says of itself beside its tensors; nothing where it has no such words.

    Args:
        answer: The answer.
    """
    return answer.notes() if isinstance(answer, Noted) else {}


def prefixed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under names that begin with that of a part.

    Args:
        name: Name of the part.
        tensors: Its tensors.

    Example:
        >>> list(prefixed("prior", {"mean": torch.zeros(1)}))
        ['prior.mean']
    """
    return {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a part under their own names: the inverse of :func:`prefixed`.

    Args:
        name: Name of the part.
        tensors: Tensors of all parts.

    Example:
        >>> list(below("prior", {"prior.mean": torch.zeros(1), "forward.bias": torch.zeros(1)}))
        ['mean']
    """
    start = f"{name}."
    return {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}
