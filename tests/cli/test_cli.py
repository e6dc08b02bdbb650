"""The `physinv` command as a user meets it: the whole way once, machine-readable output, one line for bad input."""

import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import xarray as xr
from dataset_cases import FIELD, numbers, write

from physinv.cli import app as cli
from physinv.data.dataset import TrajectoryDataset
from physinv.data.importing import import_trajectories


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A dataset, a run and a reconstruction made by the command itself."""
    folder = tmp_path_factory.mktemp("cli")
    calls = [
        f"generate heat --out {folder} --train 60 --valid 20 --test 10 --seed 1 --set size=8 --set steps=4",
        f"train {folder}/heat --out {folder}/run --steps 4 --set width=4 --set depth=1 --set validate_every=2",
        f"reconstruct {folder}/run --data {folder}/heat/data/test --out {folder}/r.hdf5 --samples 5 --limit 6 "
        "--certify 0",
    ]
    for call in calls:
        cli.main(call.split())
    return folder


def test_the_whole_way(system, physinv, tmp_path):
    assert sorted(p.name for p in (system / "heat" / "data").iterdir()) == ["test", "train", "valid"]
    with h5py.File(system / "r.hdf5") as file:
        assert file["samples"].shape == (6, 5, 1, 8, 8)
        assert file["truth"].shape == file["observation"].shape == (6, 1, 8, 8)
        assert (file.attrs["method"], file.attrs["answer"]) == ("auto", "samples")
        assert file.attrs["seed"] == 0
    code, out, _ = physinv("evaluate", system / "r.hdf5", "--json", tmp_path / "t.json", "--plots", tmp_path / "figs")
    assert code == 0
    assert "crps" in out
    table = {m["metric"]: m for m in json.loads((tmp_path / "t.json").read_text())["metrics"]}
    assert table["crps"]["value"] == pytest.approx(table["crps"]["exact"], rel=0.3)
    assert table["coverage_90"]["best"] == "0.9"
    assert sorted(p.name for p in (tmp_path / "figs").iterdir()) == [
        "coverage.png",
        "ranks.png",
        "reconstruction.png",
        "spectra.png",
    ]
    for method in ("flow", "mean-flow"):
        out_file = tmp_path / f"{method}.hdf5"
        code, _, err = physinv(
            "reconstruct", system / "run", "--data", system / "heat/data/test", "--out", out_file, "--answer", method
        )
        assert code == 0, err
        code, out, _ = physinv("evaluate", out_file)
        assert code == 0
        assert "relative_l2" in out
        assert "crps" not in out


def test_catalogue(physinv):
    code, out, _ = physinv("simulators", "--json")
    assert code == 0
    listing = {entry["name"]: entry for entry in json.loads(out)}
    assert {"heat", "quadratic", "ornstein-uhlenbeck", "double-well"} <= set(listing)
    heat = listing["heat"]
    assert heat["state_shape"] == [1, 32, 32]
    assert all({"name", "default", "unit", "symbol", "doc"} <= set(p) for p in heat["parameters"])
    code, out, _ = physinv("simulators")
    assert "u_t = diffusivity Laplace(u) + noise xi" in out


@pytest.mark.parametrize(
    ("what", "kind"), [("heat", "dataset"), ("heat/data/train/heat_000.hdf5", "trajectories"), ("run", "run"),
                       ("r.hdf5", "reconstruction")]
)  # fmt: skip
def test_info(system, physinv, what, kind, tmp_path):
    code, out, _ = physinv("info", system / what, "--json", "--plot", tmp_path / "figure.png")
    assert code == 0
    summary = json.loads(out)
    assert summary["kind"] == kind
    assert summary["whole"] is True
    assert summary["simulator"] == "heat"
    assert (tmp_path / "figure.png").stat().st_size > 5000
    assert physinv("info", system / what)[0] == 0


def test_info_tells_the_units_of_imported_data(physinv, tmp_path):
    u = np.random.default_rng(0).normal(size=(6, 3, 4))
    place = xr.DataArray(np.arange(4.0), dims="x", attrs={"units": "km"})
    coordinates = {"time": np.array([0.0, 1.0, 2.0]), "x": place}
    told = xr.Dataset({"u": (("sample", "time", "x"), u, {"units": "K"})}, coordinates)
    import_trajectories([told], tmp_path / "plain")
    assert json.loads(physinv("info", tmp_path / "plain", "--json")[1])["units"] == {"u": "K", "x": "km"}
    dated = told.assign_coords(time=np.array(["2000-02-28", "2000-02-29", "2000-03-02"], dtype="datetime64[ns]"))
    import_trajectories([dated], tmp_path / "dated")
    assert json.loads(physinv("info", tmp_path / "dated", "--json")[1])["times"] == "3 from 0 to 3 days"


def test_methods_with_and_without_training(system, physinv, tmp_path):
    run, data = tmp_path / "run", ("--data", system / "heat/data/test", "--limit", 3, "--samples", 2, "--certify", 0)
    words = ("train", system / "heat", "--out", run, "--steps", 4, "--set", "width=4", "--set", "depth=1")
    code, out, err = physinv(*words, "--method", "auto", "--option", "draws=2", "--option", "observations=5")
    assert code == 0, err
    assert "chosen: " in out
    summary = json.loads(physinv("info", run, "--json")[1])
    assert summary["method"] == "auto"
    assert summary["trials"]["linear 0%"] == 1.0
    assert summary["chosen"] in ("linear", "physinv", "flow-matching")
    assert physinv("reconstruct", run, *data, "--out", tmp_path / "a.hdf5")[0] == 0
    assert json.loads(physinv("info", tmp_path / "a.hdf5", "--json")[1])["method"] == "auto"
    free = ("reconstruct", "--method", "linear", "--train", system / "heat", *data)
    assert physinv(*free, "--out", tmp_path / "b.hdf5")[0] == 0
    code, out, _ = physinv("evaluate", tmp_path / "b.hdf5")
    assert "heat, linear samples" in out


def test_info_says_what_is_broken(system, physinv, tmp_path):
    path = tmp_path / "cut.hdf5"
    whole = (system / "heat/data/train/heat_000.hdf5").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    code, out, err = physinv("info", path, "--json")
    assert code == 2
    assert json.loads(out)["whole"] is False
    assert json.loads(out)["problem"] in err
    assert err.count("\n") == 1


LISTINGS = {
    "missing": (lambda path: path.unlink(), "has no dataset.json"),
    "cut": (lambda path: path.write_text(path.read_text()[:50]), "is damaged: it is not valid JSON"),
    "a list of files": (lambda path: path.write_text('{"files": []}'), "`files` must list"),
    "sizes that are none": (lambda path: path.write_text('{"files": {"data/test/x": [1]}}'), "`files` must list"),
    "long": (lambda path: os.truncate(path, 2**27), "bytes, text of this kind has 67108864 at most"),
}


@pytest.mark.parametrize("kind", LISTINGS)
def test_info_of_a_dataset_needs_its_listing(kind, system, physinv, tmp_path):
    shutil.copytree(system / "heat", tmp_path / "heat")
    change, told = LISTINGS[kind]
    change(tmp_path / "heat" / "dataset.json")
    code, out, err = physinv("info", tmp_path / "heat", "--json")
    assert (code, json.loads(out)["whole"], err.count("\n")) == (2, False, 1)
    assert told in err


def test_info_misses_a_split_that_is_listed(system, physinv, tmp_path):
    shutil.copytree(system / "heat", tmp_path / "heat")
    shutil.rmtree(tmp_path / "heat" / "data" / "valid")
    code, _, err = physinv("info", tmp_path / "heat")
    assert code == 2
    assert "lacks heat_000.hdf5, listed in dataset.json" in err


WRONG = {
    "unknown simulator": ("generate haet", "did you mean `heat`?"),
    "unknown parameter": ("generate heat --set sise=3", "did you mean `size`?"),
    "impossible size": ("generate heat --set size=1", "`size` of Heat must be at least 2, got 1"),
    "wrong choice": ("generate heat --set prior=edge", "did you mean `edges`?"),
    "set twice": ("generate heat --set diffusivity=2 --parameter diffusivity=uniform:1:2", "`diffusivity` is given by"),
    "prior beyond": ("generate burgers --set viscosity=normal:.1:.1", "got -0.4. Its prior has such values"),
    "wrong type": ("generate heat --set size=big", "`size` of Heat must be of type int, got 'big'"),
    "no recipe": ("generate nothing/recipe.toml", "there is no recipe nothing/recipe.toml"),
    "bad budget": ("train {0}/heat --out {1}/x --budget soon", "`--budget` must be a time such as 90s, 5m or 1h"),
    "both budgets": ("train {0}/heat --out {1}/x --budget 1s --steps 3", "`--steps` or `--budget`, not both"),
    "unknown setting": ("train {0}/heat --out {1}/x --set widht=3", "did you mean `width`?"),
    "parameter alone": ("train {0}/heat --out {1}/x --steps 1 --parameter noise=1", "give `--simulator`"),
    "physics of ours": ("train {0}/heat --out {1}/x --steps 1 --simulator heat", "`simulator` is for imported data"),
    "no dataset": ("train {1}/none --out {1}/x --steps 1", "none/data/train"),
    "run exists": ("train {0}/heat --out {0}/run --steps 4 --set width=4 --set depth=1 --set validate_every=2",
                   "add `--resume`"),
    "not a run": ("reconstruct {1} --data {0}/heat/data/test --out {1}/r.hdf5", "is not a run"),
    "output exists": ("reconstruct {0}/run --data {0}/heat/data/test --out {0}/r.hdf5", "--overwrite"),
    "no folder": ("reconstruct {0}/run --data {0}/heat/data/test --out {1}/no/r.hdf5", "make it first"),
    "unknown answer": ("reconstruct {0}/run --data {0}/heat/data/test --out {1}/r.hdf5 --answer ode", "samples, mean"),
    "no such method": ("train {0}/heat --out {1}/x --steps 1 --method flow-maching", "did you mean `flow-matching`?"),
    "no such option": ("train {0}/heat --out {1}/x --steps 1 --method dps --option step=3", "did you mean `steps`?"),
    "never saved": ("train {0}/heat --out {1}/x --steps 1 --method npse", "sbi stores posteriors by pickle only"),
    "nothing to use": ("reconstruct --data {0}/heat/data/test --out {1}/r.hdf5", "`--method NAME --train DATASET`"),
    "both": ("reconstruct {0}/run --method linear --data {0}/heat/data/test --out {1}/r.hdf5", "not both"),
    "needs training": ("reconstruct --method fno --train {0}/heat --data {0}/heat/data/test --out {1}/r.hdf5",
                       "method `fno` takes training"),
    "unknown grid": ("reconstruct {0}/run --data {0}/heat/data/test --out {1}/r.hdf5 --grid loog",
                     "stored, linear, log, learned"),
    "unknown operator": ("reconstruct {0}/run --data {0}/heat/data/test --out {1}/r.hdf5 --observe sensor:0.5",
                         "sensors:FRACTION"),
    "observed flow": ("reconstruct {0}/run --data {0}/heat/data/test --out {1}/r.hdf5 --observe coarse:2 --answer flow",
                      "`observe` needs `answer` samples"),
    "coarse grid": ("reconstruct {0}/run --data {0}/heat/data/test --out {1}/r.hdf5 --observe coarse:3",
                    "`factor` must divide the grid (8, 8), got 3"),
    "exact sensors": ("reconstruct {0}/run --data {0}/heat/data/test --out {1}/r.hdf5 --observe sensors:0.5 "
                      "--observed-noise 0", "`noise` must be positive"),
    "unknown loss": ("train {0}/heat --out {1}/x --steps 1 --set loss=l2", "there is no objective `l2`"),
    "window": ("train {0}/heat --out {1}/x --steps 1 --set windows=[9]", "`window` must be between 2 and the 5 states"),
    "unknown device": ("train {0}/heat --out {1}/x --steps 1 --device cuda:7", "is not available here"),
    "no option": ("train {0}/heat", "--out"),
    "not a file": ("evaluate {1}/none.hdf5", "there is no file"),
    "wrong file": ("evaluate {0}/heat/data/test/heat_000.hdf5", "not a whole reconstruction file"),
    "dataset exists": ("generate heat --out {0} --train 60 --valid 20 --test 10 --seed 1 --set size=8 --set steps=4",
                       "--overwrite"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_gets_one_line_and_code_2(case, system, physinv, tmp_path):
    words, expected = WRONG[case]
    code, out, err = physinv(*words.format(system, tmp_path).split())
    assert code == 2
    assert out == ""
    assert expected in err
    assert err.startswith("physinv: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not (tmp_path / "x").exists()


def test_corrupt_and_nan_data_are_refused(system, physinv, tmp_path):
    path = tmp_path / "heat_000.hdf5"
    path.write_bytes((system / "heat/data/test/heat_000.hdf5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["t0_fields/temperature"][0, 0, 0, 0] = np.nan
    code, _, err = physinv("reconstruct", system / "run", "--data", path, "--out", tmp_path / "r.hdf5")
    assert code == 2
    assert "not finite" in err
    path.write_bytes(path.read_bytes()[:5000])
    code, _, err = physinv("reconstruct", system / "run", "--data", path, "--out", tmp_path / "r.hdf5")
    assert code == 2
    assert err.count("\n") == 1
    assert not (tmp_path / "r.hdf5").exists()


def test_help_is_quick_and_complete():
    """No torch behind --help, and every verb of the contract is there."""
    code = "import sys; from physinv import cli; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    shown = subprocess.run([sys.executable, "-m", "physinv", "--help"], capture_output=True, text=True, check=True)
    for verb in ("simulators", "generate", "info", "train", "reconstruct", "evaluate", "demo"):
        assert verb in shown.stdout


def test_version(physinv):
    code, out, _ = physinv("--version")
    assert code == 0
    assert out.startswith("physinv 0.1.0")


def test_overwriting_a_run_starts_afresh(system, physinv, tmp_path):
    words = ("train", system / "heat", "--out", tmp_path / "run", "--set", "width=4", "--set", "depth=1")
    assert physinv(*words, "--steps", 2)[0] == 0
    assert physinv(*words, "--steps", 3)[0] == 2
    assert physinv(*words, "--steps", 3, "--overwrite")[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["steps"] == 3


@pytest.mark.parametrize("mistake", ["windows=[9]", "depth=5", "widht=3"])
def test_a_mistake_does_not_cost_the_old_run(mistake, system, physinv, tmp_path):
    words = ("train", system / "heat", "--out", tmp_path / "run", "--steps", 2, "--set", "width=4", "--set", "depth=1")
    assert physinv(*words)[0] == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    assert physinv(*words, "--overwrite", "--set", mistake)[0] == 2
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before
    assert physinv(*words, "--overwrite", "--resume")[0] == 2


def test_demo_runs(physinv, tmp_path, monkeypatch):
    from physinv.cli import demo

    monkeypatch.setattr(
        demo,
        "SYSTEMS",
        {"ornstein-uhlenbeck": {"train": 100, "valid": 20, "test": 20}},
    )
    code, out, err = physinv("demo", "--out", tmp_path / "demo", "--budget", "0.2s")
    assert code == 0, err
    assert "exact" in out
    assert (tmp_path / "demo" / "figures" / "ornstein-uhlenbeck" / "reconstruction.png").exists()


@pytest.mark.parametrize("words", [["import", "", "--out", "d"], ["info", " "], ["train", "data", "--out", ""]])
def test_an_empty_word_is_no_path(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 2
    assert "an argument must not be an empty or blank word" in capsys.readouterr().err


def test_info_tells_parameters_that_a_configuration_does_not(physinv, tmp_path):
    path = write(tmp_path / "a.hdf5", numbers(5, "field"), FIELD)
    assert "parameters" not in TrajectoryDataset(path).config
    found = json.loads(physinv("info", path, "--json")[1])["parameters"]
    assert found == {"modes": [1, 2], "prior": "edges", "rate": 0.1, "size": 3}
