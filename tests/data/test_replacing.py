"""Datasets are replaced as a whole: after a kill the old one or the new one is there, and a user's files stay."""

import shutil

import h5py
import numpy as np
import pytest
import xarray as xr
from kill_cases import content, killed_everywhere

from physinv.cli.info import describe_path
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.importing import import_trajectories
from physinv.data.plan import DatasetPlan
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def walks(seed, n=10):
    x = np.random.default_rng(seed).normal(size=(n, 3, 2)).cumsum(1)
    return xr.Dataset({"x": (("sample", "time", "component"), x)}, {"time": np.arange(3.0)})


def make(kind, out, seed=0, overwrite=False):
    if kind == "import":
        return import_trajectories([walks(seed)], out, overwrite=overwrite)
    plan = DatasetPlan(OrnsteinUhlenbeck(dim=1, steps=2), {"train": 4, "valid": 2}, seed, "ou")
    return generate(plan, out, overwrite=overwrite)


@pytest.mark.parametrize("kind", ["generate", "import"])
def test_a_kill_at_any_call_leaves_the_old_dataset_or_the_new_one(kind, tmp_path, monkeypatch):
    old, new = content(make(kind, tmp_path / "old")), content(make(kind, tmp_path / "new", seed=1))
    assert old.keys() == new.keys()
    folder, seen = tmp_path / "data", set()
    shutil.copytree(tmp_path / "old", folder)
    for number in killed_everywhere(monkeypatch, lambda number: make(kind, folder, seed=1, overwrite=True)):
        assert describe_path(folder)["whole"]  # reading completes what was decided
        found = content(folder)
        assert found in (old, new), number
        seen.add(found == new)
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "old", folder)
    assert seen == {False, True}


@pytest.mark.parametrize("kind", ["generate", "import"])
def test_files_of_the_user_stay(kind, tmp_path):
    folder = tmp_path / "work"
    (folder / "data" / "train").mkdir(parents=True)
    theirs = {"data/thesis.tex": b"all of it", "data/train/notes.txt": b"mine", "README.md": b"a card"}
    for name, text in theirs.items():
        (folder / name).write_bytes(text)
    for seed in (0, 1):
        make(kind, folder, seed=seed, overwrite=True)
        assert theirs.items() <= content(folder).items()
    with h5py.File(folder / "data" / "train" / "other_000.hdf5", "w") as file:
        file["measured"] = np.zeros(3)
    before = content(folder)
    with pytest.raises(ValueError, match=r"other_000\.hdf5 was not written by physinv, and would be read .*; move it"):
        make(kind, folder, overwrite=True)
    assert content(folder) == before


@pytest.mark.parametrize("kind", ["generate", "import"])
def test_a_table_of_others_is_not_taken_for_statistics(kind, tmp_path):
    (tmp_path / "stats.yaml").write_text("mine: 1")
    with pytest.raises(FileExistsError, match=r"stats\.yaml is no table of statistics, and is not replaced by one"):
        make(kind, tmp_path)
    assert content(tmp_path) == {"stats.yaml": b"mine: 1"}


@pytest.mark.parametrize("kind", ["generate", "import"])
def test_data_may_be_a_link_to_another_place(kind, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "data").symlink_to(tmp_path / "disk")
    for seed in (0, 1):
        make(kind, tmp_path / "work", seed=seed, overwrite=True)
    assert (tmp_path / "work" / "data").is_symlink()
    assert content(tmp_path / "work" / "data") == content(make(kind, tmp_path / "new", seed=1) / "data")
    assert describe_path(tmp_path / "work")["whole"]


def test_a_failed_import_leaves_nothing(tmp_path):
    bad = walks(0)
    bad["x"][9, 1, 1] = np.inf
    for folder in (tmp_path / "none", make("import", tmp_path / "one")):
        before = content(folder) if folder.exists() else None
        with pytest.raises(ValueError, match="NaN or infinity"):
            import_trajectories([bad], folder, overwrite=True)
        assert (content(folder) if folder.exists() else None) == before
        assert not list(tmp_path.rglob(".physinv*"))


def test_two_at_once_are_refused(tmp_path):
    """The second is told of the first, whatever both do, and leaves it alone."""
    told = []

    def second(done, total):
        with pytest.raises(BlockingIOError, match=r"ou is being written by `physinv generate` \(process \d+ on "):
            make("import", tmp_path / "ou", overwrite=True)
        told.append(done)

    plan = DatasetPlan(OrnsteinUhlenbeck(dim=1, steps=2), {"train": 4, "valid": 2}, 0, "ou")
    generate(plan, tmp_path / "ou", progress=second)
    assert told
    assert TrajectoryDataset(tmp_path / "ou" / "data" / "train").n_trajectories == 4
