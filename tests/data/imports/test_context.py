"""Numbers along the times that are known become context: of vectors and of fields, of windows and of whole series."""

import numpy as np
import pytest
import torch
import xarray as xr

from physinv.data.dataset import TrajectoryDataset
from physinv.data.importing import Choices, import_trajectories
from physinv.data.imports.arrays import to_xarray

TIMES = np.arange(60.0)
HEATER = (TIMES % 20 < 10).astype(float)


def logged(folder):
    """A logger of two sensors and a heater, as csv."""
    path = folder / "log.csv"
    rows = [f"{t},{np.sin(t)},{np.cos(t)},{h}" for t, h in zip(TIMES, HEATER, strict=True)]
    path.write_text("\n".join(["time,a,b,heater", *rows]) + "\n")
    return path


def opened(source, out, **choices):
    import_trajectories([source], out, Choices(**choices))
    return TrajectoryDataset(out / "data" / "train")


def test_windows_know_the_heater_at_all_their_times(tmp_path):
    data = opened(logged(tmp_path), tmp_path / "d", context="heater", window=3, every=2, stride=1)
    assert data.layout.names == ("state", "heater_0", "heater_1", "heater_2")
    assert data.layout.static == data.layout.names[1:]
    x = data.trajectories()
    start = torch.arange(len(TIMES))[torch.isclose(x[0, 0, 0], torch.from_numpy(np.sin(TIMES)).float())]
    assert len(start) == 1  # the window is found by its first number
    at = start + 2 * torch.arange(3)
    assert torch.equal(x[0, 0, 2:], torch.from_numpy(HEATER).float()[at])
    back = to_xarray(data)
    assert set(back.data_vars) == {"a", "b", "heater_0", "heater_1", "heater_2"}
    assert back.heater_1.dims == ("sample",)


def test_fields_know_it_everywhere(tmp_path):
    u = np.random.default_rng(0).normal(size=(60, 4))
    source = xr.Dataset({"u": (("time", "x"), u), "heater": ("time", HEATER)}, {"time": TIMES, "x": np.arange(4.0)})
    data = opened(source, tmp_path / "d", context="heater", window=2, boundary="wall")
    x = data.trajectories()
    assert data.layout.static == ("heater_0", "heater_1")
    assert torch.equal(x[:, :, 1:], x[:, :1, 1:, :1].expand_as(x[:, :, 1:]))
    assert set(x[:, 0, 1, 0].tolist()) == {0.0, 1.0}


def test_a_number_for_each_trajectory_is_context_of_vectors_too(tmp_path):
    u, heater = np.random.default_rng(0).normal(size=(30, 5, 2)), np.arange(30.0)
    np.savez(tmp_path / "x.npz", T=u, t=np.arange(5.0), heater=heater)
    data = opened(tmp_path / "x.npz", tmp_path / "d", variable="T", dims="sample,time,component")
    assert (data.layout.names, data.layout.static) == (("T", "heater"), ("heater",))
    x = data.trajectories()
    found = [int(np.flatnonzero(np.isclose(u[:, 0, 0], float(one[0, 0]), atol=1e-6))[0]) for one in x]
    assert x[:, 0, 2].tolist() == [heater[i] for i in found]


def test_the_season_is_context_of_vectors_too(tmp_path):
    data = opened(logged(tmp_path), tmp_path / "d", variable="a,b", window=3, period=20.0)
    assert data.layout.static == ("phase_sine", "phase_cosine")
    x = data.trajectories()
    assert torch.allclose(x[:, 0, 2] ** 2 + x[:, 0, 3] ** 2, torch.ones(len(x)))


def test_context_is_interpolated_with_the_states(tmp_path):
    data = opened(logged(tmp_path), tmp_path / "d", context="heater", window=2, resample=0.5)
    assert set(data.trajectories()[:, 0, 2].tolist()) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize(
    ("name", "words"),
    [("heat", "has no variable `heat`"), ("u", "must vary along the times, and with samples at most, got the axes")],
)
def test_what_cannot_be_context_is_refused(name, words, tmp_path):
    u = np.random.default_rng(0).normal(size=(60, 4))
    source = xr.Dataset({"u": (("time", "x"), u), "v": (("time", "x"), u)}, {"time": TIMES, "x": np.arange(4.0)})
    with pytest.raises(ValueError, match=words):
        opened(source, tmp_path / "d", context=name, window=2)


@pytest.mark.parametrize("name", ["heate", "heat*"])  # a pattern stood for the first of what it meant
def test_context_that_is_not_there_names_its_own_option(name, tmp_path):
    with pytest.raises(ValueError, match=r"has no variable `heat.` \(`--context`\); did you mean `heater`\?"):
        opened(logged(tmp_path), tmp_path / "d", context=name, variable="a", window=3)
