"""The layout of a file is one that others read too; files that are damaged or foreign are named."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray
from dataset_cases import FIELD, SHAPES, TIMES, VECTOR, held_open, numbers, write

from physinv.data.dataset import TrajectoryDataset
from physinv.data.inspect import inspect
from physinv.data.writer import TrajectoryWriter
from physinv.processes.layout import FieldLayout


def test_same_data_same_bytes(tmp_path: Path) -> None:
    states = numbers(6, "field")
    first = write(tmp_path / "a.hdf5", states, FIELD, seed=5)
    time.sleep(1.1)  # HDF5's own time stamps count seconds
    second = write(tmp_path / "b.hdf5", states, FIELD, seed=5)
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


def test_layout_is_that_of_the_well(tmp_path: Path) -> None:
    """The rules of The Well's format checker, and dimension scales."""
    for layout, kind in ((FIELD, "field"), (VECTOR, "vector")):
        with h5py.File(write(tmp_path / f"{kind}.hdf5", numbers(5, kind), layout)) as file:
            n_dims = len(layout.axes)
            assert file.attrs["dataset_name"] == "noise"
            assert file.attrs["grid_type"] == "cartesian"
            assert (file.attrs["n_spatial_dims"], file.attrs["n_trajectories"]) == (n_dims, 5)
            assert list(file.attrs["simulation_parameters"]) == ["rate", "size", "prior", "modes"]
            assert (file.attrs["rate"], file.attrs["prior"]) == (0.1, "edges")
            assert tuple(file["dimensions"].attrs["spatial_dims"]) == layout.axes
            for key in ("time", *layout.axes):
                assert file["dimensions"][key] == file[key]  # a hard link
                assert file[key].dtype == np.float32
                assert file[key].is_scale
                assert isinstance(file[key].attrs["sample_varying"], np.bool_)
                assert file[key].attrs["time_varying"] == (key == "time")
            for group, names in (("t0_fields", layout.names), ("t1_fields", ()), ("t2_fields", ())):
                assert tuple(file[group].attrs["field_names"]) == names
            for name in layout.names:
                data = file["t0_fields"][name]
                space = SHAPES[kind][-n_dims:]
                assert (data.shape, data.chunks, data.dtype) == ((5, 9, *space), (5, 9, *space), np.float32)
                assert data.compression is None
                assert data.attrs["dim_varying"].tolist() == [True] * n_dims
                assert data.attrs["sample_varying"]
                assert data.attrs["time_varying"]
                assert [d[0] for d in data.dims] == [file[a] for a in ("sample", "time", *layout.axes)]
            assert list(file["scalars"].attrs["field_names"]) == ["rate"]
            assert file["scalars/rate"].shape == ()
            assert set(file["boundary_conditions"]) == ({"x_wall", "y_wall"} if kind == "field" else set())
            for group in file["boundary_conditions"].values():
                assert group.attrs["bc_type"] == "WALL"
                assert group["mask"].shape == file[group.attrs["associated_dims"][0]].shape
                assert group["mask"].dtype == np.bool_
            assert file["physinv"].attrs["schema_version"] == 1
            assert file["physinv/seeds"][:].tolist() == [2**40] * 4 + [2**40 + 1]


@pytest.mark.parametrize("kind", ["vector", "field"])
def test_xarray_opens_it(tmp_path: Path, kind: str) -> None:
    states = numbers(3, kind)
    layout = FIELD if kind == "field" else VECTOR
    with xarray.open_datatree(write(tmp_path / "x.hdf5", states, layout), engine="h5netcdf") as tree:
        last = tree["t0_fields"][layout.names[-1]]
        assert last.dims == ("sample", "time", *layout.axes)
        assert np.array_equal(last.values, states[:, :, 1] if kind == "field" else states)
        assert np.allclose(tree["time"], TIMES)
        assert tree["physinv"]["seeds"].dims == ("sample",)


def test_masks_and_the_ends_of_each_axis_come_back(tmp_path: Path) -> None:
    mask = np.array([[True, False, True], [True, True, False]])
    layout = FieldLayout("sst", ("lat", "lon"), [range(2), range(3)], "WALL,PERIODIC")
    states = np.random.default_rng(0).normal(size=(4, 2, 1, 2, 3)).astype("f4")
    path, times = tmp_path / "sea.hdf5", torch.arange(2.0)
    with TrajectoryWriter(path, name="sea", layout=layout, shape=(1, 2, 3), times=times, count=4, mask=mask) as writer:
        writer.write(torch.from_numpy(np.where(mask, states, np.nan)))
    with h5py.File(path) as file:
        assert set(file["boundary_conditions"]) == {"lat_wall", "lon_periodic"}
        assert np.array_equal(file["physinv/mask"], mask)
        assert [d[0] for d in file["physinv/mask"].dims] == [file["lat"], file["lon"]]
        assert np.array_equal(file["t0_fields/sst"], np.where(mask, states, 0)[:, :, 0])
    data = TrajectoryDataset(path)
    assert data.layout == layout.masked(mask)
    assert data.layout.wraps == (False, True)
    with h5py.File(write(tmp_path / "whole.hdf5", numbers(5, "field"), FIELD)) as file:
        assert "mask" not in file["physinv"]


def test_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.hdf5", numbers(3)).read_bytes()
    path = tmp_path / "x.hdf5"
    for content, why in ((whole[:-1000], "truncated file"), (b"not HDF5 at all" * 100, "file signature not found")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"x\.hdf5 is not a whole HDF5 file \({why}.*\); copy") as caught:
            TrajectoryDataset(path)
        assert "\n" not in str(caught.value)
        assert not inspect(path).whole
    with h5py.File(path, "w") as file:
        file.create_group("dimensions")
    with pytest.raises(ValueError, match=r"x\.hdf5 was not written by physinv: it has no /physinv@schema_version"):
        TrajectoryDataset(path)
    with h5py.File(path, "a") as file:
        file["samples"] = numbers(3)
    with pytest.raises(ValueError, match=r"x\.hdf5 holds samples of a reconstruction; give the trajectories"):
        TrajectoryDataset(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["physinv"].attrs["schema_version"] = 7
    with pytest.raises(ValueError, match=r"x\.hdf5 has schema_version 7, this version of physinv reads 1"):
        TrajectoryDataset(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["physinv/times"][3] = file["physinv/times"][2]
    with pytest.raises(ValueError, match=r"`times` of .*x\.hdf5 must be .* strictly increasing"):
        TrajectoryDataset(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        del file["t0_fields/position"]
    with pytest.raises(ValueError, match=r"`position` of .*x\.hdf5 must have shape \(3, 9, 3\), got None"):
        TrajectoryDataset(path)


def test_a_file_being_written_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", numbers(3))
    refused = pytest.raises(BlockingIOError, match=r"x.hdf5 is being written by another process; wait")
    with held_open(path, "r+"), refused:
        TrajectoryDataset(path)
    assert len(TrajectoryDataset(path)) == 3 * 8
