"""Arrays and xarray's datasets become trajectories and come back with numbers, names, units and places."""

import numpy as np
import pytest
import scipy.io
import torch
import xarray as xr

import physinv as pi
from physinv.data.importing import Choices, import_trajectories
from simulators.particles.langevin import OverdampedParticles

TIMES, X, Y = np.array([0.0, 0.5, 2.0]), np.arange(4) / 4, np.array([0.0, 1.0, 3.0])
U = np.random.default_rng(0).normal(size=(7, 3, 2, 4, 3)).astype("f4")  # (sample, time, channel, x, y)


def test_fields():
    data = pi.TrajectoryDataset.from_arrays(
        U,
        times=TIMES,
        coordinates={"x": X, "y": Y},
        names=("u", "v"),
        units={"u": "m"},
        boundary={"x": "periodic", "y": "periodic"},
    )
    assert torch.equal(data.trajectories(), torch.from_numpy(U))
    assert data.layout == pi.FieldLayout(("u", "v"), ("x", "y"), (X, Y), "PERIODIC")
    assert data.times.tolist() == TIMES.tolist()
    states, times = data.with_window(3)[4]
    assert torch.equal(states, torch.from_numpy(U[4]))
    assert times.tolist() == TIMES.tolist()
    back = data.to_xarray()
    assert np.array_equal(back.v.transpose("sample", "time", "x", "y"), U[:, :, 1])
    assert back.u.attrs == {"units": "m"}
    assert back.y.values.tolist() == Y.tolist()
    again = pi.TrajectoryDataset.from_xarray(back)
    assert again.layout == data.layout
    assert torch.equal(again.trajectories(), data.trajectories())
    assert again.config == data.config


def test_one_channel_needs_no_axis_and_vectors_no_coordinates():
    field = pi.TrajectoryDataset.from_arrays(U[:, :, 0, :, 0], times=TIMES, coordinates={"x": X}, names="u")
    assert field.shape == (1, 4)
    assert field.layout.boundary == "OPEN"
    vector = pi.TrajectoryDataset.from_arrays(U[:, :, 0, :, 0], times=TIMES, names="position")
    assert vector.layout == pi.VectorLayout("position", 4)
    assert torch.equal(vector.trajectories(), field.trajectories()[:, :, 0])
    named = pi.TrajectoryDataset.from_arrays(U[:, :, 0, :2, 0], times=TIMES, names=("q", "p"), units={"p": "kg m/s"})
    back = named.to_xarray()
    assert np.array_equal(back.p, U[:, :, 0, 1, 0])
    assert back.p.attrs["units"] == "kg m/s"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"times": TIMES[:2]}, "`x` must have shape (sample, 2 times, channel, 4, 3), got (7, 3, 2, 4, 3)"),
        ({"times": TIMES[::-1]}, "`times` must increase strictly"),
        ({"coordinates": None}, "for fields give `coordinates`"),
        ({"coordinates": {"x": X, "y": X}}, "`x` must have shape (sample, 3 times, channel, 4, 4)"),
        ({"names": "u"}, "`names` must be 2 different names"),
        ({"boundary": "closed"}, "`--boundary` must be one of periodic, wall, open"),
        ({"x": np.where(U > 2, np.inf, U)}, "of the dataset holds NaN or infinity"),
        ({"x": 1e300 * U.astype("f8")}, "which does not fit float32"),
        ({"x": np.ma.masked_greater(U, 2)}, "are missing (NaN) at some times only"),
    ],
)
def test_what_does_not_fit_gets_one_line(change, expected):
    with pytest.raises(ValueError, match=r".") as error:
        pi.TrajectoryDataset.from_arrays(**{"x": U, "times": TIMES, "coordinates": {"x": X, "y": Y}, **change})
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_decoded_dataset_of_xarray(tmp_path):
    """Dates become days, in memory and through files alike."""
    dates = np.array(["2000-02-28", "2000-02-29", "2000-03-02"], dtype="datetime64[ns]")
    data = xr.DataArray(U[:, :, 0, :, 0], dims=("sample", "time", "x"), coords={"time": dates, "x": X}, name="u")
    found = pi.TrajectoryDataset.from_xarray(data)
    assert found.times.tolist() == [0, 1, 3]
    assert found.config["time_unit"] == "days"
    out = import_trajectories([data.to_dataset()], tmp_path / "out")
    stored = pi.TrajectoryDataset(out / "data" / "train")
    assert stored.layout == found.layout
    assert stored.to_xarray().time.attrs["units"] == "days"


def test_points_without_data_come_back_as_missing():
    u = U[:, :, 0].copy()
    u[..., 1, 2] = np.nan
    data = xr.Dataset({"u": (("sample", "time", "x", "y"), u)}, {"time": TIMES, "x": X, "y": Y})
    found = pi.TrajectoryDataset.from_xarray(data)
    assert found.layout.valid.sum() == 11
    assert found.trajectories()[:, :, 0, 1, 2].abs().max() == 0
    assert np.array_equal(found.to_xarray().u, u, equal_nan=True)
    u[3, 1, 0, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"1 of 12 numbers of a state of the dataset are missing .* first in trajectory 0"
    ):
        pi.TrajectoryDataset.from_xarray(data.assign(u=(data.u.dims, u)))


@pytest.mark.parametrize("packed", [True, False])
def test_what_xarray_opened_has_the_valid_range_of_its_file(packed, tmp_path):
    """xarray unpacks numbers and leaves ``valid_range`` in the unit of the packed ones."""
    u = np.round(U[:, :, 0, :, 0], 2)
    valid = (u > -1) & (u < 1)
    assert 0 < valid.sum() < u.size
    data = xr.Dataset({"u": (("sample", "time", "x"), u)}, {"time": TIMES, "x": X})
    data.u.attrs["valid_range"] = np.array([-99, 99], "i2") if packed else np.array([-0.995, 0.995])
    how = {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -32768} if packed else {}
    data.to_netcdf(tmp_path / "u.nc", engine="h5netcdf", encoding={"u": how})
    with xr.open_dataset(tmp_path / "u.nc", decode_times=False, engine="h5netcdf") as data:
        for load in (pi.TrajectoryDataset.from_xarray, lambda d: import_trajectories([d], tmp_path / "out")):
            with pytest.raises(ValueError, match="missing"):
                load(data)
        good = data.u.where(valid, 0.5).assign_attrs(data.u.attrs)
        good.encoding = data.u.encoding
        found = pi.TrajectoryDataset.from_xarray(good)
    assert np.abs(found.trajectories()[:, :, 0].numpy() - np.where(valid, u, 0.5)).max() < 1e-6


def test_simulated_trajectories_go_to_xarray_as_well(tmp_path):
    """Particles keep their vectors and their static species."""
    sim = OverdampedParticles()
    pi.generate(pi.DatasetPlan(sim, {"train": 3}), tmp_path)
    data = pi.TrajectoryDataset(tmp_path / "data/train")
    found = data.to_xarray()
    x = data.trajectories().numpy()
    assert found.position.dims == ("sample", "time", "particle", "component")
    assert np.array_equal(found.position, x[..., : sim.layout.dimension])
    assert found.species.dims == ("sample", "particle")
    assert np.array_equal(found.species, x[:, 0, :, -1])
    found.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert xr.load_dataset(tmp_path / "a.nc", engine="h5netcdf").equals(found)


@pytest.mark.parametrize("dims", [None, "time,component", "time,channel"])
def test_vectors_side_by_side_are_one_state(dims, tmp_path):
    """Positions, velocities and a temperature of one recording, as loggers and simulations store them."""
    times, draw = np.linspace(0, 6, 61), np.random.default_rng(0)
    position, velocity, heat = draw.normal(size=(61, 3)), draw.normal(size=(61, 2)), draw.normal(size=61)
    np.savez(tmp_path / "log.npz", t=times, q=position, v=velocity, heat=heat)
    choices = Choices(variable="q,v,heat", dims=dims, window=3, stride=1)
    import_trajectories([tmp_path / "log.npz"], tmp_path / "d", choices)
    data = pi.TrajectoryDataset(tmp_path / "d" / "data" / "train")
    found = data.trajectories()[0, 1]
    assert torch.equal(found, torch.from_numpy(np.hstack([position[1], velocity[1], heat[1]])).float())
    assert list(data.to_xarray().data_vars) == ["q_0", "q_1", "q_2", "v_0", "v_1", "heat"]


@pytest.mark.parametrize("axis", ["channel", "sensor"])
def test_columns_of_one_number_are_components_whatever_their_second_axis_is_called(axis, tmp_path):
    """MATLAB writes each sensor as n x 1."""
    t = np.arange(40.0)
    scipy.io.savemat(tmp_path / "log.mat", {"a": t[:, None], "b": -t[:, None]})
    choices = Choices(variable="a,b", dims=f"time,{axis}", times="0.5", window=3)
    import_trajectories([tmp_path / "log.mat"], tmp_path / "d", choices)
    first = pi.TrajectoryDataset(tmp_path / "d" / "data" / "train").trajectories()[0]
    assert first.tolist() == [[0.0, 0.0], [1.0, -1.0], [2.0, -2.0]]


def test_arrays_of_other_kinds_hold_the_same_numbers():
    """A masked array in which nothing is masked, whole numbers, and the short ones of networks."""
    x = (10 * U).round().astype("f4")
    where = {"times": TIMES, "coordinates": {"x": X, "y": Y}}
    expected = pi.TrajectoryDataset.from_arrays(x, **where).trajectories()
    for same in (np.ma.masked_greater(x, 1e9), x.astype("i2"), torch.from_numpy(x).bfloat16()):
        assert torch.equal(pi.TrajectoryDataset.from_arrays(same, **where).trajectories(), expected)


def test_static_channels_of_fields_come_back_from_xarray():
    """A known number of each trajectory is a channel that does not change, also after a way through xarray."""
    u, nu = np.random.default_rng(0).normal(size=(4, 3, 8)).astype("f4"), np.arange(1.0, 5.0)
    data = xr.Dataset({"u": (("run", "time", "x"), u)}, {"time": range(3), "x": range(8), "nu": ("run", nu)})
    there = pi.TrajectoryDataset.from_xarray(data)
    back = pi.TrajectoryDataset.from_xarray(there.to_xarray())
    assert back.layout.static == there.layout.static == ("nu",)
    assert torch.equal(back.trajectories(), there.trajectories())
    assert torch.equal(there.trajectories()[:, 0, 1, 0], torch.arange(1.0, 5.0))
