"""Trajectories that others wrote, as states of ours: one layout, one grid of times, read part by part."""

from __future__ import annotations

__all__ = ["Recording"]

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.data.imports.particles import Beside, in_cube, side_of
from physinv.data.imports.windows import GAP
from physinv.data.sources.build import COORDINATE_NAMES, is_line
from physinv.data.sources.clock import disorder
from physinv.data.sources.roles import role_of, word_of
from physinv.data.sources.states import state_array
from physinv.processes.layout import FieldLayout, ParticleLayout, StateLayout, VectorLayout

_FINEST = 100  # times to be interpolated from one, at most
_FRAMES = "`--frames`, such as `--frames initial,final --times 0:1`"


class Recording:
    """Describe the states of one file and read them.

    Args:
        states: What :func:`~physinv.data.sources.states.states_of` found in it.
        context: Numbers along the times that are known, ``(trajectory, time)``, by name.
        beside: Kinds and box of particles.

    Attributes:
        path: The file, for messages.
        count: Number of trajectories.
        times: Stored times, shape ``(time,)``, in the unit of the file.
        layout: Names, axes and positions of a state; a parameter that differs from trajectory to trajectory is one
            more static channel.
        constants: Numbers that belong to all trajectories, by name.
        varying: Numbers that differ from one trajectory to the next, shape ``(count,)``, by name.
        about: Units, and names of the components of vectors: what a dataset notes about them.
        guessed: Entries of an axis behind time without a name, taken for components; 0 without one.
        ahead: A first axis whose name says nothing, which may be of trajectories; empty if there is none.
        notes: Sentences about what was understood.

    Raises:
        ValueError: If axes have no names, times are missing, not finite or not increasing, or the context has others.
    """

    def __init__(
        self,
        states: xr.Dataset,
        context: Mapping[str, NDArray[np.float64]] | None = None,
        beside: Beside | None = None,
    ) -> None:
        self.path = str(states.attrs["path"])
        self.notes: list[str] = list(states.attrs["notes"])
        _check_axes(states, self.path)
        self.times: NDArray[np.float64] = np.asarray(states["time"].values, dtype=np.float64)
        if len(self.times) < 2 or not np.isfinite(self.times).all() or (np.diff(self.times) <= 0).any():
            repeated = len(np.unique(self.times)) < len(self.times)  # a table with a row for each time and each sensor
            remedy = "make one row of all that belongs to a time" if repeated else "sort the states"
            raise ValueError(
                f"the times of {self.path} must be 2 or more finite numbers, strictly increasing"
                f"{', and some repeat' if repeated else ''}; {remedy}, or say the times with `--times`."
            )
        self.count = int(states.sizes.get("sample", 1))
        self.context = {word_of(k): self._along(k, v) for k, v in (context or {}).items()}
        told: Mapping[str, Any] = {word_of(k): v for k, v in states.attrs["parameters"].items()}
        self.constants = {k: v for k, v in told.items() if isinstance(v, float)}
        self.varying = {k: np.asarray(v) for k, v in told.items() if not isinstance(v, float)}
        for name in [k for k, v in self.varying.items() if (v == v[0]).all()]:
            self.constants[name] = float(self.varying.pop(name)[0])
        self.guessed = max(int(states[name].attrs.get("guessed", 0)) for name in states.data_vars)
        dims = max((states[name].dims for name in states.data_vars), key=len)
        known = (*COORDINATE_NAMES, "latitude", "longitude", "sample", "time", "component", "particle")
        self.ahead = "" if str(dims[0]).lower() in known else str(dims[0])
        self._states, self._beside = states, beside or Beside()
        self.layout = self._layout()
        self.about = self._about()

    def read(self, samples: slice, times: slice = slice(None)) -> NDArray[np.float64]:
        """Read states.

        Args:
            samples: Numbers of the trajectories.
            times: Numbers of the stored times.

        Returns:
            States, shape ``(sample, time, *state)``; NaN where they are missing.
        """
        part = {d: s for d, s in (("sample", samples), ("time", times)) if d in self._states.dims}
        x = state_array(self._states.isel(part))
        n, steps = len(range(self.count)[samples]), len(range(len(self.times))[times])
        x = np.broadcast_to(x, (n, steps, *x.shape[2:]))
        if self.layout.positions:
            return self._placed(x, samples, times)
        if self.varying:
            extra = np.stack([v[samples] for v in self.varying.values()], axis=1)
            shape = (n, steps, len(self.varying), *x.shape[3:])
            spread = extra.reshape(n, 1, -1, *[1] * (x.ndim - 3))
            x = np.concatenate([x, np.broadcast_to(spread, shape)], axis=2)
        return x

    def resampled(self, step: float) -> Recording:
        """Interpolate linearly to evenly spaced times, but not across gaps of the recording.

        Args:
            step: Time from one state to the next.

        Returns:
            The same states at the times first, first + step, ..., without those in gaps.

        Raises:
            ValueError: If the step leaves fewer than 2 times, or makes far more than there are.
        """
        span = self.times[-1] - self.times[0]
        if not 0 < step <= span:
            raise ValueError(f"`--resample` must be a step between 0 and {span:g}, got {step:g}.")
        if span / step > _FINEST * len(self.times):
            raise ValueError(
                f"`--resample` must not make more than {_FINEST} times of one of the {len(self.times)} of {self.path}, "
                f"got {step:g}; take a larger step."
            )
        grid = self.times[0] + step * np.arange(int(span / step * (1 + 1e-12)) + 1)
        gap = _gaps(self.times)
        within = np.clip(np.searchsorted(self.times, grid, side="right") - 1, 0, len(gap) - 1)
        invented = gap[within] & (grid > self.times[within]) & (grid < self.times[within + 1])
        grid = grid[~invented]
        moving = [n for n in self._states.data_vars if "time" in self._states[n].dims]
        states = self._states.drop_dims("time").merge(self._states[moving].interp(time=grid, method="linear"))
        states = states[list(self._states.data_vars)].assign_attrs(self._states.attrs)
        states["time"].attrs.update(self._states["time"].attrs)
        if self.layout.positions:
            raise ValueError(f"`--resample` is for vectors and fields, {self.path} holds particles; leave it out.")
        beside = {k: np.stack([np.interp(grid, self.times, row) for row in v]) for k, v in self.context.items()}
        other = Recording(states, beside)
        other.notes.append(f"interpolated linearly to {len(grid)} times, {step:g} apart")
        if invented.any():
            other.notes.append(f"{int(invented.sum())} times in gaps of the recording left out, not interpolated")
        return other

    def _along(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Context of every trajectory, if it has the times of the states."""
        if values.shape[1] != len(self.times) or values.shape[0] not in (1, self.count):
            raise ValueError(
                f"`{name}` of {self.path} (`--context`) must have the {len(self.times)} times of the states, of one or "
                f"of {self.count} trajectories, got {values.shape}."
            )
        if not np.isfinite(values).all():
            raise ValueError(f"`{name}` of {self.path} (`--context`) holds NaN or infinity; fill it, or leave it out.")
        return np.broadcast_to(values, (self.count, len(self.times)))

    def _layout(self) -> StateLayout:
        states = self._states
        names = [word_of(str(n)) for n in states.data_vars]
        longest = max((states[n] for n in states.data_vars), key=lambda a: a.ndim)
        axes = [str(d) for d in longest.dims if d not in ("sample", "time", "component")]
        if "particle" in axes:
            return self._particle_layout(names)
        if not axes:
            size = sum(int(states[n].sizes.get("component", 1)) for n in states.data_vars)
            return VectorLayout(names[0] if len(names) == 1 else "state", size, [word_of(n) for n in self.varying])
        names += [word_of(n) for n in self.varying]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.path} has two channels of one name among {', '.join(names)}; rename one.")
        places = [
            np.asarray(
                states[a].values if a in states.coords else np.arange(states.sizes[a]), dtype=np.float64
            ).tolist()
            for a in axes
        ]
        static = [word_of(str(n)) for n in states.data_vars if "time" not in states[n].dims]
        ends = [states.attrs["boundary"][a] for a in axes]
        boundary = ends[0] if len(set(ends)) == 1 else ",".join(ends)
        return FieldLayout(names, [word_of(a) for a in axes], places, boundary, [*static, *map(word_of, self.varying)])

    def _particle_layout(self, names: list[str]) -> StateLayout:
        states = self._states
        count, dimension = int(states.sizes["particle"]), int(states.sizes.get("component", 0))
        bare = [n for n in states.data_vars if set(states[n].dims) - {"sample"} != {"time", "particle", "component"}]
        if bare or not dimension:
            raise ValueError(
                f"`{(bare or names)[0]}` of {self.path} must be a vector of each particle at each time; name its axes "
                "with `--dims`, such as time,particle,component, or choose with `--variable`."
            )
        side, notes = side_of(self._beside.boxes, dimension, self.path)
        self.notes += notes + self._beyond(side)
        self.varying = {}
        kinds, boxes = self._beside.species, self._beside.boxes
        if kinds is not None and (kinds.shape[0] not in (1, self.count) or kinds.shape[1] != count):
            raise ValueError(f"the kinds of particles in {self.path} must be {count} numbers, got {kinds.shape}.")
        if boxes is not None and len(boxes) not in (1, len(self.times)):
            raise ValueError(f"{self.path} has {len(self.times)} times and {len(boxes)} boxes; give one, or as many.")
        return ParticleLayout(count, dimension, names, side)

    def _beyond(self, side: float) -> list[str]:
        """A sentence where the first positions do not fit the box, which may be too small, or of another unit."""
        positions = next(iter(self._states.data_vars.values()))
        first = positions.isel({d: 0 for d in ("sample", "time") if d in positions.dims})
        reach = float(np.ptp(np.asarray(first.transpose("particle", "component").values), axis=0).max())
        if not side or reach <= 1.25 * side:
            return []
        return [
            f"positions of the first state reach over {reach:.4g} in a box of side {side:.4g}, and count as having "
            "gone on through its sides; if they have not, give the box in their unit (`--box`)"
        ]

    def _placed(self, x: NDArray[np.float64], samples: slice, times: slice) -> NDArray[np.float64]:
        """States of particles in the cube of the mean side, with the kind of each."""
        boxes, kinds, d = self._beside.boxes, self._beside.species, self.layout.positions
        out = np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1)
        if boxes is not None:
            out[..., :d] = in_cube(x[..., :d], boxes if len(boxes) == 1 else boxes[times], self.layout.box)
        if kinds is not None:
            out[..., -1] = (kinds if len(kinds) == 1 else kinds[samples])[:, None]
        return out

    def _about(self) -> dict[str, Any]:
        states = self._states
        unit, _, origin = str(states["time"].attrs.get("units", "")).partition(" since ")
        units = {
            word_of(str(n)): str(states[n].attrs["units"]) for n in states.data_vars if states[n].attrs.get("units")
        }
        axes = {word_of(a): str(states[a].attrs["units"]) for a in map(str, states.dims) if _has_units(states, a)}
        about: dict[str, Any] = {
            "units": units,
            "time_unit": unit,
            "axis_units": axes,
            "origin": float(self.times[0]),
            "origin_date": origin,
        }
        if self.layout.kind == "vector" and len(states.data_vars) > 1:
            about["components"] = [word_of(str(n)) for n in states.data_vars]
        return {k: v for k, v in about.items() if v or k == "origin"}


def _gaps(times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which intervals between stored times are far longer than those around them."""
    steps = np.diff(times)
    around = np.pad(steps, 2, mode="reflect") if len(steps) > 2 else np.pad(steps, 2, mode="edge")
    usual = np.median(np.stack([around[i : i + len(steps)] for i in (0, 1, 3, 4)]), axis=0)
    found: NDArray[np.bool_] = steps > GAP * usual
    return found


def _check_axes(states: xr.Dataset, path: str) -> None:
    """Raise ValueError unless every axis has a name, time among them, with its times."""
    if not states.data_vars:
        raise ValueError(
            f"the states of {path} have the name of an axis in `--dims`, and would be positions; call the axis "
            "otherwise."
        )
    name, a = max(((str(n), states[n]) for n in states.data_vars), key=lambda item: item[1].ndim)
    lengths = " x ".join(str(n) for n in a.shape)
    if unnamed := [str(d) for d in a.dims if re.match(r"axis_\d", str(d))]:
        which = "its axes" if len(unnamed) == a.ndim else f"its axes {', '.join(_ordinal(a, d) for d in unnamed)}"
        if a.ndim == 1:
            _refuse_disorder(states, path)
        if unfit := states.attrs["unfit"]:
            raise ValueError(
                f"{'; '.join(unfit)}; correct the file, or name the axes with `--dims` and give `{_remedy(unfit)}`."
            )
        if a.ndim == 1:  # columns of a table
            lines = [str(n) for n, v in states.data_vars.items() if v.ndim == 1 and is_line(v.variable)]
            such = f', such as `--times "{lines[0]}"`' if lines else ""
            raise ValueError(
                f"{path} does not say at which times its {lengths} rows were taken; name the column of times with "
                f"`--times`{such}, or give a step, such as `--times 0.1`.{_pairs_of_columns(states)}"
            )
        raise ValueError(
            f"`{name}` of {path} holds {lengths} numbers, and the file does not name {which}; name all in their order "
            f"with `--dims`, such as {states.attrs['dims_example']} (`sample` is an axis of runs).{_pair(states)}"
        )
    if "time" not in a.dims:
        raise ValueError(
            f"`{name}` of {path} has the axes {', '.join(map(str, a.dims))}, none of which is time; name all in their "
            f"order with `--dims`. Initial and final states that are two arrays are named by {_FRAMES}."
        )
    if "time" not in states.coords:
        raise ValueError(
            f"{path} does not say at which times its {a.sizes['time']} states were taken; give `--times`, a step such "
            "as 0.1, first:last, or the name of a variable."
        )


def _refuse_disorder(states: xr.Dataset, path: str) -> None:
    """Raise ValueError where a column of times goes back, or tells one of them twice."""
    for name in states.data_vars:
        v = states[name].values
        if role_of(str(name)) == "time" and v.ndim == 1 and v.dtype.kind in "iufM" and not is_line(v):
            raise ValueError(
                f"`{name}` of {path} must increase from row to row, and {disorder(v)}; sort the rows, make one of all "
                f"that belongs to a time, or say the times with `--times`.{_pairs_of_columns(states)}"
            )


def _pair(states: xr.Dataset) -> str:
    """How two arrays of one shape are imported, if they are initial and final states."""
    names = [str(n) for n in states.data_vars]
    if len(names) != 2 or len({states[n].shape for n in names}) > 1:
        return ""
    return f" If these are initial and final states, two arrays, add `--frames {','.join(names)} --times 0:1`."


def _pairs_of_columns(states: xr.Dataset) -> str:
    """How a table is imported whose rows are pairs, if its first columns may be one state and its last the other."""
    names = [str(n) for n in states.data_vars]
    if len(names) % 2:
        return ""
    halves = ["+".join(half) for half in (names[: len(names) // 2], names[len(names) // 2 :])]
    such = halves if len(names) in range(4, 9) else ["x0_*", "xT_*"]
    return f" If a row is an initial and a final state, name their columns: `--frames '{','.join(such)}' --times 0:1`."


def _remedy(unfit: list[str]) -> str:
    """The option that stands in for stored times or positions that fit no axis."""
    name = unfit[0].split("`")[1]
    return "--times" if role_of(name) == "time" else f"--positions {name}=first:last"


def _ordinal(a: xr.DataArray, dim: str) -> str:
    i = a.dims.index(dim)
    return f"{i} ({a.shape[i]})"


def _has_units(states: xr.Dataset, axis: str) -> bool:
    return axis not in ("sample", "time") and axis in states.coords and bool(states[axis].attrs.get("units"))
