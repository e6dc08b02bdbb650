"""Give the axes of states our names: ``sample``, ``time``, ``component``, ``particle``, and those of axes of space."""

from __future__ import annotations

__all__ = ["name_axes"]

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from physinv.data.sources.build import is_unnamed, line_of
from physinv.data.sources.roles import role_of

_SINGLE = ("sample", "time", "particle")  # roles that one axis only can have


def name_axes(
    source: xr.Dataset, picked: Mapping[str, xr.DataArray], dims: Sequence[str], times: str | None, path: str
) -> tuple[dict[str, xr.DataArray], list[str]]:
    """Name the axes of all variables that make up a state.

    Args:
        source: All variables, among which coordinates are found.
        picked: The variables.
        dims: Names that the user gave, in the order of the file; empty if none.
        times: What the user said of times, if anything: a variable along one axis shows which that is.
        path: Where they come from, for messages.

    Returns:
        The variables with new names of axes; axes that nothing names keep theirs. Sentences about what was understood.

    Raises:
        ValueError: If ``dims`` does not fit, or two axes have the same role.
    """
    out, notes = {}, []
    most = max(a.ndim for a in picked.values())
    for name, a in picked.items():
        a = _given(name, a, dims, path) if dims and a.ndim == most else _by_times(source, a, times)
        roles = {str(d): role_of(str(d), source[d].attrs if d in source.variables else None) for d in a.dims}
        found: dict[str, str] = {}
        for dim, role in roles.items():
            if role in _SINGLE:
                if role in found.values():
                    others = ", ".join(d for d, r in roles.items() if r == role)
                    raise ValueError(
                        f"`{name}` of {path} has two axes of {role}s ({others}); name its {a.ndim} axes with "
                        f"`--dims`, such as {_example(a)}."
                    )
                found[dim] = role
        a = a.rename(found)
        a, note = _around_time(name, a)
        notes += note
        a, note = _without_single(name, a)
        notes += note
        out[name] = a
    return out, list(dict.fromkeys(notes))


def _given(name: str, a: xr.DataArray, dims: Sequence[str], path: str) -> xr.DataArray:
    if len(dims) != a.ndim or len(set(dims)) < len(dims):
        raise ValueError(
            f"`--dims` must name the {a.ndim} axes of `{name}` in {path}, of lengths {a.shape}, each once, "
            f"got {','.join(dims)}."
        )
    steps = {str(d): f"_{i}" for i, d in enumerate(a.dims)}  # in two steps: names may be exchanged
    return a.rename(steps).rename({f"_{i}": d for i, d in enumerate(dims)})


def _by_times(source: xr.Dataset, a: xr.DataArray, times: str | None) -> xr.DataArray:
    """The axis along which the times lie that the user named; or the only one there is."""
    if times is None or any(role_of(str(d)) == "time" for d in a.dims):
        return a
    if times in source.variables:
        line = line_of(source[times].variable)
        fits = [d for d in a.dims if d in line.dims] or [d for d in a.dims if a.sizes[d] == line.size]
        return a.rename({fits[0]: "time"}) if len(fits) == 1 else a
    bare = [d for d in a.dims if is_unnamed(str(d))]
    if len(bare) == 1 and a.ndim == 1:
        return a.rename({bare[0]: "time"})
    if a.ndim == 2 and 1 in a.shape and len(bare) == 2:
        return a.rename({bare[0 if a.shape[1] == 1 else 1]: "time"})
    return a


def _around_time(name: str, a: xr.DataArray) -> tuple[xr.DataArray, list[str]]:
    """One unnamed axis before time is that of samples; one after it, without axes of space, that of components."""
    if "time" not in a.dims:
        return a, []
    at, notes = a.dims.index("time"), []
    before = [d for d in a.dims[:at] if is_unnamed(str(d)) and a.sizes[d] > 1]
    after = [d for d in a.dims[at + 1 :] if is_unnamed(str(d)) and a.sizes[d] > 1]
    named = [d for d in a.dims if not is_unnamed(str(d)) and d not in ("time", "sample")]
    if len(before) == 1 and at == 1 and "sample" not in a.dims:
        notes.append(f"`{name}`: the {a.sizes[before[0]]} along its axis before time are taken for samples")
        a = a.rename({before[0]: "sample"})
    if len(after) == 1 and not named and len(before) <= 1 and (not before or "sample" in a.dims):
        notes.append(
            f"`{name}`: the {a.sizes[after[0]]} along its axis after time are taken for components of a vector"
        )
        a = a.rename({after[0]: "component"})
    return a, notes


def _without_single(name: str, a: xr.DataArray) -> tuple[xr.DataArray, list[str]]:
    """Axes of one point, such as a level, are left out; samples, times and components stay."""
    bare = all(is_unnamed(str(d)) for d in a.dims)
    ones: list[Any] = [d for d in a.dims if a.sizes[d] == 1 and role_of(str(d)) in ("space", "unnamed")]
    if bare or not ones:
        return a, []
    told = [f"`{name}`: its axis {d} has one point and is left out" for d in ones if not is_unnamed(str(d))]
    return a.isel(dict.fromkeys(ones, 0)), told


def _example(a: xr.DataArray) -> str:
    return ",".join(("sample", "time", "y", "x", "z")[: a.ndim]) if a.ndim > 2 else "time,x"
