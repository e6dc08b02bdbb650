"""What a trajectory file says about itself: :class:`Header`, and reading it back with everything checked."""

from __future__ import annotations

__all__ = ["SCHEMA_VERSION", "Header", "open_file", "read_header"]

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from physinv.processes.layout import StateLayout, layout_from

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Header:
    """All that a file says besides states and seeds.

    ``times`` and the positions in ``layout`` are float64; ``config`` says how the data were made and is free-form JSON.
    """

    name: str
    layout: StateLayout
    shape: tuple[int, ...]
    times: tuple[float, ...]
    n_trajectories: int
    parameters: Mapping[str, Any]
    config: Mapping[str, Any]

    def stored(self, name: str) -> tuple[int, ...]:
        """Shape of the dataset ``name``: ``(trajectory, time, *space)``, without time where it is static."""
        sizes = dict(zip(self.layout.axes, map(len, self.layout.coordinates), strict=True))
        time = () if name in self.layout.static else (len(self.times),)
        return (self.n_trajectories, *time, *(sizes[a] for a in self.layout.axes_of(name)))


def open_file(path: Path) -> h5py.File:
    """Open for reading; one line says what is wrong with a file that can't be."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; make it with `physinv generate`.") from None
    except BlockingIOError:
        raise BlockingIOError(f"{path} is being written by another process; wait until that has finished.") from None
    except PermissionError:
        raise PermissionError(f"{path} can't be read: permission denied.") from None
    except OSError as error:
        reason = re.sub(r"^.*?\(|\)\s*$", "", str(error).splitlines()[0])
        raise ValueError(f"{path} is not a whole HDF5 file ({reason}); copy or generate it again.") from None


def read_header(path: Path) -> Header:
    """Read and check what ``path`` says about itself; ValueError in one line if it is not ours, or broken."""
    with open_file(path) as file:
        try:
            _check_version(path, file)
            header = _read(file)
        except (KeyError, TypeError, OSError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a whole trajectory file: {str(error).splitlines()[0]}.") from None
        _check(path, file, header)
    return header


def _read(file: h5py.File) -> Header:
    own = file["physinv"]
    axes = tuple(str(a) for a in file["dimensions"].attrs["spatial_dims"])
    names = tuple(str(a) for a in file["t0_fields"].attrs["field_names"])
    if any(len(file["dimensions"][a]) != len(own[f"positions_{a}"]) for a in axes):
        raise KeyError("dimensions and positions differ in length")
    boundaries = [str(b.attrs["bc_type"]) for b in file["boundary_conditions"].values()]
    positions = tuple(tuple(own[f"positions_{a}"][:].tolist()) for a in axes)
    boundary = boundaries[0] if boundaries else "OPEN"
    static = tuple(str(a) for a in own.attrs.get("static", ()))
    box, isotropic = float(own.attrs.get("box", 0.0)), bool(own.attrs.get("isotropic", False))
    layout = layout_from(str(own.attrs["kind"]), names, axes, positions, boundary, static, box, isotropic)
    return Header(
        name=str(file.attrs["dataset_name"]),
        layout=layout,
        shape=layout.shape,
        times=tuple(own["times"][:].tolist()),
        n_trajectories=int(file.attrs["n_trajectories"]),
        parameters={str(k): _plain(file.attrs[k]) for k in file.attrs["simulation_parameters"]},
        config=json.loads(own.attrs["config_json"]),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


def _check_version(path: Path, file: h5py.File) -> None:
    if "physinv" not in file or "schema_version" not in file["physinv"].attrs:
        raise ValueError(f"{path} was not written by physinv: it has no /physinv@schema_version.")
    found = file["physinv"].attrs["schema_version"]
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema_version {found}, this version of physinv reads {SCHEMA_VERSION}; "
            "generate the data again, or install the version that wrote them."
        )


def _check(path: Path, file: h5py.File, header: Header) -> None:
    times = header.times
    if len(times) < 2 or not np.isfinite(times).all() or any(b <= a for a, b in itertools.pairwise(times)):
        raise ValueError(f"`times` of {path} must be 2 or more finite numbers, strictly increasing; generate it again.")
    for name in header.layout.names:
        expected = header.stored(name)
        found = file["t0_fields"][name].shape if name in file["t0_fields"] else None
        if found != expected:
            raise ValueError(f"`{name}` of {path} must have shape {expected}, got {found}; generate it again.")
