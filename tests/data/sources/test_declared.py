"""Files that declare far more than they hold are refused before memory is taken, or anything listed, for it."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from physinv.data.imports.choices import Choices
from physinv.data.imports.plan import plan_import

MANY = 10**12
MOST_MEMORY = 2**26  # bytes
U, T, X = np.zeros((6, 5, 4), dtype="f4"), np.linspace(0, 1, 5), np.arange(4) / 4


def arrays(path: Path, u: tuple[int, ...], t: int = 5, x: int = 4) -> None:
    """PDEBench's layout, with room for nothing."""
    with h5py.File(path, "w") as file:
        for name, shape, values in (("u", u, U), ("t-coordinate", (t,), T), ("x-coordinate", (x,), X)):
            if shape == values.shape:
                file[name] = values
            else:
                file.create_dataset(name, shape, "f4", chunks=tuple(min(n, 4) for n in shape))


def trajectories(path: Path) -> None:
    arrays(path, (MANY, 5, 4))


def times(path: Path) -> None:
    arrays(path, (6, MANY, 4), t=MANY)


def positions(path: Path) -> None:
    arrays(path, (6, 5, MANY), x=MANY)


def components(path: Path) -> None:
    arrays(path, (6, 5, 4, MANY))


def groups(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["0/grid/t"], file["0/grid/x"] = T, X
        file.create_dataset("0/data", (5, 4, MANY), "f4", chunks=(1, 4, 1))


def plain(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("u", (MANY, 5, 4), "f4", chunks=(1, 5, 4))


def the_well(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["dimensions/time"] = T
        file.create_dataset("dimensions/x", (MANY,), "f4", chunks=(4,))
        file["dimensions"].attrs["spatial_dims"] = ["x"]
        file.attrs["n_trajectories"] = 6
        file.create_dataset("t0_fields/u", (6, 5, MANY), "f4", chunks=(1, 5, 4))


def header_of_numpy(path: Path) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (MANY, 5, 4)})
    return content.getvalue()


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("u.npy", header_of_numpy(path))


def array(path: Path) -> None:
    path.write_bytes(header_of_numpy(path) + b"\0" * 64)


def store(path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(path, mode="w", zarr_format=2)
    u = group.create_array("u", shape=(10**9, 5, 4), chunks=(10**6, 5, 4), dtype="f4")
    u.attrs["_ARRAY_DIMENSIONS"] = ["sample", "time", "x"]


NEVER = "never written"
CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "trajectories.h5": (trajectories, NEVER),
    "times.h5": (times, "declares 1000000000000 numbers"),
    "positions.h5": (positions, "declares 1000000000000 numbers"),
    "components.h5": (components, NEVER),
    "groups.h5": (groups, NEVER),
    "plain.h5": (plain, NEVER),
    "the_well.h5": (the_well, "declares 1000000000000 numbers"),
    "archive.npz": (archive, "`u.npy` declares 160000000000000 bytes, more than the file can hold"),
    "array.npy": (array, "can't be read"),
    "store.zarr": (store, "`u` declares 80 GB, the file has"),
}


@pytest.mark.parametrize("name", CASES)
def test_declared_sizes_are_not_believed(name: str, tmp_path: Path) -> None:
    make, expected = CASES[name]
    path = tmp_path / name
    make(path)
    tracemalloc.start()
    with pytest.raises(ValueError, match=expected) as caught:
        plan_import([path], Choices(dims="sample,time,x", times="0.1"))
    assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    tracemalloc.stop()
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_well_compressed_numbers_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("u", data=np.zeros((100, 5, 200), dtype="f4"), chunks=(10, 5, 200), compression="gzip")
        file["t-coordinate"], file["x-coordinate"] = T, np.arange(200.0)
    assert len(plan_import([tmp_path / "x.h5"], Choices()).picks["train"]) == 80
