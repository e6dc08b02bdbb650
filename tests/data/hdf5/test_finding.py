"""All files of a split are read, or the one that is missing is named."""

import os

import h5py
import pytest

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.hdf5.finding import find_files
from physinv.data.inspect import inspect
from physinv.data.plan import DatasetPlan
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def test_a_file_that_is_missing_is_named(tmp_path):
    splits = {"train": 30, "valid": 5, "test": 5}
    plan = DatasetPlan(OrnsteinUhlenbeck(steps=2), splits, 0, "ornstein-uhlenbeck", trajectories_per_shard=10)
    generate(plan, tmp_path / "d")
    train = tmp_path / "d" / "data" / "train"
    assert TrajectoryDataset(train).n_trajectories == 30
    names = sorted(path.name for path in train.iterdir())
    (train / names[1]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"lacks {names[1]}, listed in dataset\.json; put it back"):
        TrajectoryDataset(train)
    assert TrajectoryDataset([train / names[0], train / names[2]]).n_trajectories == 20
    assert TrajectoryDataset(tmp_path / "d" / "data" / "test").n_trajectories == 5
    (train / names[0]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"lacks {names[0]} and 1 more files"):
        TrajectoryDataset(train)


def test_a_file_that_was_written_to_is_another_one(tmp_path):
    """Programs that change a file cut its checksums off: what tells is its size."""
    generate(DatasetPlan(OrnsteinUhlenbeck(steps=2), {"train": 5, "test": 5}, 0, "ornstein-uhlenbeck"), tmp_path / "d")
    (path,) = (tmp_path / "d" / "data" / "test").iterdir()
    with h5py.File(path, "r+") as file:
        file["t0_fields/position"][...] *= 2
    with pytest.raises(ValueError, match=r"is not the file that dataset\.json lists"):
        TrajectoryDataset(path.parent)
    assert TrajectoryDataset([path]).n_trajectories == 5


def test_a_pipe_is_no_missing_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe is a pipe, not a file; write what it holds into a file"):
        find_files(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe, not a file"):
        inspect(tmp_path / "pipe")
