"""The words ``key=value`` of the options ``--set`` and ``--option``, as values that Python understands."""

from __future__ import annotations

__all__ = ["read_assignments", "read_parameters"]

import tomllib
from collections.abc import Iterable
from typing import Any


def read_assignments(words: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Read ``key=value`` words; values are written as in TOML, and what is none there is text.

    Whole numbers may be written with an exponent, 1e5: where a fraction is allowed, a whole number is as well.

    Args:
        words: One word for each key, such as ``"rate=1e-3"``; a later word overrules an earlier one.
        option: The option of the command line that they were given with, for messages.

    Returns:
        Values by key.

    Raises:
        ValueError: If a word has no key or no ``=``.

    Example:
        >>> read_assignments(["rate=1e-3", "prior=edges", "windows=[2, 4]"])
        {'rate': 0.001, 'prior': 'edges', 'windows': [2, 4]}
        >>> read_assignments(["batch=1e3", "rate=1.0"])
        {'batch': 1000, 'rate': 1.0}
    """
    out: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"`{option}` takes key=value, got {word!r}.")
        try:
            out[key.strip()] = _whole(tomllib.loads(f"v = {value}")["v"], value)
        except RecursionError:
            raise ValueError(f"`{option}` {key.strip()} has a value that is nested too deep.") from None
        except tomllib.TOMLDecodeError:
            out[key.strip()] = value.strip()
    return out


def read_parameters(words: Iterable[str]) -> dict[str, Any]:
    """Read parameters of a process, some of which may have priors.

    Args:
        words: ``key=value`` words; a value such as ``log_uniform:0.005:0.05`` is a prior.

    Returns:
        Values by key, and priors as recipes have them.

    Raises:
        ValueError: If a word has no key or no ``=``.

    Example:
        >>> read_parameters(["size=64", "viscosity=uniform:0.1:0.2"])
        {'size': 64, 'viscosity': {'uniform': [0.1, 0.2]}}
    """
    from physinv.processes.priors import read_prior

    given = read_assignments(words, "--parameter")
    return {k: v if not isinstance(v, str) or (law := read_prior(v)) is None else law for k, v in given.items()}


def _whole(found: Any, word: str) -> Any:
    """A number with an exponent and no point as a whole number, where it is one that floats hold exactly."""
    if isinstance(found, float) and "." not in word and found.is_integer() and abs(found) < 2**53:
        return int(found)
    return found
