"""Turn what a user hands in from Python into tensors, or say in one line what is wrong with it."""

from __future__ import annotations

__all__ = ["as_states", "as_tensor", "as_times", "check_generator", "check_instance"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_tensor(value: Any, name: str) -> Tensor:
    """Turn arrays, lists and numbers into a tensor of a floating-point type; tensors of one pass through.

    Args:
        value: A tensor, a NumPy array, or (nested lists of) numbers.
        name: Name of the argument, for messages.

    Raises:
        ValueError: If the value holds no numbers, or complex ones.
    """
    try:
        found = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value, dtype=None))
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
        finite: Whether NaN and infinity are refused.

    Raises:
        ValueError: If the batch dimension is missing, the states have another shape, or are not finite.
    """
    x = as_tensor(value, name)
    if like is not None:
        x = x.to(like)
    found = tuple(x.shape)
    if shape is not None and found[1:] != tuple(shape):
        wanted = f"(batch, {', '.join(map(str, shape))})"
        if found == tuple(shape):
            raise ValueError(f"`{name}` must have shape {wanted}, got {found}; for a single state give {name}[None].")
        raise ValueError(f"`{name}` must have shape {wanted}, got {found}; is it of another process?")
    if x.ndim < 2 and shape is None:
        raise ValueError(f"`{name}` must have shape (batch, *state), got {found}; for one state give {name}[None].")
    if finite and not bool(x.isfinite().all()):
        row = int(torch.nonzero(~x.flatten(1).isfinite())[0, 0])
        raise ValueError(f"`{name}` must be finite, got NaN or infinity in state {row}; leave that state out.")
    return x


def as_times(value: Any, name: str = "times") -> Tensor:
    """Turn a list, an array or a tensor into times, float64, ``(time,)``.

    Args:
        value: Numbers in the unit of time of the process.
        name: Name of the argument, for messages.

    Raises:
        ValueError: If they are not finite numbers along one axis.
    """
    times = as_tensor(value, name).to(torch.float64)
    if times.ndim != 1:
        raise ValueError(f"`{name}` must be numbers along one axis, got shape {tuple(times.shape)}.")
    if not bool(times.isfinite().all()):
        raise ValueError(f"`{name}` must be finite, got NaN or infinity.")
    return times


def check_generator(generator: Any) -> None:
    """Raise ValueError unless ``generator`` is a ``torch.Generator`` or None.

    Args:
        generator: What was given as the source of randomness.
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(
            f"`generator` must be a torch.Generator, got {describe(generator)}; "
            "give torch.Generator().manual_seed(seed)."
        )


def check_instance(value: Any, kind: type[Any], name: str, remedy: str = "") -> None:
    """Raise ValueError unless ``value`` is an instance of ``kind``.

    Args:
        value: What was given.
        kind: The class it must be an instance of.
        name: Name of the argument, for messages.
        remedy: What to do, as a clause; by default, for a class in the place of an instance, to call it.
    """
    if isinstance(value, kind):
        return
    if isinstance(value, type) and issubclass(value, kind):
        remedy = f"give {value.__name__}(...), an instance"
    article = "an" if kind.__name__[0] in "AEIOUS" and kind.__name__ != "Simulator" else "a"
    ending = f"; {remedy}." if remedy else "."
    raise ValueError(f"`{name}` must be {article} {kind.__name__}, got {describe(value)}{ending}")


def describe(value: Any) -> str:
    """Say in a few words what a value is: its class, and its shape or itself where that is short.

    Args:
        value: Anything.

    Example:
        >>> describe([1, 2]), describe(np.zeros((2, 3)))
        ('list [1, 2]', 'ndarray of shape (2, 3)')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{kind} of shape {tuple(value.shape)}"
    text = repr(value)
    return f"{kind} {text}" if len(text) <= 40 and not text.startswith("<") else kind
