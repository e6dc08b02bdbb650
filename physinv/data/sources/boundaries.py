"""What lies at the ends of each axis: as the user says, as the file says, or as longitudes show.

A periodic axis that is stored with its first point a second time at its end, 0 to 360 degrees with both, has one point
too many for everything that goes around: spectra, derivatives, networks.  It is left out.
"""

from __future__ import annotations

__all__ = ["KINDS", "boundaries", "without_repeated_ends"]

import itertools
from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.config.suggest import did_you_mean
from physinv.data.sources.roles import is_longitude, names_of, role_of

KINDS = ("PERIODIC", "WALL", "OPEN")
"""What can lie there, in The Well's words."""

_REPEATED = 0.01  # of the step to a neighbour: by how much a point that is stored twice may differ


def boundaries(
    states: xr.Dataset, given: str | Mapping[str, str] | None, told: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Say what lies at the ends of each axis of space.

    Args:
        states: The states, with coordinates.
        given: The user's word for all axes, or ``axis=word`` for some, as text with commas or a mapping.
        told: What the file says, by axis.

    Returns:
        The kind for each axis of space; sentences about what was concluded or is unknown.

    Raises:
        ValueError: If an axis or a word is unknown.

    Example:
        >>> states = xr.Dataset({"u": (("y", "x"), np.zeros((2, 3)))})
        >>> boundaries(states, "x=periodic,y=wall", {})[0]
        {'y': 'WALL', 'x': 'PERIODIC'}
    """
    space = [str(d) for d in states.dims if d not in ("sample", "time") and role_of(str(d)) == "space"]
    named = _parsed(given, space)
    found, notes = {}, []
    for axis in space:
        if axis in named:
            found[axis] = named[axis]
        elif axis in told:
            found[axis] = told[axis]
        elif axis in states.coords and str(states[axis].attrs.get("boundary", "")).upper() in KINDS:
            found[axis] = _kind(states[axis].attrs["boundary"])
        elif axis in states.coords and is_longitude(axis, states[axis].attrs) and _goes_around(states, axis):
            found[axis] = "PERIODIC"
            notes.append(f"{axis} covers 360 degrees: periodic (otherwise --boundary {axis}=open)")
        else:
            found[axis] = "OPEN"
    silent = [a for a in space if a not in states.coords or "boundary" not in states[a].attrs]
    unknown = [a for a in silent if a not in named and a not in told and found[a] == "OPEN"]
    if unknown:
        notes.append(f"ends of {', '.join(unknown)} taken as open (say --boundary {unknown[0]}=periodic or =wall)")
    return found, notes


def without_repeated_ends(states: xr.Dataset, ends: Mapping[str, str]) -> tuple[xr.Dataset, list[str]]:
    """Leave out the last point of periodic axes that is the first one again.

    Args:
        states: The states, with coordinates.
        ends: What lies at the ends of each axis of space.

    Returns:
        The states, and a sentence about each axis that lost a point.
    """
    notes = []
    for axis, kind in ends.items():
        if kind == "PERIODIC" and _repeats(states, axis):
            states = states.isel({axis: slice(None, -1)})
            notes.append(f"{axis}: its last point holds the values of the first once more, and is left out")
    return states, notes


def _repeats(states: xr.Dataset, axis: str) -> bool:
    """Whether the first point of an axis is stored again as the last, in the first and last states."""
    if states.sizes[axis] < 4:
        return False
    gap, step = 0.0, 0.0
    for name in (n for n in states.data_vars if axis in states[n].dims):
        ways = [[(d, 0), (d, -1)] for d in ("sample", "time") if d in states[name].dims]
        for place in map(dict, itertools.product(*ways)):
            a = states[name].isel(place)
            first, second, last = (np.asarray(a.isel({axis: i}).values, dtype=np.float64) for i in (0, 1, -1))
            gap, step = max(gap, _largest(last - first)), max(step, _largest(second - first))
    return step > 0 and gap <= _REPEATED * step


def _largest(x: NDArray[np.float64]) -> float:
    """The largest size of numbers, of which some may be missing."""
    found = np.abs(x[np.isfinite(x)])
    return float(found.max()) if found.size else 0.0


def _parsed(given: str | Mapping[str, str] | None, space: list[str]) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, str):
        words = names_of(given)
        if len(words) == 1 and "=" not in words[0]:
            return dict.fromkeys(space, _kind(words[0]))
        given = dict(word.partition("=")[::2] for word in words)
    for axis in given:
        if axis not in space:
            raise ValueError(f"`--boundary` names the axis `{axis}`; {did_you_mean(axis, space)}")
    return {axis: _kind(word) for axis, word in given.items()}


def _kind(word: str) -> str:
    if word.strip().upper() not in KINDS:
        raise ValueError(f"`--boundary` must be one of periodic, wall, open, or axis=word for each, got {word!r}.")
    return word.strip().upper()


def _goes_around(states: xr.Dataset, axis: str) -> bool:
    """Whether longitudes go once around, perhaps with the first one again at the end."""
    longitudes = states[axis].values
    return _covers(longitudes) or (len(longitudes) > 3 and _covers(longitudes[:-1]) and _repeats(states, axis))


def _covers(longitudes: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    """Whether evenly spaced longitudes go once around."""
    steps = np.diff(longitudes)
    step = abs(float(steps.mean()))
    return bool(np.ptp(steps) < 0.01 * step) and abs(step * len(longitudes) - 360) < 0.5 * step
