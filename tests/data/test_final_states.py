"""Observations alone, in every format: what is taken, what is mended with a note, what is refused in one line."""

import h5py
import numpy as np
import pytest
import scipy.io
import torch
import xarray

from physinv.data.final_states import final_states, read_final_states
from physinv.processes.layout import FieldLayout, ParticleLayout, VectorLayout

X = np.arange(16) / 16
LINE = FieldLayout("u", "x", [X], "PERIODIC")
PLANE = FieldLayout(("u", "v"), ("lat", "lon"), [np.linspace(-40, 40, 8), np.arange(8.0)], "WALL")
VECTOR = VectorLayout("state", 3)
STATES = np.random.default_rng(0).normal(size=(4, 16)).astype("f4")


def pdebench(path, states, times, x):
    with h5py.File(path, "w") as file:
        file["tensor"], file["t-coordinate"], file["x-coordinate"] = states, times, x
    return path


def many(folder):
    """The same four observations in each format."""
    np.save(folder / "a.npy", STATES)
    np.savez(folder / "b.npz", u=STATES, x=X)
    data = xarray.Dataset({"u": (("sample", "x"), STATES)}, {"x": X})
    data.to_netcdf(folder / "c.nc", engine="h5netcdf")
    pdebench(folder / "d.hdf5", STATES[:, None], [1.0], X)
    torch.save({"u": torch.from_numpy(STATES)}, folder / "e.pt")
    with h5py.File(folder / "f.h5", "w") as file:
        file["anything"] = STATES
    whole = np.stack([0 * STATES, STATES], 1)
    pdebench(folder / "g.hdf5", whole, [0.0, 1.0], X)
    return sorted(folder.iterdir())


def test_the_same_states_come_out_of_every_format(tmp_path):
    for path in many(tmp_path):
        found = read_final_states([path], LINE, 1.0)
        assert torch.equal(found.states, torch.from_numpy(STATES)[:, None]), path
        assert found.sources == (str(path),) * 4
        assert found.indices == (0, 1, 2, 3)


def test_vectors_from_csv_and_arrays(tmp_path):
    rows = np.random.default_rng(1).normal(size=(5, 3)).astype("f4")
    np.save(tmp_path / "a.npy", rows)
    np.savetxt(tmp_path / "b.csv", rows, delimiter=",", header="x,y,z", comments="")
    for path in sorted(tmp_path.iterdir()):
        found = read_final_states([path], VECTOR, 1.0)
        assert torch.allclose(found.states, torch.from_numpy(rows)), path
    one = read_final_states([tmp_path / "a.npy", tmp_path / "b.csv"], VECTOR, 1.0)
    assert len(one) == 10
    assert one.indices == (0, 1, 2, 3, 4, 0, 1, 2, 3, 4)


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_numbers_of_a_vector_are_taken_by_name(suffix, tmp_path):
    """In whatever order, and whatever else is there: heights and speeds are not exchanged."""
    values = {"speed": [1.0, 2.0], "day": [8.0, 9.0], "height": [3.0, 4.0]}
    if suffix == "npz":
        np.savez(tmp_path / "a.npz", **values)
    else:
        rows = np.stack(list(values.values()), 1)
        np.savetxt(tmp_path / "a.csv", rows, delimiter=",", header=",".join(values), comments="")
    two = VectorLayout("state", 2)
    found = read_final_states(tmp_path / f"a.{suffix}", two, 1.0, components=["height", "speed"])
    assert found.states.tolist() == [[3, 1], [4, 2]]
    assert [note.rpartition(": ")[2] for note in found.notes] == (["day"] if suffix == "csv" else [])


def test_columns_under_other_names_are_taken_in_order_with_a_notice(tmp_path):
    two, known = VectorLayout("state", 2), ["height", "speed"]
    for head, order in {"h,v": [1, 2], "speed,height": [2, 1]}.items():
        (tmp_path / "a.csv").write_text(f"{head}\n1,2\n")
        found = read_final_states(tmp_path / "a.csv", two, 1.0, components=known)
        assert found.states.tolist() == [order]
        assert bool(found.notes) == (head == "h,v")
    (tmp_path / "a.csv").write_text("speed,x\n1,2\n")
    with pytest.raises(ValueError, match="trained on height, speed, where speed has another place"):
        read_final_states(tmp_path / "a.csv", two, 1.0, components=known)
    named = read_final_states(tmp_path / "a.csv", two, 1.0, names=("speed", "height"), components=known)
    assert named.states.tolist() == [[2, 1]]
    with pytest.raises(ValueError, match="`--names` must name the 2 channels of"):
        read_final_states(tmp_path / "a.csv", two, 1.0, names=("speed", "height", "day"), components=known)


def test_numbers_of_a_vector_in_another_unit_are_told(tmp_path):
    told = {"speed": "m/s", "height": "ft"}
    data = xarray.Dataset({name: ("case", [1.0, 2.0], {"units": unit}) for name, unit in told.items()})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    call = {"components": ["height", "speed"], "units": {"speed": "m/s", "height": "m"}}
    notes = read_final_states(tmp_path / "a.nc", VectorLayout("state", 2), 1.0, **call).notes
    assert [note.partition(": ")[2] for note in notes] == ["`height` is in ft, the run was trained on `height` in m."]


def test_fields_from_tables(tmp_path):
    np.savetxt(tmp_path / "rows.csv", STATES, delimiter=",")
    assert torch.allclose(
        read_final_states([tmp_path / "rows.csv"], LINE, 1.0).states, torch.from_numpy(STATES)[:, None]
    )
    np.savetxt(tmp_path / "column.csv", STATES[1])
    named = np.stack([X[::-1], STATES[1][::-1]], 1)
    np.savetxt(tmp_path / "named.csv", named, delimiter=",", header="x,u", comments="")
    for name in ("column", "named"):
        found = read_final_states([tmp_path / f"{name}.csv"], LINE, 1.0)
        assert torch.allclose(found.states, torch.from_numpy(STATES[1])[None, None])
        assert ("turned" in "".join(found.notes)) == (name == "named")


def test_one_state_and_several_files(tmp_path):
    np.save(tmp_path / "one.npy", STATES[0])
    np.save(tmp_path / "two.npy", STATES[1:3])
    found = read_final_states([tmp_path / "one.npy", tmp_path / "two.npy"], LINE, 1.0)
    assert torch.equal(found.states, torch.from_numpy(STATES[:3])[:, None])
    assert found.indices == (0, 0, 1)
    assert found.first(2).sources == (str(tmp_path / "one.npy"), str(tmp_path / "two.npy"))


def test_axes_and_channels_go_by_their_names(tmp_path):
    u, v = np.random.default_rng(2).normal(size=(2, 3, 8, 8))
    axes = {"lat": list(PLANE.coordinates[0]), "lon": list(PLANE.coordinates[1])}
    swapped = {"v": (("sample", "lon", "lat"), v.swapaxes(1, 2)), "u": (("sample", "lat", "lon"), u)}
    xarray.Dataset({**swapped, "other": ("sample", np.zeros(3))}, axes).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = read_final_states([tmp_path / "a.nc"], PLANE, 1.0)
    assert torch.allclose(found.states, torch.from_numpy(np.stack([u, v], 1)).float())
    assert found.notes == ()

    # A latitude that runs from north to south is turned, and said.
    turned = xarray.Dataset({k: (("sample", "lat", "lon"), a[:, ::-1]) for k, a in (("u", u), ("v", v))}, axes)
    turned = turned.assign_coords(lat=axes["lat"][::-1])
    turned.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    again = read_final_states([tmp_path / "b.nc"], PLANE, 1.0)
    assert torch.equal(again.states, found.states)
    assert "lat runs the other way" in again.notes[0]


@pytest.mark.parametrize(("called", "notes"), [("obs", 0), ("station", 1)])
def test_an_axis_beside_those_of_the_process_counts_observations(called, notes, tmp_path):
    u = np.random.default_rng(3).normal(size=(3, 2, 8, 8)).astype("f4")
    axes = {"lat": list(PLANE.coordinates[0]), "lon": list(PLANE.coordinates[1])}
    stored = {name: (("lat", called, "lon"), u[:, i].swapaxes(0, 1)) for i, name in enumerate("uv")}
    xarray.Dataset(stored, axes).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = read_final_states([tmp_path / "a.nc"], PLANE, 1.0)
    assert torch.equal(found.states, torch.from_numpy(u))
    assert [note for note in found.notes if "the 3 along station are taken for observations" in note] == [*found.notes]
    assert len(found.notes) == notes


def test_names_say_what_channels_are(tmp_path):
    u, v = np.random.default_rng(3).normal(size=(2, 3, 8, 8))
    axes = {"lat": list(PLANE.coordinates[0]), "lon": list(PLANE.coordinates[1])}
    dims = ("sample", "lat", "lon")
    xarray.Dataset({"a": (dims, v), "b": (dims, u)}, axes).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = read_final_states([tmp_path / "a.nc"], PLANE, 1.0, names=("v", "u"))
    assert torch.allclose(found.states, torch.from_numpy(np.stack([u, v], 1)).float())
    taken = read_final_states([tmp_path / "a.nc"], PLANE, 1.0)
    assert "a, b taken for u, v" in taken.notes[0]
    with pytest.raises(ValueError, match=r"holds 1 channel \(a\), the run needs 2 \(u, v\); choose by `--variable`"):
        read_final_states([tmp_path / "a.nc"], PLANE, 1.0, variable="a")
    with pytest.raises(ValueError, match="`--names` must name the 2 channels"):
        read_final_states([tmp_path / "a.nc"], PLANE, 1.0, names=("u",))


def test_copies_of_the_grid_are_taken_silently_and_other_grids_interpolated(tmp_path):
    for x in (X.astype("f4"), np.linspace(0, 1 - 1 / 16, 16, dtype="f4")):
        found = read_final_states([pdebench(tmp_path / "a.hdf5", STATES[:, None], [1.0], x)], LINE, 1.0)
        assert torch.equal(found.states[:, 0], torch.from_numpy(STATES))
        assert not any("interpolated" in note for note in found.notes)
    fine = np.arange(64) / 64
    wave = np.sin(2 * np.pi * fine)[None, None]
    found = read_final_states([pdebench(tmp_path / "b.hdf5", wave, [1.0], fine)], LINE, 1.0)
    assert np.allclose(found.states[0, 0], np.sin(2 * np.pi * X), atol=1e-6)  # every fourth point is one of the grid
    assert any("interpolated linearly from 64 to 16 points along x" in note for note in found.notes)


REFUSED = {
    "final time": (lambda p: pdebench(p / "a.hdf5", STATES[:, None], [0.75], X), "ends at time 0.75, .* T = 1;"),
    "horizon": (
        lambda p: pdebench(p / "a.hdf5", STATES[:, None].repeat(3, 1), [0, 0.25, 0.5], X),
        "ends at time 0.5, .* T = 1;",
    ),
    "half a period": (lambda p: pdebench(p / "a.hdf5", STATES[:, None], [1.0], X / 2), "period 0.5 .* run is 1;"),
    "another grid, unplaced": (lambda p: saved(p / "a.npy", STATES[:, ::2]), r"got an array \(4, 8\)"),
    "NaN": (lambda p: saved(p / "a.npy", np.where(np.arange(16) == 5, np.nan, STATES)), "holds NaN at `u`, x = 0.3125"),
    "infinity": (lambda p: saved(p / "a.npy", 1e39 * STATES.astype("f8")), "observation 0 of .* holds infinity"),
    "channels": (lambda p: saved(p / "a.npy", STATES[:, None].repeat(2, 1)), r"states of shape \(batch, 1, 16\)"),
    "no file": (lambda p: p / "none.npy", "there is no file"),
}  # fmt: skip


def saved(path, values):
    np.save(path, values)
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(case, tmp_path):
    make, message = REFUSED[case]
    with pytest.raises((ValueError, OSError), match=message) as raised:
        read_final_states([make(tmp_path)], LINE, 1.0)
    assert "\n" not in str(raised.value)


def test_dated_states_are_observations_of_their_own_where_the_axis_of_dates_is_called_so(tmp_path):
    """As the line that refuses them says."""
    dates = np.arange("2000-01-01", "2000-01-05", dtype="datetime64[D]").astype("datetime64[ns]")
    data = xarray.Dataset({"u": (("time", "x"), STATES)}, {"time": dates, "x": X})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"`--dims sample,\.\.\.`. if each is an observation of its own"):
        read_final_states([tmp_path / "a.nc"], LINE, 1.0)
    found = read_final_states([tmp_path / "a.nc"], LINE, 1.0, dims="sample,x")
    assert torch.equal(found.states[:, 0], torch.from_numpy(STATES))


def test_static_channels_must_come_with_the_observation(tmp_path):
    layout = FieldLayout(("u", "conductivity"), "x", [X], "WALL", "conductivity")
    data = xarray.Dataset({"u": (("sample", "x"), STATES)}, {"x": X})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="must also hold `conductivity`"):
        read_final_states([tmp_path / "a.nc"], layout, 1.0)


def test_points_without_data_may_hold_anything():
    mask = np.arange(16) != 5
    layout = FieldLayout("u", "x", [X], "WALL", mask=mask)
    states = STATES.copy()
    states[:, 5] = np.nan
    found = final_states(states, layout).states
    assert bool((found[..., 5] == 0).all())
    assert torch.equal(found[:, 0, torch.from_numpy(mask)], torch.from_numpy(STATES[:, mask]))
    states[2, 6] = np.nan
    with pytest.raises(ValueError, match=r"observation 2 of array holds NaN at `u`, x = 0\.375"):
        final_states(states, layout)


def test_arrays_from_python():
    assert final_states(STATES, LINE).states.shape == (4, 1, 16)
    assert final_states(STATES[0], LINE).sources == ("array",)
    assert final_states(torch.zeros(5, 4, 3), ParticleLayout(4, 2, "position")).states.shape == (5, 4, 3)
    with pytest.raises(ValueError, match="observation 1 of array holds NaN at coordinate 2"):
        final_states([[0.0, 0.0, 0.0], [0.0, 0.0, float("nan")]], VECTOR)
    with pytest.raises(ValueError, match=r"must hold states of shape \(batch, 3\), one or many, got an array \(2, 4\)"):
        final_states(np.zeros((2, 4)), VECTOR)


def archived(path, **arrays):
    """The same arrays, none of whose axes has a name, in one of four formats."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, arrays)
    elif path.suffix == ".pt":
        torch.save({k: torch.tensor(np.ascontiguousarray(a)) for k, a in arrays.items()}, path)
    else:
        with h5py.File(path, "w") as file:
            for k, a in arrays.items():
                file[k] = a
    return path


@pytest.mark.parametrize("suffix", ["npz", "mat", "pt", "h5"])
@pytest.mark.parametrize("n", [1, 4, 16])
def test_positions_beside_arrays_without_names_of_axes_are_used(suffix, n, tmp_path):
    states = np.random.default_rng(5).normal(size=(n, 16)).astype("f4")
    want = torch.from_numpy(states)[:, None]
    path = tmp_path / f"a.{suffix}"

    # Turned, rolled, transposed, in another order of numbers: the states are the same.
    for x, u in ((X[::-1], states[:, ::-1]), (np.roll(X, 5), np.roll(states, 5, 1))):
        found = read_final_states([archived(path, u=u, x=x)], LINE, 1.0)
        assert torch.equal(found.states, want)
        assert len(found.notes) == 1
    if n == 4:
        assert torch.equal(read_final_states([archived(path, u=states.T, x=X)], LINE, 1.0).states, want)

    # Twice as many points are interpolated, and other positions refused.
    fine = np.stack([states, (states + np.roll(states, -1, 1)) / 2], 2).reshape(n, 32)
    assert torch.equal(read_final_states([archived(path, u=fine, x=np.arange(32) / 32)], LINE, 1.0).states, want)
    with pytest.raises(ValueError, match=r"has the period 2 .* that of the run is 1"):
        read_final_states([archived(path, u=states, x=2 * X)], LINE, 1.0)
    if suffix != "mat" and n == 4:
        with pytest.raises(ValueError, match=r"positions along x .* must be 16 different finite numbers"):
            read_final_states([archived(path, u=states, x=X[:15])], LINE, 1.0)


def test_positions_of_a_plane_beside_arrays(tmp_path):
    u, v = np.random.default_rng(6).normal(size=(2, 3, 8, 8)).astype("f4")
    lat, lon = PLANE.coordinates
    archived(tmp_path / "a.npz", u=u[:, ::-1], v=v[:, ::-1], lat=np.asarray(lat)[::-1], lon=np.asarray(lon))
    found = read_final_states([tmp_path / "a.npz"], PLANE, 1.0)
    assert torch.equal(found.states, torch.from_numpy(np.stack([u, v], 1)))
    assert "lat runs the other way" in found.notes[0]


def test_a_dimension_scale_on_one_axis_only(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["x"] = STATES[:, ::-1], X[::-1]
        file["x"].make_scale("x")
        file["u"].dims[1].attach_scale(file["x"])
    found = read_final_states([tmp_path / "a.h5"], LINE, 1.0)
    assert torch.equal(found.states[:, 0], torch.from_numpy(STATES))


@pytest.mark.parametrize("suffix", ["npz", "mat", "pt", "h5"])
@pytest.mark.parametrize("name", ["t", "time", "T_final"])
def test_a_single_number_that_is_another_final_time_is_refused(suffix, name, tmp_path):
    path = archived(tmp_path / f"a.{suffix}", u=STATES, x=X, **{name: np.array(0.7)})
    assert len(read_final_states([path], LINE, 0.7)) == 4
    with pytest.raises(ValueError, match=r"0\.7, .* T = 0\.5"):
        read_final_states([path], LINE, 0.5)


def test_a_periodic_axis_may_begin_elsewhere_and_hold_land(tmp_path):
    lon = np.arange(12) * 30.0
    sea = np.tile(np.arange(12) % 5 != 2, (4, 1))
    layout = FieldLayout("T", ("lat", "lon"), [np.arange(4.0), lon], "WALL,PERIODIC", mask=sea)
    states = np.where(sea, np.random.default_rng(7).normal(size=(3, 4, 12)), np.nan)
    want = final_states(states, layout).states

    # -180 ... 150 are the same points as 180 ... 330, 0 ... 150, and as 0 ... 330.
    rolled = np.roll(states, 6, 2)
    for begin in (np.roll(lon, 6), np.arange(12) * 30.0 - 180):
        data = xarray.Dataset({"T": (("sample", "lat", "lon"), rolled)}, {"lat": np.arange(4), "lon": begin})
        data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
        assert torch.equal(read_final_states([tmp_path / "a.nc"], layout, 1.0).states, want)


def test_a_wide_table_is_not_looked_through_for_each_of_its_columns(tmp_path, monkeypatch):
    (tmp_path / "o.csv").write_text(",".join(f"c{i}" for i in range(300)) + "\n" + ",".join(["1"] * 300) + "\n")
    calls, whole = [], xarray.Dataset.__getitem__
    monkeypatch.setattr(xarray.Dataset, "__getitem__", lambda self, key: calls.append(key) or whole(self, key))
    with pytest.raises(ValueError, match=r"must hold states of shape \(batch, 3\), .* got an array \(1, 300\)"):
        read_final_states([tmp_path / "o.csv"], VECTOR, 1.0)
    assert len(calls) < 30


KNOWN = FieldLayout(("u", "viscosity"), "x", [X], "PERIODIC", "viscosity")


@pytest.mark.parametrize("form", ["npz", "mat", "nc", "one number", "channels"])
def test_what_is_known_of_each_observation_is_a_number_beside_the_fields(form, tmp_path):
    numbers = np.array([0.1, 0.2, 0.3, 0.4])
    if form == "nc":
        data = xarray.Dataset({"u": (("case", "x"), STATES), "viscosity": ("case", numbers)}, {"x": X})
        data.to_netcdf(tmp_path / "a", engine="h5netcdf")
    elif form == "mat":
        scipy.io.savemat(tmp_path / "a", {"u": STATES, "viscosity": numbers, "x": X}, appendmat=False)
    elif form == "channels":
        np.save(tmp_path / "a.npy", np.stack([STATES, np.repeat(numbers[:, None], 16, 1)], 1))
    else:
        numbers = numbers if form == "npz" else np.array(0.7)
        np.savez(tmp_path / "a.npz", u=STATES, viscosity=numbers, x=X)
    found = read_final_states(next(tmp_path.iterdir()), KNOWN, 1.0).states.numpy()
    assert np.array_equal(found[:, 0], STATES)
    assert np.allclose(found[:, 1], np.broadcast_to(numbers, 4)[:, None])


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({}, "must also hold `viscosity`, which the run was trained to be given"),
        ({"viscosity": np.ones(3)}, "`viscosity` of .* must hold one number for each of its 4 observations"),
    ],
)
def test_what_is_known_but_not_told_is_one_line(held, expected, tmp_path):
    np.savez(tmp_path / "a.npz", u=STATES, x=X, **held)
    with pytest.raises(ValueError, match=expected):
        read_final_states(tmp_path / "a.npz", KNOWN, 1.0)
    broken = STATES.copy()
    broken[1, 2] = np.nan
    np.savez(tmp_path / "b.npz", u=broken, x=X, viscosity=np.ones(4))
    with pytest.raises(ValueError, match=r"observation 1 of .* holds NaN at `u`, x = 0\.125"):
        read_final_states(tmp_path / "b.npz", KNOWN, 1.0)
