"""The pages about a user's own data are true: their commands run on small files of the same names and layouts."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import physinv as pi
from physinv.cli import app as cli
from physinv.data.importing import import_trajectories
from physinv.data.imports.choices import Choices

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"


def height():
    """Waves on a ring that die away: 60 samples, 5 times, 16 points."""
    rng = np.random.default_rng(0)
    x, times = np.arange(16) / 16, np.linspace(0, 1, 5)
    waves = rng.normal(size=(60, 1, 1)) * np.sin(2 * np.pi * x) + rng.normal(size=(60, 1, 1)) * np.cos(2 * np.pi * x)
    u = waves * np.exp(-times[:, None]) + 0.05 * rng.normal(size=(60, 5, 16))
    return {"u": u, "times": times, "positions": x}


def write_height():
    a = height()
    np.savez("height.npz", height=a["u"], t=a["times"], x=a["positions"])


def write_sst():
    """Ten years of months on 12 x 18 points, seasons of both signs, land in one corner."""
    rng = np.random.default_rng(0)
    months, lat, lon = np.arange(120), np.linspace(55, -55, 12), 20.0 * np.arange(18)
    season = np.cos(2 * np.pi * months / 12)[:, None, None] * np.sin(np.deg2rad(lat))[:, None]
    sst = 20 + 5 * season + 0.3 * rng.normal(size=(120, 12, 18))
    sst[:, :6, :6] = np.nan
    time = ("time", months.astype(float), {"units": "months since 2001-01-01"})
    coords = {
        "time": time,
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    data = xr.Dataset({"sst": (("time", "lat", "lon"), sst, {"units": "degC"})}, coords)
    data.to_netcdf("sst.nc", engine="h5netcdf")


def write_furnace():
    """Three thermocouples in a slab that heats up and cools down."""
    rng = np.random.default_rng(0)
    t = np.arange(3000.0)
    rows = np.stack([20 + 700 * np.sin(t / (500 + 40 * i)) ** 2 + rng.normal(size=len(t)) for i in range(3)], 1)
    lines = [f"{a:g}," + ",".join(f"{v:.2f}" for v in row) for a, row in zip(t, rows, strict=True)]
    Path("furnace.csv").write_text("time,T1,T2,T3\n" + "\n".join(lines))


PAGES = {"own_arrays": write_height, "own_netcdf": write_sst, "one_recording": write_furnace}


@pytest.mark.parametrize("page", PAGES)
def test_commands(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    PAGES[page]()
    text = (GUIDE / f"{page}.md").read_text("utf-8")
    block = re.search(r"```console\n(.*?)```", text, re.DOTALL)[1]
    quick = "--steps 5 --set validate_windows=32 --set batch=32 --set width=4 --set depth=1 --set components=1"
    for line in block.splitlines():
        words = re.sub(r"--budget \S+", quick, line.removeprefix("$ physinv "))
        cli.main((words + (" --samples 4 --limit 8" if words.startswith("reconstruct") else "")).split())
        if "--dry-run" in words:
            shown = " ".join(capsys.readouterr().out.split())
            for promised in re.findall(r"^    (\w[\w ]*?  +\S.*)$", text, re.MULTILINE):
                assert " ".join(promised.split()) in shown
    assert "crps" in capsys.readouterr().out


def test_pairs(tmp_path, monkeypatch):
    """The block about initial and final states as two arrays."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x0 = rng.normal(size=(60, 3))
    xT = 0.5 * x0 + 0.3 * rng.normal(size=(60, 3))
    np.savez("pairs.npz", x0=x0, xT=xT)
    np.save("x0.npy", x0)
    np.save("xT.npy", xT)
    table = np.hstack([x0[:, :2], xT[:, :2]])
    np.savetxt("table.csv", table, delimiter=",", header="height_0,speed_0,height_T,speed_T", comments="")
    block = re.findall(r"```console\n(.*?)```", (GUIDE / "own_arrays.md").read_text("utf-8"), re.DOTALL)[1]
    for line in block.splitlines():
        cli.main(re.sub(r"--budget \S+", "--steps 4", line.removeprefix("$ physinv ")).split())
    assert xr.open_dataset("pairs.hdf5", engine="h5netcdf", phony_dims="sort").samples.shape == (60, 16, 3)


def test_particles(tmp_path, monkeypatch, capsys):
    """The block about particles, as far as it does not need what reads GSD."""
    monkeypatch.chdir(tmp_path)
    walk = np.random.default_rng(0).normal(0, 0.2, (120, 4, 2)).cumsum(0)
    np.save("positions.npy", (walk + 2) % 4 - 2)
    np.save("boxes.npy", np.full((120, 2), 4.0))
    block = re.findall(r"```console\n(.*?)```", (GUIDE / "own_arrays.md").read_text("utf-8"), re.DOTALL)[2]
    for line in block.splitlines():
        words = re.sub(r"--budget \S+", "--steps 3 --set width=8", line.removeprefix("$ physinv "))
        if "run.gsd" not in words:
            cli.main(words.split())
    assert pi.load_run(tmp_path / "melt-run").simulator.layout.kind == "particles"


def test_python(tmp_path, monkeypatch):
    """The blocks of Python on the page of arrays."""
    monkeypatch.chdir(tmp_path)
    scope = {**height(), "np": np}
    scope["u"] = np.concatenate([scope["u"], scope["u"]])
    quick = "pi.Budget(steps=2), settings={'width': 4, 'depth': 1, 'validate_windows': 32, 'batch': 16}"
    blocks = re.findall(r"```python\n(.*?)```", (GUIDE / "own_arrays.md").read_text("utf-8"), re.DOTALL)
    for block in blocks:
        exec(block.replace("pi.Budget(seconds=300)", quick), scope)
    assert scope["train"].layout.periodic
    assert pi.load_run(tmp_path / "height-python")


def test_the_season_of_an_observation_is_that_of_its_window(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    days, x = 10 + 15.0 * np.arange(150), np.arange(4.0)  # 1995-03-01 is one of them
    units = {"units": "days since 1990-01-01"}
    warm = np.repeat(days[:, None], 4, 1)  # each state says when it was
    sea = xr.Dataset({"T": (("time", "x"), warm)}, {"time": ("time", days, units), "x": x})
    import_trajectories([sea], tmp_path / "datasets" / "sea", Choices(window=3, stride=1, period=365.25))
    xr.Dataset({"T": ("x", x)}, {"x": x}).to_netcdf("measured.nc", engine="h5netcdf")
    block = re.search(r"```python\n(.*?)```", (GUIDE / "one_recording.md").read_text("utf-8"), re.DOTALL)[1]
    exec(compile(block, "one_recording.md", "exec"), {})

    # The window that ends at that date begins 30 days before.
    date = (np.datetime64("1995-03-01") - np.datetime64("1990-01-01")) / np.timedelta64(1, "D")
    parts = [
        pi.TrajectoryDataset(tmp_path / "datasets/sea/data" / s).trajectories() for s in ("train", "valid", "test")
    ]
    window = next(w for part in parts for w in part.numpy() if abs(w[-1, 0, 0] - date) < 1)
    found = xr.load_dataset("with_season.nc")
    assert np.allclose(found["phase_sine"], window[0, 1], atol=1e-5)
    assert np.allclose(found["phase_cosine"], window[0, 2], atol=1e-5)
