"""What a user meets every day: defaults in the help, hints, places, extended runs, comparisons, valid JSON."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from physinv.cli.app import main
from physinv.evaluation.evaluate import Row, to_json
from physinv.posterior.reconstruction import read_reconstruction

SMALL = [
    word
    for setting in ("width=4", "depth=1", "fresh=off", "components=1", "batch=64", "validate_windows=64")
    for word in ("--set", setting)
] + ["--set", "validate_every=10"]


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A dataset, two runs and their reconstructions."""
    folder = tmp_path_factory.mktemp("friction")
    calls = [f"generate double-well --out {folder} --train 80 --valid 30 --test 20 --set steps=4"]
    for seed in (0, 1):
        calls += [
            f"train {folder}/double-well --out {folder}/run{seed} --steps 20 --seed {seed} {' '.join(SMALL)}",
            f"reconstruct {folder}/run{seed} --data {folder}/double-well/data/test --out {folder}/{seed}.hdf5",
        ]
    for call in calls:
        main(call.split())
    return folder


# ---- help and completion


def test_help_shows_defaults_and_settings_with_their_meaning(physinv):
    code, out, _ = physinv("train", "--help")
    assert code == 0
    for words in (
        "[default: (5m",
        "[default: (auto)]",
        "validate_every",
        "peak learning rate",
        "0.999",
        "[default: 0]",
    ):
        assert words in out
    assert "[default: (the recipe's, or 2500)]" in physinv("generate", "--help")[1]
    assert "[default: (as stored)]" in physinv("reconstruct", "--help")[1]
    assert "[default: (benchmarks/results/NAME)]" in physinv("benchmark", "run", "--help")[1]


def test_the_shell_completes_verbs():
    environment = os.environ | {"_PHYSINV_COMPLETE": "complete_bash", "COMP_WORDS": "physinv rec", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'physinv'; from physinv.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["reconstruct"]


# ---- hints


HINTS = {
    "a dataset as data": ("reconstruct {0}/run0 --data {0}/double-well --out {1}/x", "data/test or {0}/double"),
    "a run as data": ("reconstruct {0}/run0 --data {0}/run1 --out {1}/x", "it is a run, not data"),
    "a dataset as run": ("reconstruct {0}/double-well --data {0}/double-well/data/test --out {1}/x", "it is a dataset"),
    "a run to evaluate": ("evaluate {0}/run0", "is a run, not a reconstruction; give the file that"),
    "a dataset to evaluate": ("evaluate {0}/double-well", "is a dataset, not a reconstruction"),
    "trajectories to evaluate": ("evaluate {0}/double-well/data/test/double-well_000.hdf5", "it holds trajectories"),
    "a split to train": ("train {0}/double-well/data/train --out {1}/x", "give the whole of it, {0}/double-well."),
    "a run to train": ("train {0}/run0 --out {1}/x", "is a run; give a dataset"),
    "runs without data": ("compare {0}/run0 {0}/run1", "to compare runs give `--data`"),
    "over what is read": ("evaluate {0}/0.hdf5 --json {0}/0.hdf5", "`--json` must not be what is read"),
    "over another file": ("evaluate {0}/0.hdf5 --json {0}/1.hdf5", "1.hdf5 is no table, and is not replaced"),
    "a negative seed": ("train {0}/double-well --out {1}/x --seed -1", "must be at least 0"),
    "a large seed": ("generate heat --out {1} --seed 9223372036854775808", "must be at most 9223372036854775807"),
}  # fmt: skip


@pytest.mark.parametrize("case", HINTS)
def test_a_hint_points_to_the_right_place(case, system, physinv, tmp_path):
    words, expected = HINTS[case]
    code, _, err = physinv(*words.format(system, tmp_path).split())
    assert code == 2
    assert err.count("\n") == 1
    assert expected.format(system, tmp_path) in err
    assert not list(tmp_path.iterdir())


# ---- recipes


def test_a_recipe_goes_into_the_same_place_from_anywhere(physinv, tmp_path, monkeypatch):
    recipe = 'simulator = "double-well"\nparameters.steps = 2\nsplits = {train = 4, valid = 2, test = 2}\n'
    (tmp_path / "mine").mkdir()
    for name in ("recipe.toml", "other.toml"):
        (tmp_path / "mine" / name).write_text(recipe)
    found = []
    for folder, prefix in ((tmp_path, "mine/"), (tmp_path / "mine", ""), (tmp_path / "mine", "../mine/")):
        monkeypatch.chdir(folder)
        for name in ("recipe.toml", "other.toml"):
            code, _, err = physinv("generate", prefix + name, "--overwrite")
            assert code == 0, err
        found.append(sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("dataset.json")))
    assert found == [["mine/dataset.json", "mine/datasets/double-well/dataset.json"]] * 3


# ---- runs


def test_a_larger_budget_extends_a_finished_run(system, physinv, tmp_path):
    words = ("train", system / "double-well", "--out", tmp_path / "run", *SMALL)
    assert physinv(*words, "--steps", 20)[0] == 0
    before = {p: p.read_text() for p in tmp_path.rglob("log.jsonl")}
    code, _, err = physinv(*words, "--steps", 10, "--resume")
    assert code == 2
    assert "was begun with `steps` = 20, now 10; a budget may grow" in err
    code, _, err = physinv(*words, "--budget", "1m", "--resume")
    assert code == 2
    assert "in the same kind of number" in err

    # The first half stays, the second is added, and the rate ends at nothing again.
    assert physinv(*words, "--steps", 40, "--resume")[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["steps"] == 40
    assert before
    for path, text in before.items():
        assert path.read_text().startswith(text)
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert records[-1]["step"] == 2 * json.loads(text.splitlines()[-1])["step"]
        assert records[-1]["rate"] < 0.2 * max(r["rate"] for r in records)
    assert physinv("reconstruct", tmp_path / "run", "--data", system / "double-well/data/test", "--out", tmp_path / "r",
                   "--limit", 2)[0] == 0  # fmt: skip

    # Without a budget --resume takes that of the run: nothing is left to do.
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert physinv(*words, "--resume")[0] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights


def test_training_says_what_its_budget_does_not_cover(system, physinv, tmp_path, monkeypatch):
    monkeypatch.setattr("physinv.cli.train._WORTH_SAYING", 0.0)
    code, out, _ = physinv("train", system / "double-well", "--out", tmp_path / "run", "--steps", 2, *SMALL)
    assert code == 0
    last = out.splitlines()[-1]
    assert last.startswith("beyond the budget of training: ")
    for phase in ("fit of the reference law", "fit of the regressions", "calibration", "choice between jumps"):
        assert phase in last


# ---- comparisons, evaluation


def test_two_reconstructions_or_runs_are_compared(system, physinv):
    code, out, _ = physinv("compare", system / "0.hdf5", system / "1.hdf5", "--json")
    assert code == 0
    found = {pair["metric"]: pair for pair in json.loads(out)}
    assert set(found) == {"relative_l2_mean", "crps", "energy_score", "coverage_90"}
    assert found["crps"]["difference"] == pytest.approx(found["crps"]["b"] - found["crps"]["a"], abs=1e-6)
    runs = physinv("compare", system / "run0", system / "run1", "--data", system / "double-well/data/test", "--json")
    assert json.loads(runs[1]) == json.loads(out)  # the defaults of `reconstruct`
    code, out, _ = physinv("compare", system / "0.hdf5", system / "0.hdf5")
    assert code == 0
    assert out.count("equal") == 4


def test_numbers_that_json_does_not_know_are_null(system):
    recon = read_reconstruction(system / "0.hdf5")
    rows = [Row("a", math.nan, math.inf, "low", "a metric"), Row("b", 1.0, None, "low", "another")]
    text = to_json(rows, recon)

    def refuse(word):
        raise AssertionError(word)

    table = json.loads(text, parse_constant=refuse)
    assert [(row["value"], row["exact"]) for row in table["metrics"]] == [(None, None), (1.0, None)]


@pytest.mark.parametrize("name", ["log.csv", "a.npy"])
def test_info_of_a_file_of_others_points_to_import(name, tmp_path, capsys):
    import numpy as np

    path = tmp_path / name
    np.save(path, np.zeros((3, 4))) if name.endswith("npy") else path.write_text("time,a\n0,1\n1,2\n")
    with pytest.raises(SystemExit):
        main(["info", str(path)])
    said = " ".join(capsys.readouterr().err.split())
    assert "was not written by physinv; `physinv import" in said
    assert "--dry-run` says what it holds" in said


def test_the_steps_of_all_networks_are_told_together(physinv, tmp_path):
    """Of a recording of numbers four networks share the steps: they are what was asked for, not those of the last."""
    generator = np.random.default_rng(0)
    np.savetxt(tmp_path / "walk.csv", generator.normal(size=(200, 2)).cumsum(0), delimiter=",")
    code, _, err = physinv("import", tmp_path / "walk.csv", "--times", 1, "--window", 3, "--out", tmp_path / "walk")
    assert code == 0, err
    few = ("--set", "width=4", "--set", "depth=1", "--set", "validate_windows=20")
    code, out, err = physinv("train", tmp_path / "walk", "--steps", 12, *few, "--out", tmp_path / "run")
    assert code == 0, err
    assert "12 steps of 4 networks in" in out
