"""Find the states in a dataset: which variables, along which axes, where and when."""

from __future__ import annotations

__all__ = ["state_array", "states_of"]

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.config.suggest import did_you_mean
from physinv.data.sources import axes as named_axes
from physinv.data.sources.boundaries import boundaries, without_repeated_ends
from physinv.data.sources.build import COORDINATE_NAMES
from physinv.data.sources.channels import by_label, channels, real_parts, sizes_of, switched
from physinv.data.sources.places import parameters, place_states
from physinv.data.sources.roles import names_of, role_of, word_of
from physinv.data.sources.samples.stack import one_sample_axis
from physinv.data.sources.valid_range import VALID, valid_numbers

_MOST = 8  # variables of one shape that are taken without being named


def states_of(
    source: xr.Dataset,
    variable: str | Sequence[str] | None = None,
    dims: str | Sequence[str] | None = None,
    *,
    times: str | None = None,
    positions: Mapping[str, str] | None = None,
    boundary: str | Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Find the states in a dataset.

    Args:
        source: All variables, from :func:`~physinv.data.sources.read.open_source` or from a user.
        variable: Names of the variables that make up a state; None takes those that the file calls fields, or the
            ones of the highest number of axes if they have one shape.
        dims: Names of the axes of these variables, in the order of the file.
        times: Name of a variable with the times, a time step, or ``first:last``.
        positions: For axes of space, the name of a variable, a spacing, or ``first:last``.
        boundary: What lies at the ends, for all axes or by axis.

    Returns:
        One variable per channel, read when needed, with axes named ``sample`` and ``time`` (those that there are),
        and by axes of space (fields), ``component`` (vectors), or ``particle, component``; in the order of the file.
        An axis that nothing names is still called ``axis_0`` or so.  Coordinates are float64, with ``units``.
        Attributes: ``boundary`` by axis, ``parameters`` by name, ``notes`` in sentences, ``dims_example``, names that
        the axes could have, and ``unfit``, sentences about stored positions and times that fit no axis.

    Raises:
        ValueError: If something needed is not said; the line names the argument that says it.
    """
    path, notes = str(source.attrs.get("path", "the dataset")), list(source.attrs.get("read_notes", ()))
    times = _in_source(source, times)
    positions = {axis: _in_source(source, text) or "" for axis, text in (positions or {}).items()}
    named = {times, *positions.values()}  # of the user: these are no states
    names, left = _picked(source, names_of(variable), named, path)
    source, dims, told = one_sample_axis(source, names, names_of(dims), path)
    notes += told
    picked = {n: _plain(source, n, path) for n in names}
    if not dims:
        picked, told = by_label(source, picked)
        notes += told
    example, unfit = named_axes.about_axes(source, picked, times, path)
    source = _also_called(source, picked, dims)
    picked, told = named_axes.name_axes(source, picked, dims, times, path)
    notes += told
    text = _text(source, [str(d) for n in names for d in source[n].dims])
    picked = {k: v for name, a in picked.items() for k, v in real_parts(name, a).items()}
    states = channels(picked, list(source.attrs.get("axes", ())), path)
    states, more = place_states(source, states, times, positions, path)
    told_of = parameters(source, states, names)
    used = {*told_of, *named, *(str(n).rpartition("_")[0] for n in told_of)}
    for name, (low, high) in {n: a.attrs[VALID] for n, a in picked.items() if VALID in a.attrs}.items():
        notes.append(f"`{name}` is valid from {low:.6g} to {high:.6g}: other numbers count as missing")
    notes += _left_out([n for n in left if n.removeprefix("scalars/") not in used], "choose with --variable")
    notes += _left_out(text, "text, not numbers")
    notes += _left_out(list(source.attrs.get("unequal", {})), "cells of unequal lengths")
    ends, about = boundaries(states, boundary, source.attrs.get("boundary", {}))
    states, repeated = without_repeated_ends(states, ends)
    about += repeated
    states.attrs.update(
        boundary=ends,
        parameters=told_of,
        notes=[*notes, *more, *about],
        dims_example=example,
        unfit=unfit,
        path=path,
        family=source.attrs.get("family", "xarray"),
    )
    return states


def _also_called(source: xr.Dataset, picked: Mapping[str, xr.DataArray], dims: Sequence[str]) -> xr.Dataset:
    """All variables, and the file's own positions and times along axes that the user renamed, by the new names.

    Names that say by themselves what lies along an axis, such as ``x``, are no names for something else.
    """
    longest = max(picked.values(), key=lambda a: a.ndim)
    if len(dims) != longest.ndim:
        return source
    own = {}
    for old, new in zip(map(str, longest.dims), dims, strict=True):
        told = role_of(old, source.variables[old].attrs) if old in source.variables else "unnamed"
        says = old.lower() in (*COORDINATE_NAMES, "latitude", "longitude")
        if role_of(new) == "time" if told == "time" else told == "space" and not says:
            own[new] = source.variables[old]
    return source.assign({new: v for new, v in own.items() if new not in source.variables and new not in source.dims})


def state_array(states: xr.Dataset) -> NDArray[np.float64]:
    """Read states as one array.

    Args:
        states: What :func:`states_of` returns, or a part of it (``states.isel(sample=slice(0, 10))``).

    Returns:
        Shape ``(sample, time, channel, *space)``, ``(sample, time, component)`` for vectors, or
        ``(sample, time, particle, component)``; axes that the file lacks have length 1.  Numbers that the file does
        not call valid are NaN.
    """
    space = _space(states)
    loaded = [states[name].variable.load() for name in states.data_vars]
    sizes = dict(states.sizes)
    wanted = ["sample", "time", *space]
    wanted += ["component"] if any("component" in v.dims for v in loaded) else []
    out = []
    for v in loaded:
        extra = [d for d in v.dims if d not in wanted]
        a = valid_numbers(v.transpose(*(d for d in wanted if d in v.dims), *extra))
        full = a.reshape(*(sizes[d] if d in v.dims else 1 for d in wanted), *(sizes[d] for d in extra))
        out.append(np.broadcast_to(full, (*(sizes.get(d, 1) for d in wanted), *full.shape[len(wanted) :])))
    together = "component" in wanted or "particle" in space
    found = np.concatenate(out, axis=-1) if together else np.stack(out, axis=2 if space else -1)
    with np.errstate(invalid="ignore"):  # of NaN in any of its forms, which is told as missing
        return found.astype(np.float64)


def _space(states: xr.Dataset) -> list[str]:
    """Axes of space in the order of the first variable that has them all."""
    longest = max((states[n] for n in states.data_vars), key=lambda a: a.ndim)
    return [str(d) for d in longest.dims if d not in ("sample", "time", "component")]


def _picked(source: xr.Dataset, wanted: list[str], named: set[str | None], path: str) -> tuple[list[str], list[str]]:
    """Names of the variables that make up a state, and of the other arrays."""
    plain = source.variables  # source[name] would look through all variables for each of them
    numeric = [str(n) for n in source.data_vars if plain[n].dtype.kind in "biufc" and plain[n].size > 1]
    numeric = [n for n in numeric if not n.startswith("scalars/")]
    if not numeric and not wanted:  # a table of one row
        numeric = [
            str(n) for n in source.data_vars if plain[n].dtype.kind in "iuf" and plain[n].ndim == plain[n].size == 1
        ]
    if wanted:
        found = {name: fnmatch.filter(numeric, name) for name in wanted if "*" in name and name not in plain}
        shown = {word_of(n): n for n in reversed(numeric)}  # as an import calls them
        shown |= {name: name.rpartition("/")[2] for name in wanted if name.rpartition("/")[2] in plain}
        wanted = [shown.get(name, name) if name not in plain else name for name in wanted]
        wanted = list(dict.fromkeys(n for name in wanted for n in found.get(name) or [name]))
        for name in wanted:
            _refuse_unequal(source, [name], path)
            if name not in source.variables:
                known = [str(v) for v in source.variables]
                raise ValueError(f"{path} has no variable `{name}` (`--variable`); {did_you_mean(name, known)}")
        return wanted, [n for n in numeric if n not in wanted]
    if fields := [str(n) for n in source.attrs.get("fields", ()) if n in plain]:
        return fields, [n for n in numeric if n not in fields]
    bounds = {str(v.attrs["bounds"]) for v in source.variables.values() if "bounds" in v.attrs}
    free = [n for n in numeric if n not in bounds | named and "grid_mapping_name" not in plain[n].attrs]
    dated = {d for n in free for d in plain[n].dims}
    dated = {d for d in dated if _role(source, d) == "time"}
    moving = [n for n in free if dated.intersection(plain[n].dims)]
    ranks = {n: _rank(plain[n]) for n in moving or free}
    if max(ranks.values(), default=0) < 2:  # a line of times beside them, at most
        _refuse_unequal(source, source.attrs.get("unequal", {}), path)
    if not ranks:
        others = ", ".join(f"{n} ({source[n].dtype})" for n in list(source.data_vars)[:5])
        but = f", but {others}" if others else ""
        raise ValueError(f"{path} holds no arrays of numbers{but}; write the states as one array.")
    highest = max(ranks.values())
    best = [n for n, rank in ranks.items() if rank == highest]
    if len({(plain[n].dims, plain[n].shape) for n in best}) > 1 or len(best) > _MOST:
        _refuse_unequal(source, source.attrs.get("unequal", {}), path)
        listed = ", ".join(f"{n} {sizes_of(source[n])}" for n in best[:6]) + (
            f" and {len(best) - 6} more" if len(best) > 6 else ""
        )
        columns = source.attrs.get("family") == "csv" and highest == 1
        every = "column_*" if all(n.startswith("column_") for n in best) else "x_*"  # of a table without names
        such = f", `--variable '{every}'`, or, of pairs, `--frames 'x0_*,xT_*' --times 0:1`" if columns else ""
        raise ValueError(f"{path} holds several arrays: {listed}; choose with `--variable NAME` or NAME,NAME{such}.")
    return best, [n for n in free if n not in best]


def _in_source(source: xr.Dataset, name: str | None) -> str | None:
    """A name, without the dictionaries or structures around it if the variable has lost them."""
    last = (name or "").rpartition("/")[2]
    return last if name not in source.variables and last in source.variables else name


def _refuse_unequal(source: xr.Dataset, names: Iterable[str], path: str) -> None:
    """Raise ValueError where a variable is cells of unequal lengths, with what makes recordings of them."""
    for name in names:
        if told := source.attrs.get("unequal", {}).get(name):
            raise ValueError(
                f"{told} in {path}; cut them to one length, or write each into a file of its own and import the "
                "folder, with `--window`."
            )


def _text(source: xr.Dataset, dims: list[str]) -> list[str]:
    """Names of variables of text along the axes of the states, except dates."""
    plain, along = source.variables, set(dims)
    found = [str(n) for n in source.data_vars if plain[n].dtype.kind in "SUOT" and plain[n].size > 1]
    return [n for n in found if role_of(n) != "time" and along.intersection(map(str, plain[n].dims))]


def _left_out(names: list[str], why: str) -> list[str]:
    shown = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
    return [f"left out: {shown} ({why})"] if names else []


def _role(source: xr.Dataset, dim: Any) -> str:
    return role_of(str(dim), source[dim].attrs if dim in source.variables else None)


def _rank(a: xr.Variable) -> int:
    return sum(n > 1 for n in a.shape)


def _plain(source: xr.Dataset, name: str, path: str) -> xr.DataArray:
    a = source[name]
    if a.dtype.kind in "SUOT" and (numbers := switched(a)) is not None:
        a = numbers
    if a.dtype.kind not in "biufc":
        kind = "text" if a.dtype.kind in "SUOT" else "records of several numbers" if a.dtype.kind == "V" else "dates"
        raise ValueError(f"`{name}` of {path} holds {kind}, not numbers; choose another with `--variable`.")
    if a.size == 0:
        raise ValueError(f"`{name}` of {path} is empty, shape {a.shape}; choose another with `--variable`.")
    a.isel(dict.fromkeys(a.dims, 0)).load()  # readers refuse here what declares more than it holds
    return a.drop_vars(list(a.coords))
