"""Rows of a table as numbers along axes: by times, samples and positions, by names of sensors, by particles."""

from __future__ import annotations

__all__ = ["gridded"]

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from physinv.data.sources.build import COORDINATE_NAMES, is_line
from physinv.data.sources.roles import name_and_unit, role_of

_PARTICLES = ("particle", "particle_id", "atom", "atom_id", "track", "track_id", "trackid", "id")
_LEAST_FILLED = 0.5  # of the points of a grid: those without a row, such as land, are missing
_MOST_LABELS = 64  # sensors in a column


def gridded(table: pd.DataFrame, path: Path) -> tuple[xr.Dataset, list[str]]:
    """Make a dataset of a table whose rows are told apart by some of its columns.

    Args:
        table: The table.
        path: The file, for messages.

    Returns:
        Variables along times, samples and positions, with a sensor in each row along its name, and along particles.
        Where no columns tell rows apart, all columns are variables over the rows, an axis without a name.
        Sentences about what was left out.

    Raises:
        ValueError: If particles come and go.
    """
    roles = [c for c in table.columns if role_of(c) in ("sample", "time")]
    places = [c for c in table.columns if _bare(c).lower() in COORDINATE_NAMES and c not in roles]
    if "T" in roles and _is_temperature(table, roles, places):
        roles.remove("T")
    table, roles, notes = _one_clock(table, roles)
    if found := _tracks(table, roles, path):
        tracks, used = found
        left = [c for c in table.columns if c not in used]
        more = [f"left out: {', '.join(left)} (states of particles are their positions)"] * bool(left)
        return tracks, notes + more
    for rows, keys in _keys(table, roles, places):
        if rows[keys].isna().any(axis=None):
            continue
        if len(keys) < len(rows.columns) and not rows.duplicated(keys).any() and _fills(rows, keys, places):
            indexed = rows.set_index(keys if len(keys) > 1 else keys[0])
            units = {c: name_and_unit(c) for c in keys if c in places}
            found_ = indexed.to_xarray().rename({c: name for c, (name, unit) in units.items() if unit})
            for name, unit in units.values():
                found_[name].attrs.update({"units": unit} if unit else {})
            return found_, notes
    return xr.Dataset({c: ("axis_0", table[c].to_numpy()) for c in table.columns}), notes


def _bare(column: str) -> str:
    return name_and_unit(column)[0]


def _one_clock(table: pd.DataFrame, roles: list[str]) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The table with one column of times, where one of several increases by itself, and what was left out."""
    clocks = [c for c in roles if role_of(c) == "time"]
    if len(clocks) < 2 or (first := next((c for c in clocks if is_line(table[c].to_numpy())), None)) is None:
        return table, roles, []
    others = [c for c in clocks if c != first]
    kept = [c for c in roles if c not in others]
    return table.drop(columns=others), kept, [f"left out: {', '.join(others)} (times are those of {first})"]


def _is_temperature(table: pd.DataFrame, roles: list[str], places: list[str]) -> bool:
    """Whether a column ``T`` is no time: there is another one, or it goes up and down where other columns tell rows."""
    others = [*(c for c in roles if c != "T"), *places]
    if any(role_of(c) == "time" for c in others):
        return True
    return bool(others) and not is_line(table["T"].to_numpy()) and not table.duplicated(others).any()


def _keys(table: pd.DataFrame, roles: list[str], places: list[str]) -> Iterator[tuple[pd.DataFrame, list[str]]]:
    """Columns that may tell rows apart, the most telling first, and the table, in which sensors have names."""
    if roles:
        yield table, [*roles, *places]
        yield table, roles
        clocks = [c for c in roles if role_of(c) == "time"]
        if len(clocks) == 1 and len(roles) == len(table.columns):  # what else tells samples apart is all there is
            yield table, clocks
        if any(role_of(c) == "time" for c in roles) and table.duplicated(roles).any():
            for name in [c for c in table.columns if c not in (*roles, *places)]:
                if table[name].dtype.kind in "iOTU" and 1 < table[name].nunique() <= _MOST_LABELS:
                    numbered = table[name].dtype.kind == "i"
                    named = [f"{_bare(name)}_{k}" if numbered else str(k) for k in table[name]]
                    yield table.assign(**{name: pd.Series(named, table.index, dtype=object)}), [*roles, name]
    elif len(places) > 1 and len(table) >= 2 * max(table[c].nunique() for c in places):
        yield table, places


def _fills(table: pd.DataFrame, keys: list[str], places: list[str]) -> bool:
    """Whether rows fill a grid; on maps and of sensors some may lack."""
    share = len(table) / np.prod([table[k].nunique() for k in keys])
    labelled = any(table[k].dtype.kind not in "iufM" for k in keys)
    some = labelled or len(set(keys) & set(places)) > 1
    return bool(len(keys) == 1 or share == 1 or (some and share >= _LEAST_FILLED))


def _tracks(table: pd.DataFrame, roles: list[str], path: Path) -> tuple[xr.Dataset, list[str]] | None:
    """Positions of particles and the columns that they are from, of a table with a row for each particle at each time;
    None for another table.
    """
    times = [c for c in roles if role_of(c) == "time"]
    called = {name_and_unit(c)[0].lower(): c for c in table.columns}
    marks = [called[name] for name in _PARTICLES if name in called]
    axes = [called[name] for name in ("x", "y", "z") if name in called]
    if len(times) != 1 or not marks or len(axes) < 2 or not table.duplicated(times).any():
        return None
    keys = [times[0], marks[0]]
    if (blank := table[keys].isna().any(axis=1).to_numpy()).any():
        raise ValueError(f"{path} does not say {' and '.join(keys)} in row {int(blank.argmax()) + 1}; fill both in.")
    if (twice := table.duplicated(keys)).any():
        row = int(twice.to_numpy().argmax())
        raise ValueError(
            f"{path} holds {keys[1]} {table[keys[1]].iloc[row]} twice at {keys[0]} {table[keys[0]].iloc[row]}, in row "
            f"{row + 1}; leave one out."
        )
    counts = table.groupby(keys[1]).size()
    if (counts < counts.max()).any() or counts.max() < table[keys[0]].nunique():
        raise ValueError(
            f"{keys[1]} {counts.idxmin()} of {path} is seen at {counts.min()} of {table[keys[0]].nunique()} times; "
            "give times at which all are seen, or particles that are seen at all of them."
        )
    sorted_ = table.sort_values(keys)
    positions = sorted_[axes].to_numpy(dtype=float).reshape(-1, len(counts), len(axes))
    dims, told = ("time", "particle", "component"), {name_and_unit(c)[1] for c in axes}
    known = {"units": told.pop()} if len(told) == 1 and "" not in told else {}
    clock = xr.Variable("time", sorted_[keys[0]].unique(), {"units": u} if (u := name_and_unit(keys[0])[1]) else {})
    return xr.Dataset({"position": (dims, positions, known)}, {"time": clock}), [*keys, *axes]
