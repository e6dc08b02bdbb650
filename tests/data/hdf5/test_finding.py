"""Files of a dataset are its own: one of another split, or of another dataset, is refused when it is opened."""

import shutil

import pytest

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.mark.parametrize(
    ("other", "split", "told"),
    [
        (5, "train", "is of another dataset than dataset.json beside it: their `seed` differ"),
        (0, "test", "is of the split `test`, not `train`"),
    ],
)
def test_a_file_in_the_place_of_another_is_refused(other, split, told, tmp_path):
    for seed in {0, other}:
        generate(
            DatasetPlan(OrnsteinUhlenbeck(steps=4), {"train": 8, "valid": 8, "test": 8}, seed), tmp_path / str(seed)
        )
    place = next((tmp_path / "0" / "data" / "train").iterdir())
    shutil.copy(next((tmp_path / str(other) / "data" / split).iterdir()), place)
    with pytest.raises(ValueError, match=told):
        TrajectoryDataset(place.parent)
    linked = tmp_path / "linked" / "data"
    linked.mkdir(parents=True)
    shutil.copy(tmp_path / "0" / "dataset.json", linked.parent)
    (linked / "train").symlink_to(tmp_path / str(other) / "data" / split)
    with pytest.raises(ValueError, match=told):
        TrajectoryDataset(linked / "train")
    shutil.copy(place, tmp_path / "alone.hdf5")
    assert TrajectoryDataset(tmp_path / "alone.hdf5").n_trajectories == 8  # which lies in no dataset
