"""Give the axes of states our names: ``sample``, ``time``, ``component``, ``particle``, and those of axes of space."""

from __future__ import annotations

__all__ = ["about_axes", "name_axes"]

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from physinv.data.sources.build import COORDINATE_NAMES, is_line, is_unnamed, line_of, mesh_axis, meshes_along
from physinv.data.sources.clock import disorder
from physinv.data.sources.places import ON_MAPS
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
        if dims and a.ndim == most:
            _check_meshes(source, name, a, dims, path)
        a = _given(name, a, dims, path) if dims and a.ndim == most else _by_times(source, a, times)
        roles = {str(d): role_of(str(d), source[d].attrs if d in source.variables else None) for d in a.dims}
        found: dict[str, str] = {}
        for dim, role in roles.items():
            if role in _SINGLE:
                if role in found.values():
                    others = ", ".join(d for d, r in roles.items() if r == role)
                    such, why = _example(source, a, picked), ""
                    if role == "time":  # dates at which forecasts start are no times of a trajectory
                        first = next(d for d, r in roles.items() if r == role)
                        such = ",".join("run" if d == first else "time" if d == dim else d for d in roles)
                        why = f" if {first} says when each of them starts"
                    raise ValueError(
                        f"`{name}` of {path} has two axes of {role}s ({others}); name its {a.ndim} axes with "
                        f"`--dims`, such as {such}{why}."
                    )
                found[dim] = role
        a = a.rename(found)
        if not _unused(source, a, picked):  # positions that no axis is named after: which one they belong to is asked
            a, note = _around_time(name, a)
            notes += note
        a, note = _without_single(name, a)
        notes += note
        out[name] = a
    return out, list(dict.fromkeys(notes))


def about_axes(
    source: xr.Dataset, picked: Mapping[str, xr.DataArray], times: str | None, path: str
) -> tuple[str, list[str]]:
    """Say how axes could be named, and which stored positions and times fit none of them.

    Args:
        source: All variables.
        picked: The variables that make up a state, with the axes of the file.
        times: What the user said of times, if anything.
        path: Where they come from, for messages.

    Returns:
        Names of the axes of the largest variable, such as ``"sample,time,x"``, as far as they are known and else by
        the lengths of stored positions.  A sentence for each stored line of numbers that can name no axis.
    """
    name, a = max(picked.items(), key=lambda item: item[1].ndim)
    a = _by_times(source, a, times)
    shape = " x ".join(map(str, a.shape))
    reasons = []
    for key, line in _unused(source, a, picked).items():
        if line.size not in a.shape:
            reasons.append(f"`{key}` of {path} has {line.size} numbers, and `{name}` no axis of that length ({shape})")
        elif line.dtype.kind in "iuf" and not np.isfinite(line).all():
            reasons.append(f"`{key}` of {path} holds NaN or infinity, so that no axis is named after it")
        elif not is_line(line):
            where = f": {disorder(line)}" if role_of(key) == "time" and a.ndim == 1 and len(line) > 1 else ""
            reasons.append(
                f"`{key}` of {path} neither increases nor decreases, so that no axis is named after it{where}"
            )
    for stored, v in source.variables.items():
        single = v.size == 1 in a.shape and str(stored).lower() in COORDINATE_NAMES and role_of(str(stored)) == "time"
        if single and any(is_unnamed(str(d)) for d in a.dims) and "time" not in map(role_of, map(str, a.dims)):
            reasons.append(
                f"`{stored}` of {path} has one number, and physics shows in states at 2 times or more ({shape})"
            )
    return _example(source, a, picked), reasons


def _given(name: str, a: xr.DataArray, dims: Sequence[str], path: str) -> xr.DataArray:
    if len(dims) != a.ndim or len(set(dims)) < len(dims):
        raise ValueError(
            f"`--dims` must name the {a.ndim} axes of `{name}` in {path}, of lengths {a.shape}, each once, "
            f"got {','.join(dims)}."
        )
    steps = {str(d): f"_{i}" for i, d in enumerate(a.dims)}  # in two steps: names may be exchanged
    return a.rename(steps).rename({f"_{i}": d for i, d in enumerate(dims)})


def _check_meshes(source: xr.Dataset, name: str, a: xr.DataArray, dims: Sequence[str], path: str) -> None:
    """Raise ValueError where positions stored as meshes vary along other axes than the user says."""
    if len(dims) != a.ndim:
        return
    ways = list(meshes_along(a.shape, source.attrs.get("meshes", {})))
    for key, v in source.variables.items():  # of a file that names their axes
        plain = str(key).lower() in COORDINATE_NAMES and set(v.dims) <= set(a.dims)
        axis = mesh_axis(v) if plain and v.ndim > 1 else None
        ways += [] if axis is None else [[{str(key): a.dims.index(v.dims[axis])}]]
    for fits in ways:
        called = {k: d for fit in fits[:1] for k in fit for d in dims if _is_called(k, d, fit)}
        if not called or any(all(dims[fit[k]] == d for k, d in called.items()) for fit in fits):
            continue
        right: list[str | None] = [None] * len(dims)
        for k, d in called.items():
            right[fits[-1][k]] = d
        left = iter(d for d in dims if d not in called.values())
        shown = " and ".join(f"`{k}` varies along axis {fits[-1][k]}" for k in called)
        raise ValueError(
            f"{shown} of `{name}` in {path}, counted from 0, another order than `--dims {','.join(dims)}`; give "
            f"`--dims {','.join(next(left) if d is None else d for d in right)}`."
        )


def _is_called(key: str, dim: str, others: Mapping[str, int]) -> bool:
    """Whether a stored line is that of an axis as the user calls it."""
    known, word = [k.lower() for k in others], dim.lower()
    word = word if word in known else ON_MAPS.get(word, word)
    return word == key.lower() or role_of(key) == role_of(dim) == "time"


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
        runs = "" if before or "sample" in a.dims else " (if they are runs of an experiment: `--dims time,sample`)"
        notes.append(
            f"`{name}`: the {a.sizes[after[0]]} along its axis after time are taken for components of a vector{runs}"
        )
        a = a.rename({after[0]: "component"})
        a = a.assign_attrs(guessed=a.sizes["component"]) if runs else a
    return a, notes


def _without_single(name: str, a: xr.DataArray) -> tuple[xr.DataArray, list[str]]:
    """Axes of one point, such as a level, are left out; samples, times and components stay."""
    bare = all(is_unnamed(str(d)) for d in a.dims)
    ones: list[Any] = [d for d in a.dims if a.sizes[d] == 1 and role_of(str(d)) in ("space", "unnamed")]
    if bare or not ones:
        return a, []
    told = [f"`{name}`: its axis {d} has one point and is left out" for d in ones if not is_unnamed(str(d))]
    return a.isel(dict.fromkeys(ones, 0)), told


def _unused(source: xr.Dataset, a: xr.DataArray, picked: Mapping[str, xr.DataArray]) -> dict[str, Any]:
    """Stored positions and times that no axis is named after, among unnamed axes that might be theirs."""
    if not any(is_unnamed(str(d)) for d in a.dims):
        return {}
    known, rows = [role_of(str(d)) for d in a.dims], a.ndim == 1  # of a table, whose columns may have any names
    along_time = [n for d, n in a.sizes.items() if role_of(str(d)) == "time"]
    found = {}
    for key, v in source.variables.items():
        if key in picked or key in a.dims or v.dtype.kind not in "iufM":
            continue
        if str(key).lower() not in COORDINATE_NAMES and not (rows and role_of(str(key)) == "time"):
            continue
        line = line_of(v)
        if line.ndim != 1 or line.size < 2 or (role_of(str(key)) == "time" and "time" in known):
            continue
        if line.size in along_time and a.shape.count(line.size) == 1:  # changes with time: where an instrument was
            continue
        found[str(key)] = np.asarray(line.values)
    return found


def _example(source: xr.Dataset, a: xr.DataArray, picked: Mapping[str, xr.DataArray]) -> str:
    """Names for all axes: those that are known, and for the others the ones that most stored positions agree with."""
    names: list[str | None] = []
    for d in map(str, a.dims):
        role = role_of(d, source[d].attrs if d in source.variables else None)
        names.append(None if is_unnamed(d) else role if role in _SINGLE else d)
    free = [i for i, name in enumerate(names) if name is None]
    lines = {"time" if role_of(k) == "time" else k: len(v) for k, v in _unused(source, a, picked).items()}
    whole = [w for w in ("sample", "time") if w not in names and (w == "time" or a.ndim > 2)]
    more = ["component"] if any(n not in (None, *_SINGLE) for n in names) else []
    stored, taken = [k for k in lines if k != "time"], {*names, *lines}
    other = [w for w in "xyz" if w not in taken][: max(0, len(free) - len(whole) - len(stored))]
    # Rows before columns, as images and matrices have them: z, y, x.
    words = [*whole, *sorted(stored, key="zyx".find), *more, *sorted(other, key="zyx".find)]
    words += [f"axis{i}" for i in free]
    best, most = tuple(words[: len(free)]), -1
    for chosen in itertools.islice(itertools.permutations(words[:8], len(free)), 10_000):
        if all(a.shape[i] == lines.get(w, a.shape[i]) for i, w in zip(free, chosen, strict=True)):
            score = sum(w in lines for w in chosen)
            best, most = (chosen, score) if score > most else (best, most)
    for i, word in zip(free, best, strict=True):
        names[i] = word
    return ",".join(map(str, names))
