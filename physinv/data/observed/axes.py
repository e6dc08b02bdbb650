"""Match the axes of space in a file with those of a process: by name, by kind, else in their order."""

from __future__ import annotations

__all__ = ["kind_of", "matched"]

import re
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from physinv.data.sources.build import is_unnamed
from physinv.processes.layout import StateLayout

Kind = Literal["x", "y", "z"]
"""A direction: east, along lines; north, from line to line; up."""

_WORDS: dict[str, Kind] = {
    **dict.fromkeys(("lon", "lons", "long", "longitude", "longitudes", "rlon", "nlon", "glon", "xlon", "xlong"), "x"),
    **dict.fromkeys(("x", "xx", "xc", "xt", "xu", "xh", "xq", "nx", "xdim"), "x"),
    **dict.fromkeys(("east", "easting", "eastings", "west"), "x"),
    **dict.fromkeys(("lat", "lats", "latitude", "latitudes", "rlat", "nlat", "glat", "ylat", "xlat"), "y"),
    **dict.fromkeys(("y", "yy", "yc", "yt", "yv", "yh", "yq", "ny", "ydim"), "y"),
    **dict.fromkeys(("north", "northing", "northings", "south"), "y"),
    **dict.fromkeys(("z", "zz", "zc", "nz", "depth", "altitude", "level", "lev", "plev"), "z"),
}
_UNITS: dict[str, Kind] = {"degreeseast": "x", "degreese": "x", "degreesnorth": "y", "degreesn": "y"}
_FIXED = ("sample", "time", "component")


def kind_of(name: str, attrs: Mapping[Any, Any] | None = None) -> Kind | None:
    """Say along which direction an axis runs, as its attributes (``axis``, ``standard_name``, ``units``) or words say.

    Args:
        name: Its name, in any case.
        attrs: Attributes of its coordinate, if it has one.

    Returns:
        The direction; None where nothing says it, or words say two.

    Example:
        >>> kind_of("Longitude"), kind_of("projection_y_coordinate"), kind_of("a", {"units": "degrees_east"})
        ('x', 'y', 'x')
        >>> kind_of("row"), kind_of("x_y")
        (None, None)
    """
    told = {key: str((attrs or {}).get(key, "")).lower() for key in ("axis", "standard_name", "units")}
    unit = re.sub(r"[^a-z]", "", told["units"]).replace("degreee", "degreese").replace("degreen", "degreesn")
    axes: dict[str, Kind] = {"x": "x", "y": "y", "z": "z"}
    if found := axes.get(told["axis"]) or _UNITS.get(unit):
        return found
    for text in (told["standard_name"], name.rpartition("/")[2].lower()):
        kinds = {_WORDS[word] for word in re.split(r"[^a-z0-9]+", text) if word in _WORDS}
        if len(kinds) == 1:
            return kinds.pop()
    return None


def matched(found: xr.Dataset, layout: StateLayout, path: Path) -> tuple[xr.Dataset, list[str], dict[str, str]]:
    """Call the axes of space in a file as the process does.

    Axes of the same name go first, then those with the same word in capitals or not, then those of the same direction:
    ``longitude`` is that of ``lon``, and of ``x``.  Where nothing is known, axes are taken in their order, and a
    sentence says so.

    Args:
        found: The states in a file, each axis of space with a name, or some without.
        layout: Layout of the states of the process.
        path: The file, for messages.

    Returns:
        The states; sentences about axes that were taken in order; what the file calls an axis, by axis of the process.

    Raises:
        ValueError: If an axis is known to run along another direction than the one that is left for it.
    """
    if not layout.space or not found.data_vars:
        return found, [], {}
    dims = [str(d) for d in max(found.data_vars.values(), key=lambda v: v.ndim).dims]
    theirs = [d for d in dims if d not in _FIXED]
    about: dict[str, Any] = {d: found[d].attrs if d in found.coords else {} for d in theirs}

    # What is known for sure, the surest first.
    pairs: dict[str, str] = {}
    rules: tuple[Callable[[str], Hashable | None], ...] = (
        lambda a: a,
        str.lower,
        lambda a: _map_word(a, about.get(a)),
        lambda a: kind_of(a, about.get(a)),
    )
    for rule in rules:
        ours = [a for a in layout.axes if a not in pairs]
        left = [d for d in theirs if d not in pairs.values() and not is_unnamed(d)]
        for axis in ours:
            fits = [d for d in left if rule(d) is not None and rule(d) == rule(axis)]
            alike = [a for a in ours if rule(a) == rule(axis)]
            if len(fits) == len(alike) == 1:
                pairs[axis] = fits[0]

    # What remains is taken in order, unless that contradicts a direction.
    ours = [a for a in layout.axes if a not in pairs]
    left = [d for d in theirs if d not in pairs.values()]
    notes = []
    if ours and len(left) == len(ours) and not any(map(is_unnamed, left)):
        pairs |= dict(zip(ours, left, strict=True))
        called = {d: axis for axis, d in pairs.items()}
        for d in left if len(theirs) > 1 else ():
            told, wanted = kind_of(d, about[d]), kind_of(called[d])
            if told and wanted and told != wanted:
                every = ",".join(called.get(name, name) for name in dims)
                raise ValueError(
                    f"{path} has the axes {', '.join(theirs)}, the run {', '.join(layout.axes)}, and {d} is no "
                    f"{called[d]}; say by `--dims` what its axes are, such as {every}."
                )
        few = f"the axis {left[0]} is" if len(left) == 1 else f"the axes {', '.join(left)} are"
        order = ", in that order" * (len(left) > 1)
        notes = [f"{path}: {few} taken for {', '.join(ours)} of the run{order}."]
    # An axis beside them may count observations, but not one of space; where some are not found, others say so.
    left = [d for d in theirs if d not in pairs.values()]
    found_all = len(pairs) == len(layout.axes) and not any(kind_of(d, about[d]) for d in left)
    if not found_all and not any(map(is_unnamed, left)):
        return found, [], {}
    renamed = {d: axis for axis, d in pairs.items() if d != axis}
    if taken := [name for name in renamed.values() if name in found.data_vars]:
        raise ValueError(f"`{taken[0]}` of {path} is an axis of the run, and no channel; choose by `--variable`.")
    return found.rename(renamed), notes, {axis: d for d, axis in renamed.items()}


def _map_word(axis: str, attrs: Mapping[Any, Any] | None) -> str | None:
    """``longitude`` and ``latitude`` under other names, which are told from ``x`` and ``y`` beside them."""
    kind, word = kind_of(axis, attrs), re.sub(r"[^a-z]", "", axis.lower())
    return kind if kind and ("lon" in word or "lat" in word) else None
