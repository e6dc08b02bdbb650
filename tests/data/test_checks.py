"""What float32 cannot hold is said, in any unit, and nothing else is."""

import numpy as np
import pytest
import torch

from physinv.data.checks import (
    check_moving,
    check_sizes,
    few_warnings,
    number_warnings,
    precision_warnings,
    size_warnings,
)
from physinv.data.dataset import TrajectoryDataset
from physinv.data.process import other_parameters, process_of
from physinv.data.writer import TrajectoryWriter
from physinv.processes.layout import VectorLayout

TIMES = torch.linspace(0, 1, 6)


def written(folder, states):
    path = folder / "a.hdf5"
    layout = VectorLayout("level", states.shape[-1])
    with TrajectoryWriter(
        path, name="a", layout=layout, shape=states.shape[2:], times=TIMES, count=len(states)
    ) as writer:
        writer.write(states)
    return TrajectoryDataset(path)


@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15])
def test_noise_that_rounding_swallows_is_said(unit, tmp_path, generator):
    noise = 0.1 * torch.randn(20, 6, 1, generator=generator, dtype=torch.float64)
    (told,) = precision_warnings(written(tmp_path, unit * (1e7 + noise)))
    assert told.startswith("`level` has values up to ")
    assert "subtract a constant" in told
    assert precision_warnings(written(tmp_path, unit * (10 + noise))) == []


def test_only_data_in_which_nothing_moves_are_refused(tmp_path):
    still = torch.full((20, 6, 2), 3.0)
    data = written(tmp_path, still)
    assert precision_warnings(data) == [
        "`level` has values up to 3 that never change, as float32 rounds them to 3.6e-07; if they should change, "
        "subtract a constant."
    ]
    with pytest.raises(ValueError, match=r"`train` must hold .* the same state, 3, at all times of all 20 .*; choose"):
        check_moving(data, "train")
    still[-1, -1, 1] = 4.0  # one number at one time
    (tmp_path / "other").mkdir()
    check_moving(written(tmp_path / "other", still), "train")


def test_what_differs_between_trajectories_alone_is_no_rounding(tmp_path, generator):
    level = torch.randn(20, 1, 1, generator=generator).expand(20, 6, 1)
    assert precision_warnings(written(tmp_path, level)) == []


def test_splits_of_one_trajectory_are_named():
    (told,) = few_warnings({"train": range(5), "valid": range(1), "test": range(1)}, 6)
    assert told.startswith("a single trajectory for valid, test: 2 are the least")
    assert "--window 3 --split-by trajectory" in told
    assert "--window" not in few_warnings({"train": range(1)}, 3)[0]
    assert few_warnings({"train": range(2), "valid": range(2)}, 6) == []
    # windows of one recording are no trajectories that could be set aside whole
    (told,) = few_warnings({"valid": range(1)}, 6, cut=True)
    assert "`--window 3`" in told
    assert "--split-by" not in told
    assert "--valid 0.2" in few_warnings({"valid": range(1)}, 3, cut=True)[0]


@pytest.mark.parametrize("unit", [1e-40, 1e-22, 1e18, 1e30])
def test_sizes_whose_squares_float32_cannot_hold_are_refused(unit, tmp_path, generator):
    x = torch.rand(20, 6, 1, generator=generator)
    (told,) = size_warnings(written(tmp_path, unit * x))
    assert told.startswith(f"`level` has values up to {float((unit * x).max()):.3g}, and float32 holds")
    with pytest.raises(ValueError, match="`train` cannot be calculated with: `level` has values up to"):
        check_sizes(TrajectoryDataset(tmp_path / "a.hdf5"), "train")


@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15])
def test_other_sizes_are_fine(unit, tmp_path, generator):
    assert size_warnings(written(tmp_path, unit * torch.rand(20, 6, 1, generator=generator))) == []


def test_arrays_in_memory_are_of_the_process_that_is_made_of_them():
    """Names and sizes are tuples in memory and lists in files: the same parameters all the same."""
    data = TrajectoryDataset.from_arrays(np.random.default_rng(0).normal(size=(6, 2, 3)), times=[0.0, 1.0], names="y")
    assert other_parameters(data.config, process_of(data)) is None
    other = TrajectoryDataset.from_arrays(np.zeros((6, 2, 3)), times=[0.0, 1.0], names="z")
    assert other_parameters(other.config, process_of(data)) == "with `names` = ['z'], `sde` has ['y']"


@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15])
@pytest.mark.parametrize("missing", [-9999.0, 1e3])
def test_a_number_far_from_all_others_may_stand_for_a_missing_one(unit, missing, tmp_path, generator):
    states = torch.randn(20, 6, 2, generator=generator) * torch.tensor([1.0, 1e3])
    assert number_warnings(written(tmp_path, unit * states)) == []
    states[3, 2, 0] = missing
    (told,) = number_warnings(written(tmp_path, unit * states))
    assert told.startswith(f"number 0 of `level` is {unit * missing:.6g} somewhere, and lies between ")


def test_levels_that_are_switched_stand_for_themselves(tmp_path, generator):
    """Two values, and heavy tails, are no placeholders."""
    switched = (torch.rand(20, 6, 1, generator=generator) < 0.1) * 1e4
    assert number_warnings(written(tmp_path, switched)) == []
    heavy = torch.randn(300, 6, 1, generator=generator) / torch.rand(300, 6, 1, generator=generator)
    assert number_warnings(written(tmp_path, heavy)) == []


def test_positive_numbers_over_decades_have_a_logarithm(tmp_path, generator):
    """Uniform and exponential ones come near 0 too, and are better as they are."""
    normal, uniform = torch.randn(200, 6, 1, generator=generator), torch.rand(200, 6, 1, generator=generator)
    (told,) = number_warnings(written(tmp_path, (2.5 * normal).exp()))
    assert told.startswith("`level` is positive everywhere and spans ")
    assert "take its logarithm" in told
    for i, even in enumerate((uniform, -uniform.log(), -(2.5 * normal).exp(), 5 + normal)):
        (tmp_path / str(i)).mkdir()
        assert number_warnings(written(tmp_path / str(i), even)) == []


@pytest.mark.parametrize(("turn", "called"), [(2 * np.pi, "2 pi"), (360.0, "360")])
def test_an_angle_that_wraps_is_told(turn, called, tmp_path, generator):
    walk = 0.1 * torch.randn(50, 6, 1, generator=generator).cumsum(1) + torch.rand(50, 1, 1, generator=generator)
    (told,) = number_warnings(written(tmp_path, turn * (walk % 1 - 0.5)))
    assert told.startswith(f"`level` jumps by nearly {called} between neighbouring times")
    assert "sine and cosine" in told
    for i, other in enumerate((turn * walk, turn * torch.rand(50, 6, 1, generator=generator), 3 * turn * (walk % 1))):
        (tmp_path / str(i)).mkdir()
        assert number_warnings(written(tmp_path / str(i), other)) == []
