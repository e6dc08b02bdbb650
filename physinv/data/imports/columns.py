"""Columns of a table as the numbers of a state: by name where names say so, else by place."""

from __future__ import annotations

__all__ = ["by_name", "in_order_of", "in_words", "is_table", "named_by", "other_units", "table_of"]

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.data.sources.roles import name_and_unit, word_of
from physinv.processes.layout import StateLayout


def in_order_of(known: Sequence[str], called: Sequence[str], source: str) -> tuple[list[int], list[str]]:
    """Find the columns that hold the numbers of a state.

    Args:
        known: Names of the numbers of a state, in their order; none where nobody named them.
        called: Names of the columns.
        source: The file, for messages.

    Returns:
        Places of the columns in the order of the state, and sentences about what was understood: by name if the names
        are all there, and all columns as they are otherwise.

    Raises:
        ValueError: If some names are those of other places, and some of none.

    Example:
        >>> in_order_of(["height", "speed"], ["speed", "day", "height"], "a.csv")
        ([2, 0], ['a.csv: left out: day'])
        >>> in_order_of(["height", "speed"], ["h", "v"], "a.csv")
        ([0, 1], ['a.csv: h, v taken for height, speed of the run.'])
    """
    every = list(range(len(called)))
    if known and set(known) <= set(called):
        left = [name for name in called if name not in known]
        return [called.index(name) for name in known], [f"{source}: left out: {', '.join(left)}"] * bool(left)
    if len(known) != len(called) or all(re.fullmatch(r"column_\d+", name) for name in called):
        return every, []
    if moved := [b for a, b in zip(known, called, strict=True) if b in known and a != b]:
        raise ValueError(
            f"{source} has the columns {', '.join(called)}, the run was trained on {', '.join(known)}, where "
            f"{', '.join(moved)} has another place; name all columns as the run does, or none."
        )
    note = f"{source}: {', '.join(called)} taken for {', '.join(known)} of the run."
    return every, [note] * (list(called) != list(known))


def by_name(
    found: xr.Dataset,
    known: Sequence[str],
    names: Sequence[str],
    path: Path,
    units: Mapping[str, str],
    notes: list[str],
) -> xr.Dataset:
    """Take the variables that are the numbers of a vector, in its order, if their names are known.

    Args:
        found: What a file holds.
        known: Names of the numbers, in their order.
        names: What the user calls the variables; none: as the file does.
        path: The file, for messages.
        units: Units of the numbers in the training data, by name.
        notes: Gets sentences about what was understood.

    Returns:
        The variables.

    Raises:
        ValueError: If there are other names than variables, or they contradict those that are known.
    """
    own = [str(name) for name in found.data_vars]
    if missing := [name for name in found.attrs.get("empty", ()) if word_of(name) in known]:
        raise ValueError(f"`{missing[0]}` of {path} is missing in all rows; fill it, or leave these out.")
    if not known or (len(own) == 1 < len(known)):
        return found
    called = named_by(path, own, names)
    if not names and not set(known) <= set(called):
        called = _in_other_units(found, known, own, units)
    order, told = in_order_of(known, called, str(path))
    notes += [*told, *other_units(path, found, zip(known, (own[i] for i in order), strict=False), units)]
    return found[[own[i] for i in order]]


def _in_other_units(found: xr.Dataset, known: Sequence[str], own: Sequence[str], units: Mapping[str, str]) -> list[str]:
    """Names of columns, with those of the run for those that differ from them in a unit in brackets alone."""
    plain = found.variables
    bare = {_bare(name, units.get(name)): name for name in known}
    theirs = [_bare(name, plain[name].attrs.get("units")) for name in own]
    return [bare.get(name, old) if theirs.count(name) == 1 else old for name, old in zip(theirs, own, strict=True)]


def _bare(name: str, unit: str | None) -> str:
    """A name without the unit that it ends in."""
    return name.removesuffix(f"_{word_of(unit)}") if unit else name


def named_by(path: Path, given: list[str], names: Sequence[str]) -> list[str]:
    """Return what variables are called by the user, or else by the file.

    Args:
        path: The file, for messages.
        given: Their names in the file.
        names: What the user calls them; none: nothing.

    Raises:
        ValueError: If there are more or fewer names than variables.
    """
    if names and len(names) != len(given):
        raise ValueError(f"`--names` must name the {len(given)} channels of {path}, {', '.join(given)}, got {names}.")
    return list(names) or given


def other_units(path: Path, found: xr.Dataset, pairs: Iterable[tuple[str, str]], units: Mapping[str, str]) -> list[str]:
    """Return sentences about variables that are in another unit than the training data.

    Args:
        path: The file, for messages.
        found: What it holds.
        pairs: Name in the run and name in the file of each variable.
        units: Units in the training data, by name.
    """
    told = [(name, own, str(found[own].attrs.get("units", ""))) for name, own in pairs]
    return [
        f"{path}: `{own}` is in {unit}, the run was trained on `{name}` in {units[name]}."
        for name, own, unit in told
        if unit and units.get(name, unit) != unit
    ]


def in_words(source: xr.Dataset, known: Set[str]) -> xr.Dataset:
    """Return a table with the names that an import gives its columns; any other dataset as it is.

    Args:
        source: The opened file.
        known: Names of the numbers and axes of the process: a column has one of them also with a unit behind it, and is
            no time then, as a temperature ``T``.
    """
    if source.attrs.get("family") != "csv":
        return source
    line = next(map(str, source.sizes), "")  # none where a table has no rows of numbers
    if line in known and len(source.sizes) == 1 and line in source.variables:
        source = source.drop_indexes(line).rename_dims({line: "axis_0"}).reset_coords(line)
    words = {}
    for name in map(str, source.data_vars):
        bare = word_of(name_and_unit(name)[0])
        words[name] = bare if word_of(name) not in known and bare in known else word_of(name)
    if len(set(words.values())) < len(words):
        return source
    return source.rename({name: word for name, word in words.items() if name != word and word not in source.variables})


def is_table(source: xr.Dataset) -> bool:
    """Return whether a file is a table whose rows are not numbered by times or samples.

    Args:
        source: The opened file.
    """
    return source.attrs.get("family") == "csv" and list(source.sizes) == ["axis_0"]


def table_of(
    source: xr.Dataset, layout: StateLayout
) -> tuple[NDArray[np.float64], list[str], dict[str, NDArray[np.float64]]]:
    """Read the states in a table.

    A column that is called like the only axis of space holds positions, and the others are channels.  Otherwise the
    rows are states, or the whole table is one.

    Args:
        source: The opened table.
        layout: Layout of the states.

    Returns:
        States, names of channels, and positions by axis; without positions the names are those of the columns.

    Raises:
        ValueError: If there are no columns of numbers, or one beside words that say what its numbers are.
    """
    plain = source.variables  # data_vars would look through all columns for each of them
    numbers = [str(name) for name in source.data_vars if plain[name].dtype.kind in "biuf"]
    if not numbers:
        raise ValueError(f"{source.attrs['path']} holds no column of numbers; write a state in each row.")
    words = [str(name) for name in source.data_vars if plain[name].dtype.kind in "OSUT"]
    if words and len(numbers) == 1 < layout.shape[-1]:
        raise ValueError(
            f"{source.attrs['path']} has a row for each number of a state, `{numbers[0]}` beside `{words[0]}`; write a "
            "column for each, with its name in the first line."
        )
    columns = {name: np.asarray(plain[name].values, dtype=float) for name in numbers}
    axis = layout.axes[0]
    if len(layout.space) == 1 and axis in columns and len(columns) > 1:
        positions = {axis: columns.pop(axis)}
        return np.stack(list(columns.values()))[None], list(columns), positions
    matrix = np.stack(list(columns.values()), axis=1)
    if layout.space and matrix.shape[1] == 1:
        matrix = matrix[:, 0]
    elif layout.space and matrix.T.shape == layout.shape and matrix.shape != layout.shape:
        matrix = matrix.T
    return matrix, list(columns), {}
