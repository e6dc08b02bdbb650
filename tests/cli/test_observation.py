"""Observations alone on the command line: reconstruct, evaluate, warnings, `--strict`, and what is refused."""

import json

import h5py
import numpy as np
import pytest
import xarray

import physinv as pi
from physinv.cli import app as cli
from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation import evaluate as evaluation
from physinv.evaluation.evaluate import check_predictive
from physinv.posterior.reconstruction import read_reconstruction

RUN = ("--method", "exact", "--samples", 16)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A dataset of a process with a known posterior, and files of observations of it."""
    folder = tmp_path_factory.mktemp("observation")
    words = f"generate heat --out {folder} --train 200 --valid 60 --test 30 --seed 1 --set size=8 --set steps=2"
    cli.main(words.split())
    x = TrajectoryDataset(folder / "heat/data/test").states(-1).numpy()
    bad = x.copy()
    bad[2, 0, 3, 3] = np.nan
    files = {"x": x, "one": x[0, 0], "kilo": 1000 * x, "offset": x + 273.15, "nan": bad, "coarse": x[..., ::2]}
    for name, values in files.items():
        np.save(folder / f"{name}.npy", values)
    axis = np.arange(8) * 2 * np.pi / 8
    data = xarray.Dataset({"temperature": (("sample", "x", "y"), x[:, 0])}, {"x": axis, "y": axis})
    data.to_netcdf(folder / "x.nc", engine="h5netcdf")
    return folder


def arguments(system, observation, out):
    return ("reconstruct", *RUN, "--train", system / "heat", "--observation", system / observation, "--out", out)


def test_observations_get_a_posterior_and_a_predictive_check(system, physinv, tmp_path):
    out = tmp_path / "x.hdf5"
    code, said, err = physinv(*arguments(system, "x.nc", out), "--limit", 6)
    assert code == 0, err
    assert "standard deviations" in err
    with h5py.File(out) as file:
        assert "truth" not in file
    with xarray.open_dataset(out, engine="h5netcdf") as opened:
        assert opened["samples"].dims == ("observation_index", "draw", "channel", "x", "y")
        assert opened["channel"].values.tolist() == ["temperature"]
        assert opened["source"].values.tolist() == [str(system / "x.nc")] * 6
        assert opened["source_index"].values.tolist() == list(range(6))
        assert float(opened["distance"].max()) < 5
        assert np.allclose(opened["x"], np.arange(8) * 2 * np.pi / 8)
    code, said, err = physinv("evaluate", out, "--json", tmp_path / "t.json", "--plots", tmp_path / "figs", "--strict")
    assert code == 0, err
    assert "the samples lead to what was observed" in said
    table = json.loads((tmp_path / "t.json").read_text())
    assert len(table["predictive"]) == 6
    assert table["warnings"] == []
    assert table["reconstruction"]["observations"]["indices"] == list(range(6))
    assert sorted(p.name for p in (tmp_path / "figs").iterdir()) == ["posterior.png", "predicted.png"]
    summary = json.loads(physinv("info", out, "--json", "--plot", tmp_path / "info.png")[1])
    assert (summary["kind"], summary["observations"]) == ("reconstruction", 6)


def test_a_signalling_nan_is_refused_without_a_warning_of_its_cast(system, physinv, tmp_path):
    x = np.load(system / "x.npy")
    x.view("u4")[2, 0, 3, 3] = 0x7FA00000  # which NumPy warns of as it becomes float64
    np.save(tmp_path / "s.npy", x)
    code, _, err = physinv(*arguments(system, tmp_path / "s.npy", tmp_path / "s.hdf5"))
    assert (code, err.count("\n")) == (2, 1)
    assert "NaN" in err


def test_samples_are_those_of_the_same_states_in_a_dataset(system, physinv, tmp_path):
    a, b = tmp_path / "a.hdf5", tmp_path / "b.hdf5"
    assert physinv(*arguments(system, "x.npy", a))[0] == 0
    words = ("reconstruct", *RUN, "--train", system / "heat", "--data", system / "heat/data/test", "--out", b)
    assert physinv(*words)[0] == 0
    with h5py.File(a) as one, h5py.File(b) as two:
        assert np.array_equal(one["samples"], two["samples"])
        assert "truth" in two
    code, said, _ = physinv("evaluate", b)
    assert code == 0
    assert all(word in said for word in ("climatology", "persistence", "linear", "they can be trusted"))


def test_one_state_is_enough(system, physinv, tmp_path):
    assert physinv(*arguments(system, "one.npy", tmp_path / "x.hdf5"))[0] == 0
    code, said, _ = physinv("evaluate", tmp_path / "x.hdf5")
    assert code == 0
    assert "1 observation" in said


def test_samples_that_were_changed_in_the_file_are_run_forward_again(system, physinv, tmp_path, monkeypatch):
    out = tmp_path / "x.hdf5"
    assert physinv(*arguments(system, "x.npy", out))[0] == 0
    assert not read_reconstruction(out).stale
    with h5py.File(out, "r+") as file:
        file["samples"][...] = 0 * file["samples"][...]
    assert "does not have the checksum that it was written with" in physinv("evaluate", out)[2]
    with h5py.File(out, "r+") as file:
        del file.attrs["checksums_json"]  # the change is meant
    code, said, _ = physinv("evaluate", out)
    assert code == 0
    assert "do not lead to what was observed" in said

    # With physics that the file does not hold there is nothing to run them by.
    lost = read_reconstruction(out)
    assert (lost.stale, lost.predicted) == (True, None)
    monkeypatch.setattr(type(lost.simulator), "known", False)
    with pytest.raises(ValueError, match="were changed after they were written"):
        check_predictive(lost)


@pytest.mark.parametrize(("name", "words"), [("kilo", "1000 times too large"), ("offset", "a constant of about 273")])
def test_unlikely_observations_are_warned_of_and_refused_when_strict(
    name, words, system, physinv, tmp_path, monkeypatch
):
    out = tmp_path / "x.hdf5"
    code, _, err = physinv(*arguments(system, f"{name}.npy", out), "--strict")
    assert code == 2
    assert words in err
    assert err.count("\n") == 1 or err.splitlines()[-1].startswith("physinv: ")
    assert not out.exists()
    code, _, err = physinv(*arguments(system, f"{name}.npy", out))
    assert code == 0
    assert words in err
    code, said, _ = physinv("evaluate", out)
    assert said.count(words) == 1
    code, said, _ = physinv("evaluate", out, "--json", "-")  # JSON alone, which holds them
    assert code == 0
    assert any(words in sentence for sentence in json.loads(said)["warnings"])

    # They are said as well where there is no physics, and so no predictive check.
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "check_predictive", lambda *_: None)
        code, said, _ = physinv("evaluate", out)
    assert "no predictive check" in said
    assert said.count(words) == 1
    code, said, _ = physinv("evaluate", out, "--strict", "--json", tmp_path / "t.json")
    assert code == 2
    assert said == ""
    assert not (tmp_path / "t.json").exists()


REFUSED = {
    "nan": (("--observation", "nan.npy"), "observation 2 of"),
    "another grid": (("--observation", "coarse.npy"), "got an array (30, 1, 8, 4)"),
    "both": (("--observation", "x.npy", "--data", "heat/data/test"), "one of the two"),
    "neither": ((), "one of the two"),
    "names of data": (("--data", "heat/data/test", "--names", "u"), "are for `--observation`"),
    "a certificate": (("--observation", "x.npy", "--certify", "2"), "`certify` is for trajectories, not for"),
    "a certificate of a mean": (
        ("--data", "heat/data/test", "--answer", "mean", "--certify", "2"),
        "needs `answer` sam",
    ),
    "partial": (("--observation", "x.npy", "--observe", "coarse:2"), "`observe` takes numbers from whole trajectories"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_gets_one_line_and_code_2(case, system, physinv, tmp_path, monkeypatch):
    monkeypatch.chdir(system)
    words, message = REFUSED[case]
    out = tmp_path / "x.hdf5"
    code, said, err = physinv("reconstruct", *RUN, "--train", system / "heat", *words, "--out", out)
    assert code == 2
    assert said == ""
    assert message in err
    assert err.splitlines()[-1].startswith("physinv: ")
    assert not out.exists()


def test_the_same_from_python(system, tmp_path):
    from physinv.runs.run import fit_run

    data = {s: TrajectoryDataset(system / "heat/data" / s) for s in ("train", "valid")}
    run = fit_run(data["train"], data["valid"], method="exact")
    seen = pi.final_states(np.load(system / "x.npy"), run.simulator.layout)
    found = pi.reconstruct(run, seen, tmp_path / "x.hdf5", pi.SamplingPlan(samples=8))
    assert len(found.distance) == 30
    assert found.warnings == []
    tree = pi.to_arviz(tmp_path / "x.hdf5")
    assert tree["posterior"]["temperature"].dims == ("chain", "draw", "observation", "x", "y")
    assert tree["posterior_predictive"]["temperature"].shape == (1, 8, 30, 8, 8)
    assert np.array_equal(tree["observed_data"]["temperature"], np.load(system / "x.npy")[:, 0])
    assert set(tree["constant_data"].data_vars) == {"source", "source_index", "distance"}
    with pytest.raises(ValueError, match="holds observations without true initial states"):
        pi.evaluate(tmp_path / "x.hdf5")
