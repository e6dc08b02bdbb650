"""Find when and where states are: coordinates of time and space, and numbers that belong to the whole."""

from __future__ import annotations

__all__ = ["ON_MAPS", "parameters", "place_states"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.config.suggest import did_you_mean
from physinv.data.sources.build import COORDINATE_NAMES, is_unnamed, line_of, one_line
from physinv.data.sources.clock import Line, clock_of, number_and_unit, parsed_line
from physinv.data.sources.roles import role_of
from physinv.data.sources.valid_range import valid_numbers

_ALIASES = {"x": ("xx", "x-coordinate"), "y": ("yy", "y-coordinate"), "z": ("zz", "z-coordinate")}
_FEW = 8  # numbers of a sample that are known, such as parameters of the physics

ON_MAPS = {"lat": "y", "latitude": "y", "lon": "x", "longitude": "x"}
"""Letters by which a file may call the axes of a map."""


def place_states(
    source: xr.Dataset, states: xr.Dataset, times: str | None, positions: Mapping[str, str], path: str
) -> tuple[xr.Dataset, list[str]]:
    """Give states their times and positions.

    Args:
        source: All variables, among which they are found.
        states: The channels, with our names of axes.
        times: Name of a variable, a step or ``first:last``; None looks for them.
        positions: The same by axis of space.
        path: Where the states come from, for messages.

    Returns:
        The states with coordinates, and sentences about what was not found.

    Raises:
        ValueError: If an axis, a variable or its length does not fit, or positions are no line of numbers.
    """
    notes, coords = [], {}
    space = [str(d) for d in states.dims if d not in ("sample", "time") and role_of(str(d)) == "space"]
    for axis in positions:
        if axis not in space:
            raise ValueError(f"`--positions` names the axis `{axis}`; {did_you_mean(axis, space)}")
    if "time" in states.dims:
        line = _given(source, times, states.sizes["time"], "--times", path)
        line = line or _times(source, states.sizes["time"], path)
        if line is not None:
            coords["time"] = xr.Variable("time", line.values, _attrs(line))
            notes += [line.note] if line.note else []
    elif (single := _single_time(source)) is not None:
        coords["time"] = xr.Variable((), single.values[0], _attrs(single))
    for axis in space:
        n = states.sizes[axis]
        line = _given(source, positions.get(axis), n, "--positions", path)
        line = line or (None if axis in states.data_vars else _line(source, axis, n, path))
        letter = ON_MAPS.get(axis.lower(), axis)
        if line is None and letter not in {*states.dims, *states.data_vars, axis}:
            line = _line(source, letter, n, path)
            notes += [f"positions along {axis} are `{letter}` of the file"] if line else []
        if line is None:
            notes.append(f"no positions along {axis}: numbered 0 to {n - 1} ({_instead(source, states, axis)})")
            continue
        steps = np.diff(line.values)
        if not np.isfinite(line.values).all() or not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError(f"the positions along `{axis}` of {path} must be finite, and increase or decrease.")
        told = {k: v for k, v in (source[axis].attrs if axis in source.variables else {}).items() if k != "units"}
        coords[axis] = xr.Variable(axis, line.values, {**told, **_attrs(line)})
    states = states.assign_coords(coords)
    if (
        "time" in coords
        and coords["time"].ndim
        and (np.diff(coords["time"].values) < 0).all()
        and states.sizes["time"] > 1
    ):
        states = states.isel(time=slice(None, None, -1))
        notes.append("times run backward in the file: states are put in the order of time")
    return states, notes


def parameters(source: xr.Dataset, states: xr.Dataset, names: Sequence[str]) -> dict[str, Any]:
    """Collect numbers that belong to all states, or one to each sample.

    Args:
        source: All variables.
        states: The states, with our names of axes.
        names: Names of the variables that the states were made of.

    Returns:
        Numbers, or lists with one for each sample, by name; a few for each sample are ``name_0``, ``name_1``, ...
    """
    found: dict[str, Any] = {}
    for key, v in source.variables.items():
        about = {**v.attrs, "since": " since " in str(v.attrs.get("units", ""))}
        if key in names or key in source.dims or v.dtype.kind not in "iuf":
            continue  # states, or where and when they are
        if "grid_mapping_name" in about or about["since"]:
            continue
        name = str(key).removeprefix("scalars/")
        if each := _of_each_sample(v, states):
            found |= {f"{name}{mark}": [float(x) for x in column] for mark, column in each.items()}
        elif key not in source.coords and v.size == 1 and (number := _number(v)) is not None:
            found[name] = number
    return found


def _of_each_sample(v: xr.Variable, states: xr.Dataset) -> dict[str, NDArray[Any]]:
    """The numbers of a variable that has one, or a few, for each sample, by what their names end in; else none."""
    n, others = states.sizes.get("sample", 0), [m for d, m in states.sizes.items() if d != "sample"]
    line = line_of(v)  # MATLAB stores a line as a row or a column of a matrix
    if n < 2 or line.ndim not in (1, 2) or line.shape[0] != n:
        return {}
    axis, few = str(line.dims[0]), line.shape[1:]
    if not (role_of(axis) == "sample" or (is_unnamed(axis) and n not in others)):
        return {}
    if not few:
        return {"": valid_numbers(line)}
    if few[0] > _FEW or few[0] in others or str(line.dims[1]) in states.dims:
        return {}
    return {f"_{i}": valid_numbers(line[:, i]) for i in range(few[0])}


def _number(v: xr.Variable) -> float | None:
    """A number that somebody wrote; the map projection of a netCDF file, for one, is a variable of which nobody did."""
    try:
        number = float(valid_numbers(v).reshape(()))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _given(source: xr.Dataset, text: str | None, n: int, option: str, path: str) -> Line | None:
    """Numbers along an axis as the user says: a variable, or numbers as text."""
    if text is None:
        return None
    number, unit = (text, "") if text in source.variables else number_and_unit(text)
    numbers = parsed_line(number, n, option)
    if numbers is not None:
        return Line(numbers, unit)
    if text not in source.variables:
        near = did_you_mean(text, [str(v) for v in source.variables])
        raise ValueError(f"{path} has no variable `{text}` (`{option}`); {near}")
    found = clock_of(_flat(source, text), f"`{text}` of {path}")
    if len(found.values) != n:
        raise ValueError(f"`{option}` must hold {n} numbers, `{text}` of {path} has {len(found.values)}.")
    return found


def _times(source: xr.Dataset, n: int, path: str) -> Line | None:
    """Times under the name of the axis, else the one variable along it that tells times, numbers before text."""
    fits: list[tuple[bool, bool, str]] = []
    for key, v in source.variables.items():
        if line_of(v).ndim == 1 and v.size == n and v.dtype.kind in "iufMSUOT":
            text = v.dtype.kind in "SUOT"
            if v.dtype.kind == "M" or role_of(str(key), v.attrs) == "time":
                fits.append((text, key not in v.dims, str(key)))
    if not fits:
        _refuse_other_lengths(source, n, path)
        return None
    name = min(fits)[-1]
    return clock_of(_flat(source, name), f"`{name}` of {path}")


def _refuse_other_lengths(source: xr.Dataset, n: int, path: str) -> None:
    """Times that are stored beside the states, but not as many as there are states."""
    for key, v in source.variables.items():
        line = line_of(v)
        plain = str(key).lower() in COORDINATE_NAMES and role_of(str(key)) == "time" and v.dtype.kind in "iufM"
        if plain and line.ndim == 2 and n in line.shape:
            raise ValueError(
                f"`{key}` of {path} holds other times for each trajectory, {' x '.join(map(str, line.shape))}; "
                "interpolate all to the same times, or write each trajectory into a file of its own and import the "
                "folder, with `--window` and `--resample`."
            )
        if plain and line.ndim == 1 and n > 1 < line.size:
            raise ValueError(
                f"`{key}` of {path} has {line.size} numbers, the axis of time has {n} points; correct the order of "
                "`--dims`, or give `--times`, a step or first:last."
            )


def _single_time(source: xr.Dataset) -> Line | None:
    v = source.variables.get("time")
    if v is None or v.size != 1 or v.dtype.kind not in "iuf":
        return None
    return Line(np.asarray(v.values, dtype=np.float64).reshape(1), *_unit_and_origin(v.attrs))


def _unit_and_origin(attrs: Mapping[Any, Any]) -> tuple[str, str]:
    unit, _, origin = (part.strip() for part in str(attrs.get("units", "")).partition(" since "))
    return unit, origin


def _line(source: xr.Dataset, axis: str, n: int, path: str) -> Line | None:
    """Positions stored under the name of an axis, in capitals or not; ValueError if they are not as many as points."""
    names = (axis.lower(), *_ALIASES.get(axis, ()))
    stored = [str(k) for k in source.variables if k == axis or str(k).lower() in names]
    others: dict[str, int] = {}
    for name in sorted(stored, key=lambda k: k != axis):
        if source[name].dtype.kind in "iuf" and source[name].size > 1 and (flat := _flat(source, name)).ndim == 1:
            if flat.size == n:
                return Line(np.asarray(flat.values, dtype=np.float64), str(flat.attrs.get("units", "")))
            others[name] = flat.size
    for name, size in others.items():
        raise ValueError(
            f"`{name}` of {path} has {size} numbers, the axis `{axis}` has {n} points; correct the order of `--dims`, "
            f"or give `--positions {axis}=first:last`."
        )
    return None


def _instead(source: xr.Dataset, states: xr.Dataset, axis: str) -> str:
    """What gives an axis positions: stored ones of its length that no axis is named after, else numbers."""
    n = states.sizes[axis]
    unused = [
        str(k) for k, v in source.variables.items() if str(k).lower() in COORDINATE_NAMES and k not in states.dims
    ]
    fit = [k for k in unused if k not in states.data_vars and role_of(k) == "space" and source[k].size == n]
    if not fit:
        return f"give --positions {axis}=first:last"
    return f"the file holds {', '.join(fit)} of {n} points: give --positions {axis}={fit[0]} if that is it"


def _flat(source: xr.Dataset, name: str) -> xr.DataArray:
    v = source[name].variable
    values = np.asarray(one_line(np.asarray(v.values)))  # one and the same for every trajectory
    return xr.DataArray(values, attrs=v.attrs, name=name)


def _attrs(line: Line) -> dict[str, str]:
    units = f"{line.unit} since {line.origin}" if line.unit and line.origin else line.unit
    return {"units": units} if units else {}
