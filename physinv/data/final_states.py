"""Final states that a user observed, read from a file and brought to the channels and the grid of a process.

A file of observations has no initial states.  It may hold one state or many, with or without coordinates, in any
format that :mod:`physinv.data.sources.read` knows.  What it says is used: names of channels and axes, positions, times.
What it says otherwise than the process is either mended, with a note (another grid is interpolated, an axis that runs
the other way is turned), or refused in one line (another number of channels, another final time, NaN).
"""

from __future__ import annotations

__all__ = ["FinalStates", "final_states", "read_final_states"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from physinv.config.inputs import States, as_paths, as_tensor, check_count, check_instance, joined
from physinv.config.suggest import did_you_mean
from physinv.data.imports.beside_fields import numbers_beside, without_static
from physinv.data.imports.columns import by_name, in_words, is_table, named_by, other_units, table_of
from physinv.data.imports.particles import Beside, beside_particles, with_species
from physinv.data.observed.axes import matched
from physinv.data.observed.heads import by_heads
from physinv.data.observed.shapes import by_shape, without_ones
from physinv.data.observed.times import Horizon
from physinv.data.regrid import counted, in_order, positions_of, regrid, space_of
from physinv.data.sources.roles import names_of, word_of
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    import xarray

_FIXED = ("sample", "time", "component")  # names of axes that are no axes of space


@dataclass(frozen=True)
class FinalStates:
    """Observed final states, and where they come from.

    Args:
        states: The states, in the order of channels and axes of the process, float32.
        sources: File that each state comes from; ``"array"`` where it came from Python.
        indices: Its number in that file.
        notes: Sentences about what was changed or understood on the way.
    """

    states: Float[Tensor, "n *state"]
    sources: tuple[str, ...]
    indices: tuple[int, ...]
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.states)

    def first(self, n: int | None) -> FinalStates:
        """Return the first observations.

        Args:
            n: How many at most; None: all.
        """
        n = None if n is None else check_count(n, "n")
        return FinalStates(self.states[:n], self.sources[:n], self.indices[:n], self.notes)


def final_states(values: States, layout: StateLayout, *, source: str = "array") -> FinalStates:
    """Take arrays of final states as observations.

    Args:
        values: One state or many: a tensor, an array or lists of the shape of a state, with or without a batch axis.
            The axis of the channels may be missing where there is one channel.
        layout: Layout of the states of the process.
        source: Where they come from, for messages and for the result.

    Returns:
        The observations.

    Raises:
        ValueError: If they are of another shape, or not finite.

    Example:
        >>> from physinv.processes.layout import VectorLayout
        >>> final_states([0.5, 1.0], VectorLayout("x", 2)).states
        tensor([[0.5000, 1.0000]])
    """
    check_instance(layout, StateLayout, "layout", "give that of the process, such as process.layout")
    x = as_tensor(values, "values").detach().cpu().double().numpy()
    return _checked(by_shape(x, layout, source), layout, source)


def read_final_states(
    paths: Path | str | Sequence[Path | str],
    layout: StateLayout,
    horizon: float,
    *,
    variable: str | None = None,
    names: Sequence[str] = (),
    dims: str | None = None,
    units: Mapping[str, str] | None = None,
    components: Sequence[str] = (),
) -> FinalStates:
    """Read observed final states from files.

    Args:
        paths: One file or several, each with one state or many.  Of files with several times the last one counts.
        layout: Layout of the states of the process.
        horizon: Final time T of the process, in its unit of time, counted from its initial states.
        variable: Name of the variable in the files, or several, separated by commas; None: as the file says.
        names: Names of the channels in the order in which the file has them; none: as the file says.
        dims: Names of the axes in the files, in their order, separated by commas; None: as the file says.
        units: Units in the training data, by name of a channel or an axis, to be compared with those that files say;
            that of ``horizon`` is called ``time``.
        components: Names of the numbers of a vector in the training data: columns are taken by them.

    Returns:
        The observations of all files, one after another.

    Raises:
        ValueError: If a file cannot be read, holds other channels, another final time, points that do not cover the
            grid of the process, or numbers that are not finite.
    """
    check_instance(layout, StateLayout, "layout", "give that of the process, such as process.layout")
    if not (named := as_paths(paths, "paths", "give files; for arrays take final_states")):
        raise ValueError("`observation` must name at least one file, got none.")
    known = (*components, *layout.static) if components else ()
    end, units = Horizon(horizon, (units or {}).get("time", "")), units or {}
    parts = [_read_all(path, layout, end, variable, tuple(names), dims, units, known) for path in named]
    return FinalStates(
        torch.cat([p.states for p in parts]),
        sum((p.sources for p in parts), ()),
        sum((p.indices for p in parts), ()),
        tuple(dict.fromkeys(sum((p.notes for p in parts), ()))),
    )


def _read_all(path: Path, layout: StateLayout, horizon: Horizon, variable: str | None, *told: Any) -> FinalStates:
    """The observations of one file; columns of a table in the order that their heads say."""
    from physinv.data.sources.read import open_source
    from physinv.data.sources.valid_range import valid

    source, notes = valid(open_source(path)), list[str]()
    if variable is None and told[1] is None:  # else the user says what is what
        source, notes = by_heads(source, layout, path)
    source = in_words(source, {*layout.names, *layout.axes, *told[-1]})
    found = _read_with_static(source, path, layout, horizon, variable, *told)
    return replace(found, notes=(*notes, *found.notes))


def _read_with_static(source: xarray.Dataset, path: Path, layout: StateLayout, *told: Any) -> FinalStates:
    """The observations of one file, with the static channels that it holds as numbers beside them."""
    numbers, absent = numbers_beside(source, layout), [n for n in layout.static if n not in source.variables]
    if not numbers and not (layout.space and absent):
        return _read(source, path, layout, *told)
    try:
        found = _read(source.drop_vars(numbers), path, without_static(layout, [*numbers, *absent]), *told)
    except ValueError:
        if numbers:
            raise
        return _read(source, path, layout, *told)  # it may hold them as channels that have no name
    if absent:
        those = ", ".join(f"`{name}`" for name in absent)
        raise ValueError(
            f"{path} must also hold {those}, which the run was trained to be given: as fields, or as one number for "
            "each observation."
        )
    n, names = len(found), [*without_static(layout, [*numbers]).names, *numbers]
    if wrong := [name for name, v in numbers.items() if len(v) not in (1, n)]:
        raise ValueError(f"`{wrong[0]}` of {path} must hold one number for each of its {n} observations.")
    values = np.stack([np.broadcast_to(v, n) for v in numbers.values()], axis=1)
    beside = np.broadcast_to(values[(...,) + (None,) * len(layout.space)], (n, len(numbers), *layout.shape[1:]))
    every = np.concatenate([found.states.numpy(), beside], axis=1)[:, [names.index(name) for name in layout.names]]
    return _checked(every, layout, str(path), found.notes)


def _read(
    source: xarray.Dataset,
    path: Path,
    layout: StateLayout,
    horizon: Horizon,
    variable: str | None,
    names: tuple[str, ...],
    dims: str | None,
    units: Mapping[str, str],
    known: Sequence[str],
) -> FinalStates:
    """The observations of one file."""
    from physinv.data.sources.states import states_of

    notes: list[str] = []
    coordinates: dict[str, NDArray[np.float64]] = {}
    if variable is not None and source.attrs.get("family") == "csv":
        variable = ",".join(word if (word := word_of(n)) in source.variables else n for n in names_of(variable))
    source, beside = beside_particles(in_order(source, layout), names_of(dims), None, str(path))
    if variable is None and dims is None and is_table(source):
        whole, source = source, by_name(source, known, names, path, units, notes)
        x, called, coordinates = table_of(source, layout)
        if not coordinates:
            x, called = by_shape(x, layout, str(path)), list(layout.names)
        if layout.space:
            x = _channels(path, x, list(names) or called, layout, notes)
            x, changed = regrid(x, coordinates, layout, str(path))
            notes += changed
        horizon.check_each(path, whole, {*layout.names, *layout.axes, *known}, len(x))
        return _checked(x, layout, str(path), tuple(notes))

    # Channels that the file has under the names of the process are taken by name, whatever else it holds.
    chosen: str | list[str] | None = variable
    if variable is None and not names and set(known or layout.names) <= set(source.data_vars):
        chosen = list(known or layout.names)
    found, told, own = matched(without_ones(states_of(source, chosen, dims), layout), layout, path)
    notes += told
    states = {*layout.names, *known, *map(str, found.variables)}
    horizon.check_single(path, source, states)
    each = dims is None and "time" not in found.dims  # there are no times, of which some may be of each observation
    if dims is None or "time" in found.dims:  # else the user says that it is no time
        found, told = horizon.at_the_end(path, found)
        notes += told
    if not layout.space:
        found = by_name(found, known, names, path, units, notes)
        x = _vectors(path, found, layout, beside)
        horizon.check_each(path, source, states, len(x) if each else 0)
        return _checked(x, layout, str(path), tuple(notes))

    # Each variable as (sample, *space), its channels in the order of the process.
    given = [str(name) for name in found.data_vars]
    named = named_by(path, given, names)
    if any(str(d).startswith("axis_") for v in found.data_vars.values() for d in v.dims):
        spaces = space_of(found[given[0]], layout)
        coordinates = positions_of(source, found, dict(zip(layout.axes, spaces, strict=True)))
        values = [_unnamed(path, found[name], spaces, coordinates, layout, len(given) == 1) for name in given]
        x = values[0] if len(values) == 1 else np.concatenate(values, axis=1)
        called = named
        if x.shape[1] != len(given):  # an array of all channels, or several
            alike = x.shape[1] == len(layout.names) and not names
            called = (
                list(layout.names)
                if alike
                else [f"{name}_{i}" for name, v in zip(named, values, strict=True) for i in range(v.shape[1])]
            )
    else:
        found, renamed = counted(found, [str(d) for d in found[given[0]].dims], layout)
        notes += renamed
        axes = _axes(path, found[given[0]], layout)
        x = np.stack([_ordered(found[name], axes) for name in given], axis=1)
        called = named
        pairs = zip(layout.axes, axes, strict=True)
        coordinates = {ours: np.asarray(found[a].values, dtype=float) for ours, a in pairs if a in found.coords}
    x = _channels(path, x, called, layout, notes)
    notes += other_units(path, found, zip(called, given, strict=False), units)
    x, changed = regrid(x, coordinates, layout, str(path), units=_of_axes(found, layout, units), called=own)
    horizon.check_each(path, source, states, len(x) if each else 0)
    return _checked(x, layout, str(path), (*notes, *changed))


def _of_axes(found: xarray.Dataset, layout: StateLayout, units: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Units of positions that are others than in the training data, by axis: those of the file, and of the run."""
    told = {a: str(found[a].attrs.get("units", "")) for a in layout.axes if a in found.coords}
    return {a: (unit, units[a]) for a, unit in told.items() if unit and units.get(a, unit) != unit}


def _vectors(path: Path, found: xarray.Dataset, layout: StateLayout, beside: Beside | None) -> NDArray[np.float64]:
    """Vectors and particles, by their shape alone; variables of one number each are the components, or are static."""
    arrays = [np.atleast_1d(np.asarray(v.values, dtype=float)) for v in found.data_vars.values()]
    if layout.positions and len({a.shape for a in arrays}) == 1:
        arrays = [with_species(np.concatenate(arrays, axis=-1), beside, layout)]
    most = max(a.ndim for a in arrays) + (len(arrays) == layout.shape[-1])
    if len(parts := [a if a.ndim == most else a[..., None] for a in arrays]) > 1:
        arrays = [np.concatenate(parts, axis=-1)] if sum(a.shape[-1] for a in parts) == layout.shape[-1] else arrays
    if len(arrays) > 1:
        held = ", ".join(map(str, found.data_vars))
        raise ValueError(f"{path} holds {held}, the run needs states {joined(layout.shape)}; choose by `--variable`.")
    return by_shape(arrays[0], layout, str(path))


def _axes(path: Path, variable: xarray.DataArray, layout: StateLayout) -> list[str]:
    """Which axes of a variable are those of space, in the order of the process: by name, or in their own order."""
    axes = [str(d) for d in variable.dims if d not in _FIXED]
    if len(axes) != len(layout.axes):
        got = ", ".join(axes) or "none"
        raise ValueError(
            f"`{variable.name}` of {path} must vary along {', '.join(layout.axes)}, got {got}; "
            "say by `--dims` what its axes are."
        )
    return list(layout.axes) if set(axes) == set(layout.axes) else axes


def _ordered(variable: xarray.DataArray, axes: Sequence[str]) -> NDArray[np.float64]:
    """A channel as ``(sample, *space)``."""
    lead = ["sample"] if "sample" in variable.dims else []
    values = np.asarray(variable.transpose(*lead, *axes).values, dtype=float)
    return values if lead else values[None]


def _unnamed(
    path: Path,
    variable: xarray.DataArray,
    spaces: Sequence[str],
    positions: Mapping[str, NDArray[np.float64]],
    layout: StateLayout,
    alone: bool,
) -> NDArray[np.float64]:
    """An array with axes without names, as ``(sample, channel, *space)``."""
    if not set(spaces) <= set(variable.dims):
        return by_shape(np.asarray(variable.values, dtype=float), layout, str(path))
    values = np.asarray(variable.transpose(..., *spaces).values, dtype=float)

    # One of several variables is one channel; an axis with positions may have any number of points.
    space = values.shape[values.ndim - len(spaces) :]
    if not alone and values.ndim <= len(spaces) + 1:
        return values.reshape(-1, 1, *space)
    grid = (n if a in positions else m for a, n, m in zip(layout.axes, space, layout.shape[1:], strict=True))
    return by_shape(values, layout, str(path), (layout.shape[0], *grid))


def _channels(
    path: Path, x: NDArray[np.float64], called: Sequence[str], layout: StateLayout, notes: list[str]
) -> NDArray[np.float64]:
    """The channels of the process, found by their names, or taken in order where there are as many under others."""
    wanted = layout.names
    if set(wanted) <= set(called):
        return x[:, [list(called).index(name) for name in wanted]]
    if len(called) != len(wanted):
        raise ValueError(
            f"{path} holds {len(called)} channel{'s' * (len(called) != 1)} ({', '.join(called)}), the run needs "
            f"{len(wanted)} ({', '.join(wanted)}); choose by `--variable`, or name them by `--names`."
        )
    if len(wanted) > 1 and (known := set(wanted) & set(called)):
        other = next(name for name in called if name not in known)
        raise ValueError(f"{path} has no channel of the run called `{other}`; {did_you_mean(other, wanted)}")
    if list(called) != [path.stem]:  # the only array of a file that names none is called after the file
        notes.append(f"{path}: {', '.join(called)} taken for {', '.join(wanted)} of the run.")
    return x


def _checked(x: NDArray[np.float64], layout: StateLayout, source: str, notes: Sequence[str] = ()) -> FinalStates:
    """Observations of one source, if all numbers are finite in float32."""
    with np.errstate(over="ignore"):
        states = layout.emptied(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)))
    if not len(states):
        raise ValueError(f"{source} holds no states.")
    if not bool(states.isfinite().all()):
        n, *place = torch.nonzero(~states.isfinite())[0].tolist()
        kind = "NaN" if np.isnan(x[(n, *place)]) else "infinity"
        count = int((~states[n].isfinite()).sum())
        more = f" and {count - 1} more" if count > 1 else ""
        raise ValueError(
            f"observation {n} of {source} holds {kind} at {_where(place, layout)}{more}; fill it, or leave it out."
        )
    return FinalStates(states, (source,) * len(states), tuple(range(len(states))), tuple(notes))


def _where(place: Sequence[int], layout: StateLayout) -> str:
    """A component of a state in words."""
    if not layout.space:
        return ", ".join(f"{axis} {i}" for axis, i in zip(layout.dims, place, strict=True))
    along = ", ".join(
        f"{axis} = {c[i]:g}" for axis, c, i in zip(layout.axes, layout.coordinates, place[1:], strict=True)
    )
    return f"`{layout.names[place[0]]}`, {along}"
