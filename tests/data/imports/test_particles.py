"""Particles from files: the box of every frame, kinds, ways through the sides of a box, the way to a verdict."""

import json

import numpy as np
import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import read_final_states
from physinv.data.importing import Choices, import_trajectories
from physinv.evaluation.evaluate import check_predictive, evaluate
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget

FRAMES, COUNT, SIDE = 60, 5, 4.0


def walk(dimension=3, seed=0):
    """Steps of particles in a box that breathes by 2 %: unwrapped coordinates in the box, and its side, by frame."""
    draw = np.random.default_rng(seed)
    s = draw.uniform(-0.5, 0.5, (1, COUNT, dimension)) + draw.normal(0, 0.05, (FRAMES, COUNT, dimension)).cumsum(0)
    side = SIDE * (1 + 0.02 * np.sin(np.arange(FRAMES)))
    return s, side


def wrapped(s, side):
    return (s - np.round(s)) * side[:, None, None]


def train_part(out):
    return TrajectoryDataset(out / "data" / "train")


def test_a_box_for_each_frame(tmp_path):
    s, side = walk()
    np.save(tmp_path / "r.npy", wrapped(s, side))
    np.save(tmp_path / "box.npy", np.stack([side, side, side, 0 * side, 0 * side, 0 * side], 1))
    out = tmp_path / "d"
    choices = Choices(dims="time,particle,component", box=str(tmp_path / "box.npy"), times="0.1", window=4)
    import_trajectories([tmp_path / "r.npy"], out, choices)
    data = train_part(out)
    layout = data.layout
    assert (layout.kind, layout.shape, layout.static) == ("particles", (COUNT, 4), ("species",))
    assert layout.box == pytest.approx(side.mean())
    x = data.trajectories().numpy()
    assert (x[..., 3] == 1).all()
    assert (np.abs(x[:, -1, :, :3]) <= layout.box / 2 * (1 + 1e-6)).all()  # the last state lies inside
    # Every window is a piece of the walk, whole boxes away from it, without a jump through a side.
    starts = np.argmin([[np.abs(np.sin(np.pi * (w[0, :, :3] / layout.box - u))).max() for u in s] for w in x], axis=1)
    for w, a in zip(x, starts, strict=True):
        shift = w[..., :3] / layout.box - s[a : a + 4]
        assert np.allclose(shift, np.round(shift[-1:]), atol=1e-5)


@pytest.mark.parametrize("box", ["4", "0.4"])
def test_a_box_that_positions_do_not_fit_is_told(tmp_path, box):
    s = np.random.default_rng(0).uniform(-0.5, 0.5, (FRAMES, 20, 3))
    np.save(tmp_path / "r.npy", SIDE * s)
    choices = Choices(dims="time,particle,component", box=box, times="0.1", window=4)
    import_trajectories([tmp_path / "r.npy"], tmp_path / "d", choices)
    notes = " ".join(json.loads((tmp_path / "d" / "dataset.json").read_text())["notes"])
    assert ("in a box of side 0.4, and count as having gone on through" in notes) == (box == "0.4")


def test_tilted_boxes_are_undone(tmp_path):
    s, _ = walk()
    sides, xy, xz, yz = np.array([4.1, 4.0, 3.9]), 0.05, -0.03, 0.02
    matrix = np.array([[sides[0], xy * sides[1], xz * sides[2]], [0, sides[1], yz * sides[2]], [0, 0, sides[2]]])
    r = (s - np.round(s)) @ matrix.T
    np.savez(tmp_path / "r.npz", position=r, box=[*sides, xy, xz, yz])
    out = tmp_path / "d"
    choices = Choices(variable="position", dims="time,particle,component", times="1", window=2, stride=1)
    import_trajectories([tmp_path / "r.npz"], out, choices)
    x, side = train_part(out).trajectories().numpy()[:, 0, :, :3], sides.mean()
    gaps = np.array([[np.abs(np.sin(np.pi * (w / side - u))).max() for u in s] for w in x])
    assert gaps.min(1).max() < 1e-5


@pytest.mark.parametrize("kind", ["gsd", "xyz"])
def test_files_of_simulations(kind, tmp_path):
    s, side = walk()
    r, path = wrapped(s, side), tmp_path / f"a.{kind}"
    if kind == "gsd":
        hoomd = pytest.importorskip("gsd.hoomd")
        with hoomd.open(path, "w") as file:
            for i in range(FRAMES):
                frame = hoomd.Frame()
                frame.configuration.step, frame.configuration.box = 10 * i, [side[i]] * 3 + [0] * 3
                frame.particles.N, frame.particles.position = COUNT, r[i]
                frame.particles.types, frame.particles.typeid = ["A", "B"], [0, 0, 0, 1, 1]
                file.append(frame)
    else:
        ase = pytest.importorskip("ase")
        from ase.io import write

        frames = [
            ase.Atoms("Ar3He2", positions=r[i], cell=[side[i]] * 3, pbc=True, info={"time": 10.0 * i})
            for i in range(FRAMES)
        ]
        write(path, frames, format="extxyz")
    import_trajectories([path], tmp_path / "d", Choices(window=3, stride=1))
    data = train_part(tmp_path / "d")
    assert data.layout.names == ("position", "species")
    assert data.layout.box == pytest.approx(side.mean(), rel=1e-6)
    assert data.times.tolist() == [0, 10, 20]
    kinds = data.states(0)[0, :, 3].tolist()
    assert kinds in ([1, 1, 1, -1, -1], [-1, -1, -1, 1, 1])
    assert float((data.states(0) - data.states(1)).abs().max()) < SIDE / 2


REFUSED = {
    "flat": ({"box": "4,4,9"}, "must be a cube within 10%"),
    "three kinds": ({}, "tells 3 kinds of particles apart"),
    "no box": ({"box": "nowhere"}, "`--box` must be a side, sides, a variable"),
    "season": ({"period": 3.0}, "are for vectors and fields, got particles"),
    "between": ({"resample": 0.5}, "`--resample` is for vectors and fields"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_gets_one_line(name, tmp_path):
    s, side = walk()
    told, words = REFUSED[name]
    more = {"species": [0, 1, 2, 0, 0]} if name == "three kinds" else {}
    np.savez(tmp_path / "r.npz", position=wrapped(s, side), **more)
    choices = Choices(**{"variable": "position", "dims": "time,particle,component", "times": "1", "window": 3, **told})
    with pytest.raises(ValueError, match=words):
        import_trajectories([tmp_path / "r.npz"], tmp_path / "d", choices)


def test_particles_train_reconstruct_and_evaluate(tmp_path):
    draw = np.random.default_rng(1)
    s = draw.uniform(-0.5, 0.5, (120, 1, COUNT, 2)) + draw.normal(0, 0.03, (120, 3, COUNT, 2)).cumsum(1)
    r = SIDE * (s - np.round(s))
    np.savez(tmp_path / "r.npz", position=r, t=[0.0, 1.0, 2.0], box=SIDE)
    dims = "sample,time,particle,component"
    import_trajectories([tmp_path / "r.npz"], tmp_path / "d", Choices(variable="position", dims=dims))
    splits = {part: TrajectoryDataset(tmp_path / "d" / "data" / part) for part in ("train", "valid", "test")}
    train_run(tmp_path / "run", splits["train"], splits["valid"], budget=Budget(steps=10))
    run = load_run(tmp_path / "run")
    reconstruct(run, splits["test"], tmp_path / "x.hdf5", SamplingPlan(samples=8, certify=2))
    rows = {row.metric: row for row in evaluate(tmp_path / "x.hdf5")}
    assert rows["crps"].value < rows["crps"].climatology / 2  # it knows where the particles ended

    # Positions alone are an observation; the same states, whole or not, have the same samples.
    np.save(tmp_path / "seen.npy", splits["test"].states(-1)[..., :2].numpy())
    seen = read_final_states([tmp_path / "seen.npy"], run.simulator.layout, 2.0)
    assert torch.equal(seen.states, splits["test"].states(-1))
    reconstruct(run, seen, tmp_path / "y.hdf5", SamplingPlan(samples=8))
    _, check = check_predictive(tmp_path / "y.hdf5")
    assert len(check.rows) == len(seen)
