"""A run is bound to its trajectories and its seed: checkpoints and weights of another one are refused."""

import json
import shutil

import pytest

from physinv.config.settings import Settings
from physinv.data.checks import fingerprint
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two datasets of one process, of as many trajectories."""
    root, process = tmp_path_factory.mktemp("data"), OrnsteinUhlenbeck(steps=4)
    for seed in (0, 5):
        generate(DatasetPlan(process, {"train": 30, "valid": 20}, seed), root / str(seed))
    return [[TrajectoryDataset(root / str(s) / "data" / split) for split in ("train", "valid")] for s in (0, 5)]


def trained(folder, data, *, method="regression", steps=2, **options):
    return train_run(folder, *data, method=method, settings=Settings(width=4), budget=Budget(steps=steps), **options)


def test_trajectories_are_told_from_others(data):
    (ours, valid), (theirs, _) = data
    assert fingerprint(ours, (0, -1)) == fingerprint(ours.load(), (0, -1))
    others = [fingerprint(ours, (0,)), fingerprint(valid, (0, -1)), fingerprint(theirs, (0, -1))]
    assert len({fingerprint(ours, (0, -1)), *others}) == 4


def test_a_run_goes_on_with_its_own_trajectories_alone(data, tmp_path):
    trained(tmp_path, data[0])
    with pytest.raises(ValueError, match="was begun on other trajectories; give these, another folder"):
        trained(tmp_path, data[1], steps=4, resume=True)
    trained(tmp_path, data[0], steps=4, resume=True)


def test_the_checkpoint_of_another_seed_is_refused(data, tmp_path):
    for seed in (0, 1):
        trained(tmp_path / str(seed), data[0], seed=seed)
    shutil.copy(tmp_path / "1" / "checkpoint.safetensors", tmp_path / "0")
    with pytest.raises(ValueError, match="is the checkpoint of another training, on other data or with another seed"):
        trained(tmp_path / "0", data[0], steps=4, resume=True)


def test_weights_of_other_trajectories_are_refused(data, tmp_path):
    for name, both in zip("ab", data, strict=True):
        trained(tmp_path / name, both, method="linear")
    assert len({json.loads((tmp_path / name / "run.json").read_text())["data"] for name in "ab"}) == 2
    shutil.copy(tmp_path / "b" / "model.safetensors", tmp_path / "a")
    with pytest.raises(ValueError, match="names other data, parameters, method"):
        load_run(tmp_path / "a")
