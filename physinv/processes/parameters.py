"""Parameters of processes: declared as fields of a dataclass, listed, checked, and read back from names and values."""

from __future__ import annotations

__all__ = ["MOST", "build", "check_value", "coerced", "describe", "differing", "number", "parameter", "parameters"]

import dataclasses
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeVar, cast

import numpy as np
from torch import Tensor

from physinv.config.inputs import describe as told
from physinv.config.suggest import did_you_mean
from physinv.processes.priors import OBSERVED_NOISE, prior_from

Process = TypeVar("Process")

MOST = 2**21
"""Largest value of parameters that are whole numbers, where nothing else is said: each time and point is listed."""

_LARGEST = 1e38
"""Largest size of parameters that are real numbers, and one over the smallest but 0: states of float32 hold no others,
and floats no powers of much larger or smaller ones."""

_TIMES = ("horizon", "steps", "inner")  # when states are stored and solved for: one law whatever they are


def parameter(
    default: Any,
    symbol: str,
    doc: str,
    *,
    unit: str = "1",
    above: float | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    varies: bool = False,
) -> Any:
    """Declare a physical parameter as the field of a dataclass.

    Args:
        default: Value that holds if none is given; its type is that of the parameter.
        symbol: Symbol in the equation, as text.
        doc: Meaning in a few words.
        unit: Physical unit, ``"1"`` for numbers without one.
        above: Bound that every value allowed exceeds: 0 for what has a unit and must be positive.
        minimum: Smallest value allowed, itself included.
        maximum: Largest value allowed, itself included.
        choices: Words allowed, for parameters that are one of several words.
        varies: Whether every trajectory may have a value of its own, drawn from a prior: a real number that drift and
            initial states depend on, the noise not, and that may be a tensor ``(batch, 1, ...)`` there.

    Returns:
        The field, in the place of a default.

    Raises:
        ValueError: If symbol, meaning or unit are no words (the default comes first), or bounds are no numbers or leave
            no value.
    """
    for name, value in (("symbol", symbol), ("doc", doc), ("unit", unit)):
        if not isinstance(value, str):
            raise ValueError(f"`{name}` of a parameter must be words, got {told(value)}; default, symbol, doc.")
    for name, bound in (("above", above), ("minimum", minimum), ("maximum", maximum)):
        if bound is not None and (not isinstance(bound, Real) or math.isnan(bound)):
            raise ValueError(f"`{name}` of a parameter must be a number, got {told(bound)}.")
    low = max((bound for bound in (above, minimum) if bound is not None), default=-math.inf)
    if maximum is not None and not low <= maximum:
        raise ValueError(f"`maximum` of a parameter must be at least its smallest value, {low}, got {maximum}.")
    bounds = {"above": above, "minimum": minimum, "maximum": maximum, "choices": choices}
    bounds |= {"varies": True} if varies else {}
    about = {"symbol": symbol, "doc": doc, "unit": unit, **bounds}
    return dataclasses.field(default=default, metadata=about)


def number(value: float | Tensor) -> float:
    """Return a physical parameter as a float, where a scalar tensor may stand for it.

    Args:
        value: The number, or a scalar tensor.
    """
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def parameters(simulator: type[Any]) -> list[dict[str, Any]]:
    """List name, symbol, unit, default and meaning of each parameter of a class.

    Args:
        simulator: The class.

    Returns:
        One mapping for each parameter.
    """
    return [
        {"name": f.name, "default": f.default, **{k: v for k, v in f.metadata.items() if v not in (None, ())}}
        for f in dataclasses.fields(simulator)
    ]


def describe(simulator: Any) -> dict[str, Any]:
    """Return the parameter values of a process: ``build(simulator.process, describe(simulator))`` makes it again.

    Args:
        simulator: The process.

    Returns:
        Values by name; a parameter that varies has its prior, such as ``{"log_uniform": [0.005, 0.05]}``.
    """
    if (own := getattr(simulator, "described", None)) is not None:
        return cast(dict[str, Any], own())
    found = {f.name: getattr(simulator, f.name) for f in dataclasses.fields(simulator)}
    return {name: value.item() if isinstance(value, Tensor) else value for name, value in found.items()}


def differing(ours: Any, theirs: Any) -> str | None:
    """Compare two processes in everything but the times at which states are stored and solved for.

    Args:
        ours: The process at hand.
        theirs: The other one.

    Returns:
        The other process and the first parameter that differs, as ``Heat with `diffusivity` = 0.5, `sde` has 0.1``;
        None where there is no difference.
    """
    if ours.process is not theirs.process:
        return f"{theirs.process.__name__}, `sde` is {ours.process.__name__}"
    mine, other = describe(ours), describe(theirs)
    differ = (key for key in mine if key not in _TIMES and mine[key] != other.get(key))
    key = next(differ, None)
    return None if key is None else f"{ours.process.__name__} with `{key}` = {other.get(key)}, `sde` has {mine[key]}"


def build(simulator: type[Process], values: Mapping[str, Any]) -> Process:
    """Make a process from names and values of its parameters.

    Args:
        simulator: The class.
        values: Values by name; parameters that are missing keep their defaults. Integers stand for floats, lists for
            tuples.  A prior, such as ``{"log_uniform": [0.005, 0.05]}``, lets every trajectory draw its own value
            (:class:`~physinv.processes.varying.Varying`).

    Returns:
        The process.

    Raises:
        ValueError: If a parameter is unknown or its value does not fit; one line says which and names the nearest one.
    """
    known = {f.name: f for f in dataclasses.fields(cast(Any, simulator))}
    for name, value in values.items():
        if name not in known and not (name == OBSERVED_NOISE and isinstance(value, Mapping)):
            hint = did_you_mean(name, known, owner="it has")
            raise ValueError(f"{simulator.__name__} has no parameter `{name}`; {hint}")
    priors = {name: prior_from(name, value) for name, value in values.items() if isinstance(value, Mapping)}
    fitting = {name: coerced(known[name], value) for name, value in values.items() if name not in priors}
    for name, value in fitting.items():
        check_value(simulator.__name__, known[name], value)
    made = simulator(**fitting)
    if not priors:
        return made
    from physinv.processes.varying import vary  # which is a process itself

    return cast(Process, vary(cast(Any, made), priors))


def coerced(field: dataclasses.Field[Any], value: Any) -> Any:
    """Return a value in the type of its parameter, where the two mean the same: 1 for 1.0, a list for a tuple.

    Args:
        field: The parameter.
        value: What was given.

    Returns:
        The value, without NumPy's types.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if _kind(field) is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return tuple(value) if isinstance(field.default, tuple) and isinstance(value, list) else value


def check_value(owner: str, field: dataclasses.Field[Any], value: Any) -> None:
    """Refuse a value that a parameter can't take.

    Args:
        owner: Name of the process, for messages.
        field: The parameter.
        value: Its value.

    Raises:
        ValueError: If type, bounds or choices do not fit; one line says what does.
    """
    about, name = field.metadata, f"`{field.name}` of {owner}"
    kind = _kind(field)
    if kind is float and isinstance(value, Tensor) and value.ndim == 0:
        value = float(value.detach())  # a parameter to differentiate with respect to
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    if isinstance(value, float) and value and not 1 / _LARGEST <= abs(value) <= _LARGEST:
        bounds = f"between {1 / _LARGEST:g} and {_LARGEST:g} in size"
        raise ValueError(f"{name} must be {bounds}, got {value:g}; take another unit.")
    if (bound := about.get("above")) is not None and not value > bound:
        raise ValueError(f"{name} must be above {bound}, got {value}.")
    low, high = about.get("minimum"), about.get("maximum")
    if isinstance(value, int) and kind is int and high is None and value > MOST:
        raise ValueError(f"{name} must be at most {MOST}, got {value}.")
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {value}.")
    if low is not None and value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}.")
    if high is not None and value > high:
        raise ValueError(f"{name} must be at most {high}, got {value}.")
    if (choices := about.get("choices")) and value not in choices:
        hint = did_you_mean(str(value), choices, owner="it must be one of")
        raise ValueError(f"{name} can't be {value!r}; {hint}")


def _kind(field: dataclasses.Field[Any]) -> type[Any]:
    """The type of a parameter: that of its default, where it is not declared to be a float and begins at 1."""
    whole = isinstance(field.default, int) and not isinstance(field.default, bool)
    return float if whole and field.type in (float, "float") else type(field.default)
