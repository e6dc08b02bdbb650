"""Read trajectories of particles: GSD by gsd, XYZ and extended XYZ by ase (``pip install 'physinv[particles]'``).

position, velocity   (time, particle, component)
species              (particle), whole numbers, where there is more than one kind
box                  (time, 6): sides along x, y, z and tilts xy, xz, yz, in HOOMD's and GSD's convention
"""

from __future__ import annotations

__all__ = ["read_gsd", "read_xyz"]

import importlib
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.config.devices import check_memory
from physinv.config.failures import told_bytes

_BYTES = 64  # of a particle in a frame while it is read


def read_gsd(path: Path) -> xr.Dataset:
    """Read a GSD file.

    Args:
        path: The file.

    Returns:
        Its particles, with the steps of the simulation as times.

    Raises:
        ValueError: If gsd is not installed, the file is damaged, or particles come and go.
    """
    hoomd = _module("gsd.hoomd", path)

    def read() -> xr.Dataset:
        with hoomd.open(path, mode="r") as file:
            _check_size(path, len(file), int(file[0].particles.N) if len(file) else 0)
            frames = list(file)
        counts = {int(frame.particles.N) for frame in frames}
        flat = all(frame.configuration.dimensions == 2 for frame in frames)
        vectors = {
            "position": [frame.particles.position for frame in frames],
            "velocity": [frame.particles.velocity for frame in frames],
        }
        times = [float(frame.configuration.step) for frame in frames]
        boxes = [frame.configuration.box for frame in frames]
        return _dataset(path, counts, vectors, frames[0].particles.typeid, boxes, times, 2 if flat else 3)

    return _read(path, read)


def read_xyz(path: Path) -> xr.Dataset:
    """Read an XYZ file, plain or extended, with one frame after another.

    Args:
        path: The file.

    Returns:
        Its particles; times where every frame names one (``time=...``).

    Raises:
        ValueError: If ase is not installed, the file is damaged, or particles come and go.
    """
    ase = _module("ase.io", path)

    def read() -> xr.Dataset:
        frames = list(ase.iread(str(path), index=":", format="extxyz"))
        counts = {len(frame) for frame in frames}
        vectors = {"position": [frame.positions for frame in frames]}
        if all(frame.has("momenta") for frame in frames):
            vectors["velocity"] = [frame.get_velocities() for frame in frames]
        told = [frame.info.get("time") for frame in frames]
        times = [float(t) for t in told if t is not None]
        boxes = [_sides(np.asarray(frame.cell)) for frame in frames] if all(f.pbc.any() for f in frames) else []
        times = times if len(times) == len(frames) else []
        return _dataset(path, counts, vectors, frames[0].numbers, boxes, times, 3)

    return _read(path, read)


def _dataset(
    path: Path,
    counts: set[int],
    vectors: dict[str, list[Any]],
    kinds: NDArray[Any],
    boxes: list[Any],
    times: list[float],
    dimension: int,
) -> xr.Dataset:
    if len(counts) != 1 or counts == {0}:
        raise ValueError(f"frames hold {min(counts)} to {max(counts)} particles, all must hold the same")
    found: dict[str, Any] = {}
    for name, frames in vectors.items():
        x = np.stack(list(frames)).astype(np.float64)[..., :dimension]
        if name == "position" or x.any():
            found[name] = (("time", "particle", "component"), x)
    if len(np.unique(kinds)) > 1:
        found["species"] = ("particle", np.asarray(kinds, dtype=np.int64))
    if boxes:
        found["box"] = (("time", "box_number"), np.asarray(boxes, dtype=np.float64))
    coords = {"time": ("time", np.asarray(times), {"units": "steps"} if path.suffix == ".gsd" else {})}
    fields = [name for name in ("position", "velocity") if name in found]
    ordered = len(times) > 1 and bool((np.diff(times) > 0).all())  # steps may all be 0
    return xr.Dataset(found, coords if ordered else {}, {"fields": fields})


def _sides(cell: NDArray[Any]) -> NDArray[np.float64]:
    """Sides and tilts of a box whose vectors are rows, the first along x and the second in the plane of x and y."""
    upper = np.triu(cell, 1)
    if np.abs(upper).max() > 1e-6 * np.abs(cell).max():
        raise ValueError("its box is turned: the first side must lie along x, the second in the plane of x and y")
    a, b, c = np.diag(cell)
    safe = [v if v else 1.0 for v in (b, c)]
    return np.array([a, b, c, cell[1, 0] / safe[0], cell[2, 0] / safe[1], cell[2, 1] / safe[1]])


def _read(path: Path, read: Callable[[], xr.Dataset]) -> xr.Dataset:
    try:
        return read()
    except Exception as error:  # both libraries have errors of their own for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(f"{path} can't be read ({reason}); copy it again, or write the positions as .npz.") from None


def _check_size(path: Path, frames: int, particles: int) -> None:
    """Refuse more particles than a file can hold: what a frame does not say is made up by the library."""
    held = path.stat().st_size
    if particles > held or frames > held:
        raise ValueError(f"it declares {frames} frames of {particles} particles and has {told_bytes(held)}")
    check_memory(math.prod((frames, particles, _BYTES)), f"{path}", "leave frames out")


def _module(name: str, path: Path) -> Any:
    package = name.partition(".")[0]
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:  # a folder of that name is no library
        raise ValueError(f"{path} needs {package}, which is not installed; `pip install 'physinv[particles]'`.")
    return importlib.import_module(name)
