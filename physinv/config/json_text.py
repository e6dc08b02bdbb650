"""Read JSON that others may have written: an object of bounded depth, or one line that says why it is none."""

from __future__ import annotations

__all__ = ["MAX_DEPTH", "check_depth", "read_object"]

import json
from typing import Any

MAX_DEPTH = 64
"""Levels of lists and objects inside each other, at most; what physinv writes has fewer than ten."""


def read_object(text: object, what: str, *, finite: bool = False) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        text: The text, or its bytes in UTF-8; anything else, which a damaged file may hold in its place, is refused.
        what: What the text is, such as ``"the configuration of x.hdf5"``, with which messages begin.
        finite: Whether NaN and Infinity are refused, which Python writes and JSON does not know.

    Returns:
        The keys and values.

    Raises:
        ValueError: If it is no text, no JSON, no object, has a key twice, or is deeper than :data:`MAX_DEPTH`.

    Example:
        >>> read_object('{"seed": 1}', "the configuration")
        {'seed': 1}
        >>> read_object("[1, 2]", "the configuration")
        Traceback (most recent call last):
        ...
        ValueError: the configuration is damaged: it must be a JSON object, got a list.
    """
    if not isinstance(text, (str, bytes)):
        raise _damaged(what, f"it must be JSON text, got {type(text).__name__}")
    try:
        plain = text if isinstance(text, str) else text.decode("utf-8")
        constant = _no_number if finite else float
        found = json.loads(plain, object_pairs_hook=_once_each, parse_constant=constant)
    except RecursionError:
        raise _damaged(what, f"it must have at most {MAX_DEPTH} levels") from None
    except _RepeatedKeyError as error:
        raise _damaged(what, f"it has the key `{str(error)[:60]}` twice") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise _damaged(what, "it is not valid JSON") from None
    except _NotFiniteError:
        raise _damaged(what, "it holds a number that is not finite") from None
    except ValueError:  # a whole number of thousands of digits, which Python refuses to read
        raise _damaged(what, "it holds a number that is too long") from None
    if not isinstance(found, dict):
        raise _damaged(what, f"it must be a JSON object, got {_KINDS[type(found)]}")
    check_depth(found, what)
    return found


def check_depth(value: object, what: str) -> None:
    """Refuse lists and objects that lie inside each other too deep for functions that call themselves.

    Args:
        value: What was read.
        what: What it is, for the message.

    Raises:
        ValueError: If it has more than :data:`MAX_DEPTH` levels.
    """
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        inside = [v for v in level if isinstance(v, (dict, list))]
        if not inside:
            return
        level = [v for part in inside for v in (part.values() if isinstance(part, dict) else part)]
    raise _damaged(what, f"it must have at most {MAX_DEPTH} levels")


_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


class _NotFiniteError(Exception):
    """NaN or Infinity in the place of a number."""


class _RepeatedKeyError(Exception):
    """A key that an object has twice, of which Python would keep the last in silence."""


def _damaged(what: str, reason: str) -> ValueError:
    return ValueError(f"{what} is damaged: {reason}.")


def _no_number(text: str) -> float:
    raise _NotFiniteError(text)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedKeyError(key)
        found[key] = value
    return found
