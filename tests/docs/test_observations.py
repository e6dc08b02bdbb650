"""The page on observations alone is true: its commands and its Python run as they stand, on small files."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from physinv.cli import app as cli
from physinv.data.dataset import TrajectoryDataset

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "observations.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and files of observations under the names of the page."""
    folder = tmp_path_factory.mktemp("page")
    cli.main(f"generate heat --out {folder} --train 100 --valid 40 --test 12 --set size=8 --set steps=2".split())
    cli.main(f"train {folder}/heat --out {folder}/run --method linear --steps 1".split())
    x = TrajectoryDataset(folder / "heat/data/test").states(-1).numpy()
    axis = np.arange(8) * 2 * np.pi / 8
    measured = xarray.Dataset({"temperature": (("y", "x"), x[0, 0].T)}, {"x": axis, "y": axis})
    measured.to_netcdf(folder / "measured.nc", engine="h5netcdf")
    np.save(folder / "many.npy", x)
    np.save(folder / "one.npy", x[1, 0])
    np.savetxt(folder / "table.csv", x[2, 0], delimiter=",")
    with h5py.File(folder / "other.h5", "w") as file:
        file["T"], file["quality"] = x[:, 0], np.ones(len(x))
    return folder


def test_the_commands_run(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    lines = re.findall(r"^\$ physinv (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        cli.main(line.split())
    said = capsys.readouterr().out
    assert "posterior.hdf5" in said
    assert "Run forward" in said
    with h5py.File("both.hdf5") as file:
        assert file["source"].asstr()[:].tolist() == ["table.csv", "one.npy"]
        assert np.array_equal(file["observation"][1, 0], np.load("one.npy"))
        assert np.allclose(file["observation"][0, 0], np.load("many.npy")[2, 0], atol=1e-6)


def test_the_python_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["--observation", "measured.nc", "--out", "posterior.hdf5", "--samples", "32", "--overwrite"]
    cli.main(["reconstruct", "run", *words])
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    low, high = names["low"], names["high"]
    assert bool((low < high).all())
    with xarray.open_datatree("posterior.nc", engine="h5netcdf") as tree:
        assert set(tree.children) == {"posterior", "posterior_predictive", "observed_data", "constant_data"}
