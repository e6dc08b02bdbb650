"""Turn what a user hands in from Python into tensors, or say in one line what is wrong with it."""

from __future__ import annotations

__all__ = [
    "Numbers",
    "States",
    "Times",
    "as_path",
    "as_paths",
    "as_states",
    "as_tensor",
    "as_times",
    "check_batch",
    "check_count",
    "check_function",
    "check_generator",
    "check_instance",
    "describe",
    "home_of",
    "joined",
    "one_each",
]

import inspect
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Real
from numpy.typing import NDArray
from torch import Tensor

Numbers = Tensor | NDArray[Any] | Sequence[Any]
"""What :func:`as_tensor` accepts: a tensor, an array, or (nested) lists of numbers."""

States = Real[Tensor, "batch *state"] | NDArray[Any] | Sequence[Any]
"""What :func:`as_states` accepts, ``(batch, *state)``."""

Times = Real[Tensor, " time"] | NDArray[Any] | Sequence[Any]
"""What :func:`as_times` accepts, ``(time,)``."""


def as_tensor(value: Any, name: str) -> Tensor:
    """Turn arrays, lists and numbers into a tensor of a floating-point type; tensors of one pass through.

    Args:
        value: A tensor, a NumPy array, or (nested lists of) numbers.
        name: Name of the argument, for messages.

    Returns:
        A tensor of a floating-point type.

    Raises:
        ValueError: If the value holds no numbers, or complex ones.
    """
    try:
        found = value if isinstance(value, Tensor) else torch.from_numpy(_array(value))
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"`{name}` must be a tensor or an array of numbers, got {describe(value)}.") from None
    if found.is_complex():
        raise ValueError(f"`{name}` must be real, got {describe(value)}; give real and imaginary part as two channels.")
    return found if found.is_floating_point() else found.to(torch.get_default_dtype())


def as_states(
    value: Any, name: str, shape: Sequence[int] | None = None, *, like: Tensor | None = None, finite: bool = False
) -> Tensor:
    """Turn ``value`` into a batch of states ``(batch, *state)``.

    Args:
        value: A tensor, a NumPy array or lists of numbers.
        name: Name of the argument, for messages.
        shape: Shape of one state, where it is known.
        like: A tensor whose dtype and device the states are brought to; without it their own stay.
        finite: Whether NaN, infinity and an empty batch are refused.

    Returns:
        States ``(batch, *state)``.

    Raises:
        ValueError: If the batch dimension is missing, the states have another shape, or are not finite.
    """
    x = as_tensor(value, name)
    if like is not None:
        x = x.to(like)
    elif not isinstance(value, (Tensor, np.ndarray)):
        x = x.to(torch.get_default_dtype())  # of lists, whose numbers have no precision of their own
    found = tuple(x.shape)
    if shape is not None and found[1:] != tuple(shape):
        wanted = joined(shape)
        if found == tuple(shape):
            raise ValueError(f"`{name}` must have shape {wanted}, got {found}; for a single state give {name}[None].")
        raise ValueError(f"`{name}` must have shape {wanted}, got {found}; is it of another process?")
    if x.ndim < 2 and shape is None:
        raise ValueError(f"`{name}` must have shape (batch, *state), got {found}; for one state give {name}[None].")
    if finite and not len(x):
        raise ValueError(f"`{name}` must hold one state or more, got shape {found}.")
    if finite and not bool(x.isfinite().all()):
        row = int(torch.nonzero(~x.flatten(1).isfinite())[0, 0])
        raise ValueError(f"`{name}` must be finite, got NaN or infinity in state {row}; leave that state out.")
    return x


def as_times(value: Any, name: str = "times", *, increasing: bool = False) -> Tensor:
    """Turn a list, an array or a tensor into times, float64, ``(time,)``.

    Args:
        value: Numbers in the unit of time of the process.
        name: Name of the argument, for messages.
        increasing: Whether there must be two or more, each later than the one before.

    Returns:
        Times ``(time,)``, float64, on the CPU unless they were a tensor elsewhere.

    Raises:
        ValueError: If they are not finite numbers along one axis, or do not increase where they must.
    """
    times = as_tensor(value, name).to(torch.float64)
    if times.ndim != 1:
        raise ValueError(f"`{name}` must be numbers along one axis, got shape {tuple(times.shape)}; give a list.")
    if not bool(times.isfinite().all()):
        raise ValueError(f"`{name}` must be finite, got NaN or infinity; leave those times out.")
    if increasing:
        if len(times) < 2:
            raise ValueError(f"`{name}` must hold two or more numbers, got {len(times)}; add the last time.")
        if not bool((times.diff() > 0).all()):
            i = int(torch.nonzero(times.diff() <= 0)[0, 0])
            got = f"{float(times[i]):g} and then {float(times[i + 1]):g}"
            raise ValueError(f"`{name}` must increase strictly, got {got}; sort them, without repetitions.")
    return times


def as_path(value: Any, name: str, remedy: str) -> Path:
    """Turn a name or a path into a ``Path``.

    Args:
        value: What was given.
        name: Name of the argument, for messages.
        remedy: What to give, as a clause.

    Returns:
        The path.

    Raises:
        ValueError: If it names no place.
    """
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError(f"`{name}` must be a path, got {describe(value)}; {remedy}.")
    return Path(value)


def as_paths(value: Any, name: str, remedy: str) -> list[Path]:
    """Turn one path or several into a list.

    Args:
        value: What was given.
        name: Name of the argument, for messages.
        remedy: What to give, as a clause.

    Returns:
        The paths, in their order.

    Raises:
        ValueError: If it is neither.
    """
    if not isinstance(value, (str, Path, Sequence)):
        raise ValueError(f"`{name}` must be a path or several, got {describe(value)}; {remedy}.")
    return [as_path(path, name, remedy) for path in ([value] if isinstance(value, (str, Path)) else value)]


def check_batch(value: Tensor, name: str, other: Tensor, others: str) -> None:
    """Raise ValueError unless two batches have as many rows.

    Args:
        value: Tensor whose first axis counts.
        name: Name of the argument, for messages.
        other: Tensor that it goes with.
        others: Name of that argument.

    Raises:
        ValueError: If the numbers of rows differ: nothing is broadcast.
    """
    if len(value) != len(other):
        raise ValueError(
            f"`{name}` must hold one row for each of the {len(other)} of `{others}`, got {len(value)}; give as many."
        )


def check_count(value: Any, name: str, least: int = 1) -> int:
    """Return a whole number as an int.

    Args:
        value: What was given; NumPy's integers count as whole numbers, Booleans and floats do not.
        name: Name of the argument, for messages; backticks are added to a single word.
        least: The smallest number allowed.

    Raises:
        ValueError: If it is no whole number, or smaller than ``least``.
    """
    label = _label(name)
    try:
        if isinstance(value, (bool, Tensor)):
            raise TypeError
        found = operator.index(value)
    except TypeError:
        remedy = f"give {max(least, 1)} or more"
        raise ValueError(f"{label} must be a whole number, got {describe(value)}; {remedy}.") from None
    if found < least:
        raise ValueError(f"{label} must be at least {least}, got {found}.")
    return found


def check_function(value: Any, name: str, form: str, remedy: str = "") -> None:
    """Raise ValueError unless ``value`` can be called as its form says.

    Args:
        value: What was given: a function, or an instance that can be called.
        name: Name of the argument, for messages; backticks are added to a single word.
        form: Arguments and result, such as ``"(x, t) -> score"``.
        remedy: What to do, as a clause.

    Raises:
        ValueError: If it can't be called, is a class, or does not take that many arguments.

    Example:
        >>> check_function(len, "size", "(x, t) -> size")
        Traceback (most recent call last):
        ValueError: `size` must be a function (x, t) -> size, got one of (obj).
    """
    label = _label(name)
    told = f"{label} must be a function {form}, got "
    ending = f"; {remedy}." if remedy else "."
    if isinstance(value, type) or not callable(value):
        raise ValueError(f"{told}{describe(value)}{ending}")
    count = len(form.partition(")")[0].split(","))
    try:
        taken = inspect.signature(value.forward if isinstance(value, torch.nn.Module) else value)
    except (TypeError, ValueError):  # some that are written in C do not say
        return
    try:
        taken.bind(*[None] * count)
    except TypeError:
        names = ", ".join(str(p).partition(":")[0] for p in taken.parameters.values())
        raise ValueError(f"{told}one of ({names}){ending}") from None


def check_generator(generator: Any) -> None:
    """Raise ValueError unless ``generator`` is a ``torch.Generator`` or None.

    Args:
        generator: What was given as the source of randomness.

    Raises:
        ValueError: If it is something else; one line says what to give.
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(
            f"`generator` must be a torch.Generator, got {describe(generator)}; give torch.Generator().manual_seed(0)."
        )


def home_of(generator: torch.Generator | None, x: Tensor) -> torch.device:
    """Return the device on which random numbers are drawn: that of the generator, or of the tensor they are for.

    Args:
        generator: Source of randomness; None: torch's global one.
        x: The tensor.

    Raises:
        ValueError: If ``generator`` is of another kind.
    """
    check_generator(generator)
    return x.device if generator is None else generator.device


def check_instance(value: Any, kind: type[Any], name: str, remedy: str = "") -> None:
    """Raise ValueError unless ``value`` is an instance of ``kind``.

    Args:
        value: What was given.
        kind: The class it must be an instance of.
        name: Name of the argument, for messages.
        remedy: What to do, as a clause; by default, for a class in the place of an instance, to call it.

    Raises:
        ValueError: If it is no instance; one line says what was given and what to do.
    """
    if isinstance(value, kind):
        return
    if isinstance(value, type) and issubclass(value, kind):
        remedy = f"give {value.__name__}(...), an instance"
    spelt = kind.__name__.isupper()  # an SDE, which is read letter by letter
    article = "an" if kind.__name__[0] in ("AEFHILMNORSX" if spelt else "AEIO") else "a"
    ending = f"; {remedy}." if remedy else "."
    raise ValueError(f"{_label(name)} must be {article} {kind.__name__}, got {describe(value)}{ending}")


def one_each(function: Callable[[Tensor], Tensor], x: Tensor, name: str) -> Tensor:
    """Return what a function of states makes of them, which must be one number for each.

    Args:
        function: A log density, or an energy.
        x: States, ``(batch, *state)``.
        name: Name of the argument, for messages.

    Returns:
        Numbers, ``(batch,)``.

    Raises:
        ValueError: If it returns anything else: numbers of components would be broadcast.
    """
    found = function(x)
    if not isinstance(found, Tensor) or found.shape != (len(x),):
        got = describe(found)
        raise ValueError(
            f"`{name}` must return one number for each state, ({len(x)},), got {got}; sum over components."
        )
    return found


def joined(shape: Sequence[int]) -> str:
    """Write the shape of a batch of states.

    Args:
        shape: Shape of one state.

    Returns:
        The shape in parentheses, ``batch`` first.

    Example:
        >>> joined((1, 8))
        '(batch, 1, 8)'
    """
    return f"(batch, {', '.join(map(str, shape))})" if shape else "(batch,)"


def describe(value: Any) -> str:
    """Say in a few words what a value is: its class, and its shape or itself where that is short.

    Args:
        value: Anything.

    Returns:
        A few words for a message.

    Example:
        >>> describe([1, 2]), describe(np.zeros((2, 3)))
        ('list [1, 2]', 'ndarray of shape (2, 3)')
    """
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{kind} of shape {tuple(value.shape)}"
    text = repr(value)
    return f"{kind} {text}" if len(text) <= 40 and text[:1] != "<" and "\n" not in text else kind


def _label(name: str) -> str:
    """The name of an argument in backticks."""
    return name if "`" in name else f"`{name}`"


def _array(value: Any) -> NDArray[Any]:
    """An array that torch can share memory with: writable, contiguous, in the byte order of the machine."""
    if isinstance(value, np.ma.MaskedArray):  # what is masked is missing, and what lies under the mask no number
        value = np.ma.filled(value.astype(np.float64), np.nan) if np.ma.is_masked(value) else value.data
    found: NDArray[Any] = np.require(value, requirements=["C", "W"])
    return found.astype(found.dtype.newbyteorder("="), copy=False)
