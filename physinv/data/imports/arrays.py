"""Trajectories from arrays and xarray to :class:`~physinv.data.dataset.TrajectoryDataset`, and back."""

from __future__ import annotations

__all__ = ["from_arrays", "from_xarray", "to_xarray"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from physinv.config.inputs import Numbers, Times, as_tensor, as_times, describe
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.data.imports.missing import find_mask, in_float32, refuse_missing
from physinv.data.imports.recording import Recording
from physinv.data.plan import CHUNK_BYTES
from physinv.data.sources.states import states_of
from physinv.data.sources.valid_range import opened
from physinv.processes.parameters import describe as describe_process
from physinv.processes.recorded import Recorded


def from_arrays(
    x: Numbers,
    *,
    times: Times,
    coordinates: Mapping[str, Numbers] | None = None,
    names: str | Sequence[str] | None = None,
    units: str | Mapping[str, str] | None = None,
    boundary: str | Mapping[str, str] | None = None,
) -> TrajectoryDataset:
    """Make a dataset of arrays; :meth:`~physinv.data.dataset.TrajectoryDataset.from_arrays` is the same.

    Args:
        x: States: ``(sample, time, component)`` for vectors; for fields ``(sample, time, channel, *space)``, or without
            the axis of channels where there is one name.
        times: Times of the states, shape ``(time,)``.
        coordinates: For fields the positions along each axis of space, by its name, in the order of the axes.
        names: Name of the vector or of its components, or names of the channels.
        units: Unit of all channels, or of some by name.
        boundary: What lies at the ends of the axes: ``"periodic"``, ``"wall"`` or ``"open"``, or one for each by name.

    Returns:
        The trajectories, in memory.

    Raises:
        ValueError: If shapes, times or names do not fit each other.
    """
    if coordinates is not None and not isinstance(coordinates, Mapping):
        raise ValueError(
            f"`coordinates` must be positions by name of an axis, got {describe(coordinates)}; give a dict."
        )
    if not isinstance(names, str | Sequence | None):
        raise ValueError(f"`names` must be a word or a list of words, got {describe(names)}.")
    if not isinstance(units, str | Mapping | None):
        raise ValueError(f"`units` must be a word, or words by name of a channel, got {describe(units)}.")
    states = as_tensor(x, "x").detach().cpu()
    values = (states.float() if states.dtype is torch.bfloat16 else states).numpy()
    places = {a: np.asarray(c, dtype=np.float64) for a, c in (coordinates or {}).items()}
    clock = as_times(times, increasing=True).cpu().numpy()
    words = [names] if isinstance(names, str) else list(names or ())
    space = tuple(map(len, places.values()))
    if places and values.shape[2:] == space:
        values = values[:, :, None]
    if values.ndim != 3 + len(space) or values.shape[3:] != space or values.shape[1] != len(clock):
        wanted = ("sample", f"{len(clock)} times", "channel" if places else "component", *map(str, space))
        hint = "" if places else "; for fields give `coordinates`, such as {'x': positions}"
        raise ValueError(f"`x` must have shape ({', '.join(wanted)}), got {values.shape}{hint}.")
    parts = values.shape[2]
    variables: dict[str, Any]
    if not places and len(words) <= 1:
        variables = {(words or ["state"])[0]: (("sample", "time", "component"), values)}
    else:
        words = words or (["u"] if parts == 1 else [f"u_{i}" for i in range(parts)])
        if len(words) != parts or len(set(words)) < parts:
            raise ValueError(f"`names` must be {parts} different names, got {describe(names)}.")
        variables = {w: (("sample", "time", *places), values[:, :, i]) for i, w in enumerate(words)}
    data = xr.Dataset(variables, {"time": clock, **places})
    for name in data.data_vars:
        unit = units if isinstance(units, str) else (units or {}).get(str(name))
        data[name].attrs.update({"units": unit} if unit else {})
    return from_xarray(data, boundary=boundary)


def from_xarray(
    data: xr.Dataset | xr.DataArray,
    variable: str | Sequence[str] | None = None,
    *,
    boundary: str | Mapping[str, str] | None = None,
) -> TrajectoryDataset:
    """Make a dataset of xarray's; :meth:`~physinv.data.dataset.TrajectoryDataset.from_xarray` is the same.

    Args:
        data: States along ``time``, and ``sample`` if there are many; other axes are space, or ``component``.
        variable: Names of the variables that make up a state; None takes those of the most axes.
        boundary: What lies at the ends of the axes.

    Returns:
        The trajectories, in memory. Points that are NaN always are a mask; numbers outside of ``valid_range``,
        ``valid_min`` or ``valid_max`` count as missing.

    Raises:
        ValueError: If there is no axis of time, or numbers are missing at some times.
    """
    if isinstance(data, xr.DataArray):
        data = data.to_dataset(name=data.name or "u")
    if not isinstance(data, xr.Dataset):
        raise ValueError(f"`data` must be a Dataset or DataArray of xarray, got {describe(data)}.")
    recording = Recording(states_of(opened(data), variable, boundary=boundary))
    mask, _ = find_mask([recording], CHUNK_BYTES)
    layout = recording.layout if mask is None else recording.layout.masked(mask)
    x = recording.read(slice(None))
    x = x if mask is None else np.where(mask, x, 0.0)
    if np.isnan(x).any():
        refuse_missing([recording], CHUNK_BYTES)
        raise ValueError("`data` holds numbers that are missing (NaN) at all times; leave those components out.")
    recorded = Recorded.of(layout, recording.times - recording.times[0])
    config = {"simulator": "recorded", "parameters": describe_process(recorded), "physics": recording.constants}
    grid = tuple(recorded.times.tolist())
    header = Header(
        "recorded", layout, layout.shape, grid, recording.count, recording.constants, config | recording.about
    )
    return TrajectoryDataset.of_states(torch.from_numpy(in_float32(x, recording.path)), header, Path(recording.path))


def to_xarray(data: TrajectoryDataset) -> xr.Dataset:
    """Return trajectories as a dataset of xarray, all in memory.

    Args:
        data: The trajectories.

    Returns:
        One variable for each channel, ``(sample, time, *space)``, static ones without time; vectors as ``(sample, time,
        component)``, or a variable for each named component. Units are attributes, points without data NaN.
    """
    layout, config = data.layout, data.config
    x, parts = data.trajectories().numpy(), layout.parts()
    coords: dict[str, Any] = {"time": ("time", data.times.numpy(), _units(config.get("time_unit")))}
    for axis, along, kind in zip(layout.space, layout.coordinates, layout.boundary.split(",") * 3, strict=False):
        about = _units(config.get("axis_units", {}).get(axis)) | {"boundary": kind.lower()}
        coords[axis] = (axis, np.asarray(along), about)
    out: dict[str, Any] = {}
    named = config.get("components", ())
    for name, place in parts:
        values = x[(..., *place)]
        dims = ("sample", "time", *(layout.space or layout.axes_of(name)))
        dims = tuple("component" if d == "coordinate" else d for d in dims)
        if name in layout.static:
            values, dims = values[:, 0], (dims[0], *dims[2:])
        if len(named) == values.shape[-1] and not layout.space and name not in layout.static:
            out |= {n: (dims[:2], values[..., i], _units(config.get("units", {}).get(n))) for i, n in enumerate(named)}
        else:
            out[name] = (dims, values, _units(config.get("units", {}).get(name)))
    found = xr.Dataset(out, coords)
    if layout.space and layout.static:
        found.attrs["fields"] = list(out)  # also those that do not change in time
    valid = getattr(layout, "valid", None)
    return found if valid is None else found.where(xr.DataArray(valid.numpy(), dims=layout.space))


def _units(text: Any) -> dict[str, str]:
    return {"units": str(text)} if text else {}
