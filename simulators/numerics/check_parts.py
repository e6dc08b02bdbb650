"""Check what the class of a semilinear equation gives: rates of its modes, and modes of its nonlinear part."""

from __future__ import annotations

__all__ = ["check_modes"]

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from simulators.numerics.semilinear import Semilinear


def check_modes(process: Semilinear, x: Tensor) -> None:
    """Refuse ``symbol`` and ``nonlinear`` that do not return modes.

    Args:
        process: The equation.
        x: Some of its states.

    Raises:
        ValueError: If one takes other arguments, fails, or returns something else; one line says which.
    """
    owner, y = type(process).__name__, process.modes(x)
    modes = tuple(y.shape)
    rates = _called(owner, "symbol(like)", lambda: process.symbol(x))
    remedy = "make it of squared_wavenumbers(like) or derivatives(like)"
    wanted = f"`symbol` of {owner} must return a tensor that broadcasts against modes of shape {modes}"
    if not isinstance(rates, Tensor):
        raise ValueError(f"{wanted}, got {_told(rates)}; {remedy}.")
    shape = tuple(rates.shape)
    if len(shape) != len(modes) or any(a not in (1, b) for a, b in zip(shape, modes, strict=True)):
        raise ValueError(f"{wanted}, got {_told(rates)}; {remedy}.")
    found: Any = _called(owner, "nonlinear(y, like)", lambda: process.nonlinear(y, x))
    if not isinstance(found, Tensor) or tuple(found.shape) != modes or found.is_complex() != y.is_complex():
        told = "give self.modes(values) of the values in space"
        raise ValueError(f"`nonlinear` of {owner} must return modes of shape {modes}, got {_told(found)}; {told}.")


def _told(value: Any) -> str:
    """What a part returned: its shape, or the value itself."""
    return f"{type(value).__name__} of shape {tuple(value.shape)}" if hasattr(value, "shape") else repr(value)


def _called(owner: str, form: str, call: Callable[[], Any]) -> Any:
    """What a part returns, or one line that says why it fails."""
    try:
        return call()
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"`{form}` of {owner} fails: {reason}.") from error
