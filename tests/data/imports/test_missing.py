"""Points that are missing always are a mask; points that are missing sometimes are refused."""

import h5py
import numpy as np
import pytest
import xarray as xr

from physinv.data.dataset import TrajectoryDataset
from physinv.data.importing import Choices, import_trajectories
from physinv.data.imports.plan import plan_import


def test_points_that_are_always_missing_are_a_mask(tmp_path):
    """Land is 0 in every file, noted as such, and missing again in xarray; a calm day on top of it is refused."""
    u = np.random.default_rng(0).normal(size=(60, 5, 4)).astype("f4")
    u[:, 1:3, 2] = np.nan
    coords = {"time": np.arange(60.0), "lat": np.arange(5.0), "lon": np.arange(4.0)}
    xr.Dataset({"sst": (("time", "lat", "lon"), u)}, coords).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    out = import_trajectories([tmp_path / "a.nc"], tmp_path / "out", Choices(window=4), chunk_bytes=2000)
    with h5py.File(out / "data/train/recorded_000.hdf5") as file:
        assert np.array_equal(file["physinv/mask"][...], ~np.isnan(u[0]))
        assert not file["t0_fields/sst"][:, :, 1:3, 2].any()
    data = TrajectoryDataset(out / "data/train")
    assert np.array_equal(data.to_xarray().sst[0, 0], u[0], equal_nan=True)
    u[30, 0, 0] = np.nan
    xr.Dataset({"sst": (("time", "lat", "lon"), u)}, coords).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(
        ValueError, match=r"1 of 20 numbers of a state of .* missing \(NaN\) at some times only; fill them"
    ):
        import_trajectories([tmp_path / "b.nc"], tmp_path / "no", Choices(window=4))


def test_a_mask_of_one_variable_says_which_others_lose_data():
    """Land has no temperature of the sea, and the air above it would have one."""
    rng, land = np.random.default_rng(0), np.zeros((5, 4), dtype=bool)
    land[1:3, 2] = True
    coords = {"time": np.arange(60.0), "lat": np.arange(5.0), "lon": np.arange(4.0)}
    air, sea = (xr.DataArray(rng.normal(size=(60, 5, 4)), coords, ("time", "lat", "lon")) for _ in "ab")
    notes = plan_import([xr.Dataset({"air": air, "sea": sea.where(~land)})], Choices(window=4)).notes
    assert any("`sea` has no data at 2 of 20 points" in n and "`air` loses data at 2 of them" in n for n in notes)
    notes = plan_import([xr.Dataset({"air": air.where(~land), "sea": sea.where(~land)})], Choices(window=4)).notes
    assert not any("lose" in n for n in notes)


@pytest.mark.parametrize("wrong", [np.nan, 99.0])
def test_a_number_of_one_trajectory_that_is_missing_is_named(wrong, tmp_path):
    """The second one is outside of what the file calls valid."""
    u = np.random.default_rng(0).normal(size=(20, 5, 8))
    nu = np.where(np.arange(20) == 3, wrong, 0.5 + np.arange(20) / 20)
    data = xr.Dataset({"u": (("sample", "time", "x"), u), "nu": ("sample", nu, {"valid_range": np.array([0.0, 2.0])})})
    data.assign_coords(time=np.arange(5.0), x=np.arange(8.0)).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(
        ValueError, match=r"`nu` of .* is missing \(NaN\) in 1 of 20 trajectories, first in trajectory 3"
    ):
        import_trajectories([tmp_path / "a.nc"], tmp_path / "out")
