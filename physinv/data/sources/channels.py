"""Variables as channels: parts of complex numbers, components of vectors, names along an axis, words of a switch."""

from __future__ import annotations

__all__ = ["by_label", "channels", "real_parts", "sizes_of", "switched"]

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from physinv.data.sources.build import is_unnamed
from physinv.data.sources.roles import role_of

_ON_OFF = (("on", "off"), ("true", "false"), ("yes", "no"), ("open", "closed"), ("enabled", "disabled"))
_MOST_LABELS = 64  # names along an axis


def switched(a: xr.DataArray) -> xr.DataArray | None:
    """Return words that say on or off, such as of a heater, as 1 and 0.

    Args:
        a: A variable of text.

    Returns:
        The numbers; None for other words, or where one is missing.

    Example:
        >>> switched(xr.DataArray(["on", "Off"])).values, switched(xr.DataArray(["left", "right"]))
        (array([1., 0.]), None)
    """
    words = a.astype(str).str.strip().str.lower()
    found = next((pair for pair in _ON_OFF if set(np.unique(words.values)) == set(pair)), None)
    return None if found is None else (words == found[0]).astype(float)


def by_label(source: xr.Dataset, picked: Mapping[str, xr.DataArray]) -> tuple[dict[str, xr.DataArray], list[str]]:
    """Take variables apart that have an axis of names, such as stations, one for each name.

    Args:
        source: All variables.
        picked: Those that make up a state, by name.

    Returns:
        The variables, under the names where only one was taken apart; sentences about them.
    """
    out: dict[str, xr.DataArray] = {}
    notes = []
    for name, a in picked.items():
        texts = [d for d in a.dims if d in source.variables and source[d].ndim == 1 and source[d].dtype.kind in "SUOT"]
        along = [d for d in texts if role_of(str(d)) in ("space", "component") and a.sizes[d] <= _MOST_LABELS]
        words = [_text(w) for d in along[:1] for w in source[d].values]
        if len(along) != 1 or len(set(words)) < len(words):
            out[name] = a
            continue
        called = words if len(picked) == 1 else [f"{name}_{word}" for word in words]
        out |= {word: a.isel({along[0]: i}) for i, word in enumerate(called)}
        notes.append(
            f"`{name}`: the {len(words)} along {along[0]} have names, and are variables: {', '.join(words[:8])}"
        )
    return out, notes


def real_parts(name: str, a: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return a variable by its name, or real and imaginary part of complex numbers.

    Args:
        name: Its name.
        a: The variable.
    """
    if a.dtype.kind != "c":
        return {name: a}
    return {f"{name}_{part}": getattr(a, short) for part, short in (("real", "real"), ("imag", "imag"))}


def channels(picked: Mapping[str, xr.DataArray], axes: list[str], path: str) -> xr.Dataset:
    """Put variables together, whose components over space, or in several vectors, become channels.

    Args:
        picked: The variables, with our names of axes.
        axes: Axes of space in the order of the components of vectors.
        path: Where they come from, for messages.

    Returns:
        One variable for each channel.

    Raises:
        ValueError: If variables lie on different points, or have one name.
    """
    fixed = ("sample", "time", "component")
    spaces = {n: [d for d in a.dims if role_of(str(d)) not in fixed] for n, a in picked.items()}
    whole = max(spaces.values(), key=len)
    for name, space in spaces.items():
        if not set(space) <= set(whole):
            first = next(n for n, s in spaces.items() if s == whole)
            raise ValueError(
                f"`{name}` {sizes_of(picked[name])} and `{first}` {sizes_of(picked[first])} of {path} are on different "
                "points; take one with `--variable`, or interpolate them to the same points first."
            )
    out: dict[str, xr.DataArray] = {}
    for name, a in picked.items():
        extra = [d for d in a.dims if role_of(str(d)) == "component"]
        whole_vector = "particle" in whole or (not whole and len(picked) == 1)
        parts = {name: a} if whole_vector else _split(name, a, extra, axes)
        for part, b in parts.items():
            if part in out:
                raise ValueError(f"{path} has two channels named `{part}`; take other variables with `--variable`.")
            out[part] = b.rename(dict.fromkeys(extra, "component")) if b is a and len(extra) == 1 else b
    return xr.Dataset(out)


def sizes_of(a: xr.DataArray) -> str:
    """Return the axes of a variable and their lengths, for messages.

    Args:
        a: The variable.

    Example:
        >>> sizes_of(xr.DataArray(np.zeros((2, 3)), dims=("time", "axis_1")))
        '(time 2, 3)'
    """
    return "(" + ", ".join(str(n) if is_unnamed(str(d)) else f"{d} {n}" for d, n in a.sizes.items()) + ")"


def _split(name: str, a: xr.DataArray, extra: list[Any], axes: list[str]) -> dict[str, xr.DataArray]:
    """One array per component: named after the axes where there are as many, else numbered."""
    parts = {name: a}
    for dim in extra:
        n = a.sizes[dim]
        if n == 1 and len(extra) == 1:
            return {name: a.isel({dim: 0})}
        marks = axes if n == len(axes) and str(dim).startswith("component_") else [str(i) for i in range(n)]
        parts = {f"{base}_{mark}": b.isel({dim: i}) for base, b in parts.items() for i, mark in enumerate(marks)}
    return parts


def _text(word: Any) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
