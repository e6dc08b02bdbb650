"""States that are one array for each time, such as initial and final states, put together along time.

In a table a state is several columns: ``a0+b0``, or ``x0_*`` for all whose names begin so.
"""

from __future__ import annotations

__all__ = ["stacked", "together"]

import fnmatch
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from physinv.config.suggest import did_you_mean
from physinv.data.sources.build import is_unnamed
from physinv.data.sources.roles import role_of, same_unit


def together(sources: Sequence[xr.Dataset], frames: Sequence[str]) -> list[xr.Dataset]:
    """Find which files belong together: each file by itself if it holds all frames, else all of them.

    Args:
        sources: Opened files.
        frames: Names of the variables, in the order of time.

    Returns:
        Datasets that hold all frames.  What else is known is that of the file of the first frame.

    Raises:
        ValueError: If a frame is in no file, or in several.
    """
    sources = [_joined(source, frames) for source in sources]
    if all(name in source.variables for source in sources for name in frames):
        return list(sources)
    owners = []
    for name in frames:
        found = [source for source in sources if name in source.variables]
        if not found:
            known = [str(v) for source in sources for v in source.variables]
            raise ValueError(f"{_paths(sources)} has no variable `{name}` (`--frames`); {did_you_mean(name, known)}")
        if len(found) > 1:
            raise ValueError(
                f"`{name}` (`--frames`) is in {_paths(found)}; give one of them, or rename it in the others."
            )
        owners.append(found[0])
    whole = owners[0]
    for name, owner in zip(frames, owners, strict=True):
        if owner[name].shape != whole[frames[0]].shape:
            raise _differ(whole[frames[0]], owner[name], _paths(sources))
        dims = [str(d) for d in whole[frames[0]].dims]
        whole = whole.assign({name: xr.Variable(dims, owner[name].data, owner[name].attrs)})
    return [whole.assign_attrs(path=_paths(sources))]


def stacked(source: xr.Dataset, frames: Sequence[str], dims: Sequence[str]) -> tuple[xr.Dataset, list[str]]:
    """Put variables that are the states at one time each together along an axis of time.  They are read into memory.

    Args:
        source: All variables of a file.
        frames: Names of the variables, two or more, in the order of time.
        dims: Names of their axes that the user gave; empty if none.

    Returns:
        The dataset with one variable in the place of all frames, called by what their names have in common, and the
        names of its axes; none where the file names them.

    Raises:
        ValueError: If there are fewer than two, they differ in shape, or nothing names their axes.
    """
    path = str(source.attrs.get("path", "the dataset"))
    if len(set(frames)) < max(2, len(frames)):
        raise ValueError(
            f"`--frames` must name two or more variables, each once, such as initial,final, got {','.join(frames)}."
        )
    first, *others = (source[name].drop_vars(list(source[name].coords)) for name in frames)
    for other in others:
        if (other.dims, other.shape) != (first.dims, first.shape):
            raise _differ(first, other, path)
        units = [str(a.attrs.get("units", "")) for a in (first, other)]
        if all(units) and not same_unit(*units):
            raise ValueError(
                f"`{first.name}` is in {units[0]} and `{other.name}` in {units[1]} in {path}; write all in one unit."
            )
    names = list(dims) or [str(d) for d in first.dims]
    if any(role_of(name) == "time" for name in names):
        raise ValueError(
            f"`{first.name}` of {path} has an axis of time already; leave `--frames` out, or give other `--dims`."
        )
    if len(names) != first.ndim or len(set(names)) < len(names) or any(map(is_unnamed, names)):
        shape, such = " x ".join(map(str, first.shape)), ("sample", *"zyx"[max(0, 4 - first.ndim) :])
        such = ("sample", "component") if first.ndim == 2 else such[: first.ndim]
        raise ValueError(
            f"`{first.name}` of {path} holds {shape} numbers; name its {first.ndim} axes with `--dims`, such as "
            f"{','.join(such)}{' or sample,x' if first.ndim == 2 else ''}; `--frames` adds the axis of time."
        )
    at = 1 if role_of(names[0]) == "sample" else 0
    values = np.stack([np.asarray(a.values) for a in (first, *others)], axis=at)
    whole = xr.Variable([*first.dims[:at], "time", *first.dims[at:]], values, first.attrs)
    named = {str(k): v for k, v in source.variables.items() if k not in frames}
    told = [*names[:at], "time", *names[at:]] if dims else []
    parts = [_alike(columns) for columns in zip(*(x.attrs.get("columns", ()) for x in (first, *others)), strict=True)]
    if role_of(names[-1]) == "component" and all(parts) and 1 < len(set(parts)) == len(parts):
        columns = {part: whole[..., i] for i, part in enumerate(parts)}
        return xr.Dataset({**named, **columns}, attrs={**source.attrs, "fields": parts}), told[:-1]
    return xr.Dataset({**named, _common(frames, names): whole}, attrs=source.attrs), told


def _joined(source: xr.Dataset, frames: Sequence[str]) -> xr.Dataset:
    """Columns of a table that are a state together, one beside the other, or all of a table that is called as a frame.

    A row is a sample, unless the table names what its rows are.
    """
    path = str(source.attrs.get("path", "the dataset"))
    plain, used = [str(name) for name in source.data_vars if source[name].ndim == 1], list[str]()
    for frame in [name for name in frames if name not in source.variables]:
        words, whole = frame.split("+"), source.attrs.get("family") == "csv" and Path(path).stem == frame
        columns = [name for word in words for name in (fnmatch.filter(plain, word) if "*" in word else [word])]
        columns = plain if whole else columns
        if not whole and (columns == [frame] or not set(plain).intersection(columns)):
            continue  # another file may hold it; who does not find it says so
        for name in columns:
            if name not in plain:
                raise ValueError(f"{path} has no column `{name}` (`--frames {frame}`); {did_you_mean(name, plain)}")
            if name in used:
                raise ValueError(
                    f"column `{name}` of {path} is named twice by `--frames`; a number belongs to one time."
                )
            used.append(name)
        values = np.stack([np.asarray(source[name].values) for name in columns], axis=1)
        rows = str(source[columns[0]].dims[0])
        dims = ["sample" if is_unnamed(rows) else rows, "component"]
        source = source.assign({frame: xr.Variable(dims, values, {"columns": columns})})
    return source.drop_vars(used)


def _alike(names: Sequence[str]) -> str:
    """What names of columns have in common, word by word: ``x_3`` of ``x0_3`` and ``xT_3``."""
    words = [re.split(r"[_\-. ]+", name) for name in names]
    if len({len(w) for w in words}) > 1:
        return ""
    kept = [w[0] if len(set(w)) == 1 else _beginning(w).rstrip("0123456789") for w in zip(*words, strict=True)]
    return "_".join(filter(None, kept))


def _common(frames: Sequence[str], axes: Sequence[str]) -> str:
    """What names have in common: ``u`` of ``u_initial`` and ``u_final``; ``state`` if that is nothing, or an axis."""
    name = _beginning(frames).rstrip("_-. 0123456789")
    return name if name and name not in axes else "state"


def _beginning(names: Sequence[str]) -> str:
    """The letters with which all names begin."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike)


def _differ(a: xr.DataArray, b: xr.DataArray, path: str) -> ValueError:
    shapes = " and ".join(f"`{x.name}` {' x '.join(map(str, x.shape))}" for x in (a, b))
    return ValueError(
        f"{shapes} of {path} differ in their axes; `--frames` takes states of one shape, one at each time."
    )


def _paths(sources: Sequence[xr.Dataset]) -> str:
    return ", ".join(str(source.attrs.get("path", "the dataset")) for source in sources)
