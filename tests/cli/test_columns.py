"""A recording in a table: its columns keep their names from the import to the posterior."""

import numpy as np
import pytest
import xarray

import physinv as pi


@pytest.fixture(scope="module")
def folder_of_log(tmp_path_factory):
    """A folder with a recording of two numbers that relax to 20 and 5."""
    folder = tmp_path_factory.mktemp("columns")
    rng, x = np.random.default_rng(0), np.zeros((300, 2))
    for i in range(1, 300):
        x[i] = 0.9 * x[i - 1] + 0.1 * rng.normal(size=2)
    rows = np.column_stack([np.arange(300), x + np.array([20, 5])])
    np.savetxt(folder / "log.csv", rows, delimiter=",", header="time [s],temp,speed", comments="")
    return folder


def test_columns_keep_their_names(folder_of_log, physinv, tmp_path):
    """Observations with columns in another order, beside one of text, and a posterior that says which is which."""
    assert physinv("import", folder_of_log / "log.csv", "--window", 4, "--out", tmp_path / "data")[0] == 0
    assert physinv("train", tmp_path / "data", "--out", tmp_path / "run", "--method", "linear")[0] == 0
    (tmp_path / "x.csv").write_text("speed,remark,temp\n5.1,calm,20.2\n4.9,windy,19.9\n")
    call = ("reconstruct", tmp_path / "run", "--observation", tmp_path / "x.csv", "--out", tmp_path / "x.hdf5")
    code, _, said = physinv(*call, "--samples", 16)
    assert code == 0, said
    with xarray.open_dataset(tmp_path / "x.hdf5", engine="h5netcdf") as opened:
        assert opened.observation.sel(coordinate="temp").values.tolist() == pytest.approx([20.2, 19.9])
        assert float(opened.samples.sel(coordinate="speed").mean()) == pytest.approx(5, abs=0.5)
    posterior = pi.to_arviz(tmp_path / "x.hdf5")["posterior"]
    assert posterior.coordinate.values.tolist() == ["temp", "speed"]
    (tmp_path / "x.csv").write_text("speed,when\n5.1,3\n")
    code, _, said = physinv(*call, "--overwrite")
    assert code == 2
    assert "speed has another place" in " ".join(said.split())
    (tmp_path / "x.csv").write_text("speed,t_final [min],temp\n5.1,0.05,20.2\n4.9,0.06,19.9\n")
    code, _, said = physinv(*call, "--overwrite")
    assert code == 2
    assert "0.06 min (3.6 s) for observation 1, the run was trained on final states at T = 3 s" in " ".join(
        said.split()
    )
