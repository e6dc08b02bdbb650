"""The hint behind every message about an unknown name: the nearest known one, or all of them."""

from __future__ import annotations

__all__ = ["did_you_mean"]

import difflib
from collections.abc import Iterable

_MOST = 100  # names that are listed


def did_you_mean(name: str, known: Iterable[str], *, owner: str = "there are") -> str:
    """Say which known name was probably meant, or list all of them.

    Args:
        name: The unknown name.
        known: The names that exist, in any order.
        owner: How the list begins where no name is near, such as ``"it has"``.

    Returns:
        One clause that ends the sentence of an error message.

    Example:
        >>> did_you_mean("heta", ["heat", "wave"])
        'did you mean `heat`?'
        >>> did_you_mean("xyz", ["heat", "wave"])
        'there are heat, wave.'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    if len(names) == 1 and owner == "there are":
        return f"there is only {names[0]}."
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"{owner} {', '.join(names[:_MOST])}{more}." if names else f"{owner} none."
