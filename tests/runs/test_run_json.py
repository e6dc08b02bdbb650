"""run.json is read strictly: what was changed, contradicts itself or belongs to other weights is refused."""

import json
import math
import shutil

import pytest
import torch

from physinv.cli.info import describe_path
from physinv.config.files import load_tensors, save_tensors
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.runs.run import load_run, train_run
from physinv.runs.run_json import choice, process_of_run, read_info, write_info
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and another one of another process."""
    folder = tmp_path_factory.mktemp("run_json")
    for name, dim in (("run", 2), ("other", 3)):
        plan = DatasetPlan(OrnsteinUhlenbeck(dim=dim, steps=4), {"train": 40, "valid": 20}, 0, "ornstein-uhlenbeck")
        generate(plan, folder / f"data-{name}")
        train, valid = (TrajectoryDataset(folder / f"data-{name}" / "data" / split) for split in ("train", "valid"))
        settings = {"width": 8, "depth": 1, "validate_every": 2, "validate_windows": 32, "batch": 16}
        train_run(folder / name, train, valid, method="physinv", settings=settings, budget=Budget(steps=2))
    return folder


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made / "run", tmp_path / "run")


def raw(run):
    return json.loads((run / "run.json").read_text())


def refused(run, words):
    """Loading fails in one line, and so does what `info` says."""
    for read in (load_run, describe_path):
        with pytest.raises(ValueError, match=words) as told:
            read(run)
        assert "\n" not in str(told.value)


def test_a_change_by_hand_is_told_and_can_be_meant(run):
    info = raw(run)
    assert load_run(run).info == {k: v for k, v in info.items() if k != "sha256"}
    (run / "run.json").write_text(json.dumps(info, indent=3, sort_keys=True))  # formatted anew: nothing changed
    assert load_run(run).info["seed"] == 0
    info["device"] = "cuda"
    (run / "run.json").write_text(json.dumps(info))
    refused(run, r"run\.json was changed after it was written: .* put back a copy, or train again \(if the change is")
    (run / "run.json").write_text(json.dumps({**info, "sha256": None}))
    assert load_run(run).info["device"] == "cuda"


def test_a_checksum_that_is_not_there_is_damage_but_in_files_of_earlier_versions(run):
    """One changed bit of its name takes a checksum away."""
    info = raw(run)
    changed = {key.replace("sha256", "rha256"): value for key, value in info.items()}
    (run / "run.json").write_text(json.dumps(changed))
    refused(run, r"run\.json is damaged: it lacks its checksum `sha256`; put back a copy")
    del info["sha256"]
    (run / "run.json").write_text(json.dumps(info))
    refused(run, r"run\.json is damaged: it lacks its checksum `sha256`; put back a copy")
    (run / "run.json").write_text(json.dumps({**info, "schema": 2}))
    assert load_run(run).info["seed"] == 0


@pytest.mark.parametrize(
    "text", ["[]", "null", "1", '"x"', "{", "", "[" * 10**5, '{"a":' * 10**5, '{"seed": 0, "seed": 1}']
)
def test_json_of_any_other_shape_is_refused(run, text):
    (run / "run.json").write_text(text)
    refused(run, r"run\.json is damaged: it ")


@pytest.mark.parametrize("key", ["simulator", "parameters", "times", "shape", "method", "options", "settings", "seed"])
def test_values_of_another_kind_are_refused(run, key):
    info = raw(run)
    for value in (None, [], {}, "x", 1.5, [[[]]], True):
        if type(info[key]) is not type(value) or key == "times":
            write_info(run, {**info, key: value})
            refused(run, r"run\.json is damaged: `")
    write_info(run, {k: v for k, v in info.items() if k != key})
    refused(run, rf"run\.json is damaged: `{key}` is missing")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda times: times[::-1], "`times` must be two or more, and increase strictly"),
        (lambda times: [math.nan] * len(times), r"`times\.0` must be a finite number, got nan"),
        (
            lambda times: times[:3],
            r"contradicts itself: it has 3 `times` from 0 to 1, the process that it names 5 to 2",
        ),
        (lambda times: [2 * t for t in times], "contradicts itself: it has 5 `times` from 0 to"),
        (lambda times: [], "`times` must be two or more"),
    ],
)
def test_times_that_cannot_be_those_of_the_process_are_refused(run, change, words):
    info = raw(run)
    write_info(run, {**info, "times": change(info["times"])})
    refused(run, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [3]}, "contradicts itself: it has `shape` "),
        ({"simulator": "double-well"}, "DoubleWell has no parameter `dim`"),
        ({"simulator": "heat-equation"}, "there is no simulator `heat-equation`"),
        ({"parameters": {"steps": 10**9}}, "`steps` of OrnsteinUhlenbeck must be at most"),
        ({"parameters": {"steps": 7}}, "contradicts itself"),
        ({"method": "no-such"}, "does not belong to .*, which names other data, parameters, method or settings"),
        ({"seed": 7}, "does not belong to "),
        ({"notes": {"model": "score", "reference": "os.system"}}, "does not belong to "),
        ({"schema": 4}, "has schema 4, this version of physinv reads 1 to 3"),
        ({"schema": [[]]}, r"has schema \[\[\]\], this version"),
    ],
)
def test_what_contradicts_itself_or_the_weights_is_refused(run, change, words):
    """Also where a checksum fits, as one that somebody computed anew would."""
    info = {k: v for k, v in raw(run).items() if k != "sha256"}
    write_info(run, {**info, **change})
    refused(run, words)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"sizes": [10**12]}, r"contradicts itself: it has `shape` \[3\], the process that it names \[1000000000000\]"),
        ({"sizes": ["x"]}, "`parameters` in .*run.json make no process: "),
        ({"sizes": [[]], "names": [{}]}, "`parameters` in .*run.json make no process: "),
        ({"positions": ["a", "b"]}, "`parameters` in .*run.json make no process: "),
        ({"steps": 10**6}, "contradicts itself: it has 3 `times` from 0 to 1, the process that it names 1000001 to 1"),
    ],
)
def test_parameters_of_recorded_data_that_make_no_process_are_refused(parameters, words, tmp_path):
    """At once: a layout lists each point, and times each step."""
    plain = {"horizon": 1.0, "steps": 2, "sizes": [3], "positions": [0.0, 2.0]}
    info = {"simulator": "recorded", "parameters": {**plain, **parameters}, "shape": [3], "times": [0.0, 0.5, 1.0]}
    assert process_of_run({**info, "parameters": plain}, tmp_path)[1].tolist() == info["times"]
    with pytest.raises(ValueError, match=words):
        process_of_run(info, tmp_path)


def test_another_parameter_is_not_that_of_the_weights(run):
    info = {k: v for k, v in raw(run).items() if k != "sha256"}
    info["parameters"]["rate"] = 2 * info["parameters"]["rate"]
    (run / "run.json").write_text(json.dumps({**info, "sha256": None}))  # by hand, and its checksum given up
    refused(run, r"model\.safetensors does not belong to .*run\.json, which names other data, parameters")


def test_files_of_another_run_are_refused(made, run):
    shutil.copy(made / "other" / "model.safetensors", run)
    refused(run, r"model\.safetensors does not belong to .*run\.json")
    shutil.copy(made / "run" / "model.safetensors", run)
    shutil.copy(made / "other" / "run.json", run)
    refused(run, r"model\.safetensors does not belong to .*run\.json")


def test_files_of_earlier_versions_without_checksums_are_read(run):
    """They hold no checksum and no word on whose answer it is; a wrong reference law is still told."""
    info = {k: v for k, v in raw(run).items() if k != "sha256"} | {"schema": 2}
    tensors, _ = load_tensors(run / "model.safetensors")
    save_tensors(run / "model.safetensors", tensors, {"format": "physinv answer 1"})
    (run / "run.json").write_text(json.dumps(info))
    assert torch.equal(load_run(run).model.network(*_inputs(run)), load_run(run).model.network(*_inputs(run)))
    for change, words in (
        ({"notes": {"model": "score", "reference": "os.system"}}, "there is no reference law `os.system`"),
        ({"notes": {}}, r"does not fit .*run\.json: it lacks `reference`; train again"),
        ({"settings": {**info["settings"], "width": 16}}, r"does not fit .*run\.json: "),
        ({"settings": {"width": "wide"}}, "`width` must be"),
    ):
        (run / "run.json").write_text(json.dumps({**info, **change}))
        refused(run, words)


def test_weights_that_are_not_numbers_are_refused(run):
    tensors, header = load_tensors(run / "model.safetensors")
    name = next(k for k in tensors if k.startswith("network."))
    tensors[name].view(-1)[0] = math.nan
    save_tensors(run / "model.safetensors", tensors, header)
    refused(run, rf"model\.safetensors holds NaN in `{name}`, with which nothing can be computed")


@pytest.mark.parametrize("line", ["[]", "{}", '{"step": "x"}', "{" * 5000])
def test_a_log_of_another_shape_is_refused(run, line):
    with (run / "log.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"log\.jsonl is damaged: ") as told:
        describe_path(run)
    assert "\n" not in str(told.value)


def test_reading_leaves_a_run_as_it_is(run):
    for path in (run, *run.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {p.name: p.stat().st_mtime_ns for p in run.iterdir()}
    assert describe_path(run)["whole"]
    assert read_info(run)["method"] == "physinv"
    assert {p.name: p.stat().st_mtime_ns for p in run.iterdir()} == before
    run.chmod(0o755)


def _inputs(run):
    model = load_run(run).model
    return torch.zeros(1, model.reference.channels_in), torch.zeros(1)


@pytest.mark.parametrize(
    ("relative", "chosen", "why"),
    [
        (1.007, "increments", "not told from the linear estimate: worse by 0.7% +- 2.0%"),
        (1.3, "increments", "validation windows all overlap"),
        (0.9, "increments", ""),
        (1.3, "linear", ""),
    ],
)
def test_a_choice_against_the_linear_estimate_says_why(relative, chosen, why, run):
    """Where its scores are worse: within the error, or where data decide nothing."""
    scores = {"crps": 1.0, "energy_score": 1.0}
    trials = [
        {"method": "linear", "share": 0.0, **scores, "relative": 1.0},
        {"method": "increments", "share": 1.0, **scores, "relative": relative, "error": 0.02},
    ]
    write_info(run, {**raw(run), "notes": {"chosen": chosen, "trials": trials}})
    lines = choice(run)
    assert lines[0] == f"chosen: {chosen}"
    assert len(lines) == 3 + bool(why)
    assert why in lines[-1]
