"""Datasets: the same recipe gives the same bytes, whatever interrupted it; nothing is overwritten by accident."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
import yaml
from torch import Tensor

from physinv.config.seeds import Seeds, seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.inspect import inspect
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.processes import registry
from physinv.processes.layout import FieldLayout, StateLayout
from physinv.processes.parameters import build, describe
from physinv.processes.simulator import Simulator
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

torch.set_num_threads(1)

OU = OrnsteinUhlenbeck(dim=3, steps=10)
SPLITS = {"train": 60, "valid": 10, "test": 20}
CHUNK = 11 * 3 * 4 * 10  # bytes of ten trajectories: every file of 20 is made in two parts


@dataclass(frozen=True)
class Field(Simulator):
    """White noise that diffuses in no way: two channels on a grid, to have a field."""

    title = equation = "dx = dW"

    @property
    def times(self) -> Tensor:
        return torch.linspace(0, 1, 4, dtype=torch.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        return (2, 3, 4)

    @property
    def layout(self) -> StateLayout:
        return FieldLayout(("u", "v"), ("x", "y"), ((0.0, 1.0, 2.0), (0.0, 1.0, 2.0, 3.0)), "PERIODIC")

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        return torch.randn((batch, *self.shape), generator=generator, device=device, dtype=dtype)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def diffusion(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)


@dataclass(frozen=True)
class Exploding(Field):
    """Leaves the range of float32 within a step."""

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return 1e30 * x**3


def make(
    out: Path,
    simulator: Simulator = OU,
    splits: dict[str, int] = SPLITS,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Path:
    options = {"name": "ou", "trajectories_per_shard": 20, "chunk_bytes": CHUNK, **options}
    return generate(DatasetPlan(simulator, splits, **options), out, overwrite=overwrite, progress=progress)


def digests(out: Path) -> dict[str, str]:
    files = sorted(p for p in out.rglob("*") if p.is_file())
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as an uninterrupted run makes it."""
    return make(tmp_path_factory.mktemp("reference") / "ou")


class Killed(BaseException):
    """Stands in for a signal."""


def killer(at: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= at:
            raise Killed

    return progress


def test_files_and_what_is_in_them(reference: Path) -> None:
    assert list(digests(reference)) == [
        "data/test/ou_000.hdf5",
        "data/train/ou_000.hdf5",
        "data/train/ou_001.hdf5",
        "data/train/ou_002.hdf5",
        "data/valid/ou_000.hdf5",
        "dataset.json",
        "stats.yaml",
    ]
    for split, count in SPLITS.items():
        data = TrajectoryDataset(reference / "data" / split)
        assert (data.n_trajectories, data.shape, data.name) == (count, (3,), "ou")
        assert torch.equal(data.times, OU.times)
        assert data.layout == OU.layout
        assert data.config["simulator"] == "ou"
        assert build(OrnsteinUhlenbeck, data.config["parameters"]) == OU
        assert data.config["split"] == split


def test_dataset_json_lists_the_files(reference: Path) -> None:
    about = json.loads((reference / "dataset.json").read_text())
    assert about["config"]["parameters"] == describe(OU)
    assert about["config"]["splits"] == SPLITS
    found = digests(reference)
    for name, entry in about["files"].items():
        assert entry["sha256"] == found[name]
        assert entry["bytes"] == (reference / name).stat().st_size
        assert inspect(reference / name, verify=True).checksum is True
        assert inspect(reference / name).whole
    assert sum(e["trajectories"] for e in about["files"].values()) == sum(SPLITS.values())
    assert set(about["versions"]) >= {"physinv", "python", "torch", "h5py"}


def test_statistics_are_those_of_the_training_split(reference: Path) -> None:
    stats = yaml.safe_load((reference / "stats.yaml").read_text())
    states = TrajectoryDataset(reference / "data" / "train").trajectories().double()
    delta = states[:, 1:] - states[:, :-1]
    assert stats["mean"]["position"] == pytest.approx(float(states.mean()), rel=1e-12)
    assert stats["std"]["position"] == pytest.approx(float(states.std(unbiased=False)), rel=1e-12)
    assert stats["rms_delta"]["position"] == pytest.approx(float(delta.square().mean().sqrt()), rel=1e-12)


def test_stored_seeds_remake_the_trajectories(reference: Path) -> None:
    stored = json.loads((reference / "dataset.json").read_text())["seeds"]
    assert stored["train"][1] == [seeds(0).child("data", "train", 1, part).number for part in (0, 1)]
    with h5py.File(reference / "data/train/ou_001.hdf5") as file:
        assert file["physinv/seeds"][:].tolist() == [s for s in stored["train"][1] for _ in range(10)]
    again = OU.simulate(10, generator=torch.Generator().manual_seed(stored["train"][1][1]))
    assert torch.equal(TrajectoryDataset(reference / "data/train/ou_001.hdf5").trajectories()[10:], again)


def test_splits_and_parts_share_nothing(reference: Path) -> None:
    everything = torch.cat([TrajectoryDataset(reference / "data" / s).trajectories() for s in SPLITS])
    assert len(torch.unique(everything[:, 0], dim=0)) == 90
    assert len(torch.unique((everything[:, 1:] - everything[:, :-1]).flatten(0, 1), dim=0)) == 90 * 10


def test_again_to_the_byte(reference: Path, tmp_path: Path) -> None:
    assert digests(make(tmp_path / "ou")) == digests(reference)
    other = digests(make(tmp_path / "other", seed=1))
    assert not set(other.values()) & set(digests(reference).values())


@pytest.mark.parametrize("at", [0, 10, 20, 30, 60, 70, 90])
def test_interrupted_anywhere(reference: Path, tmp_path: Path, at: int) -> None:
    out = tmp_path / "ou"
    with pytest.raises(Killed):
        make(out, progress=killer(at))
    assert not (out / "dataset.json").exists()
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*.hdf5")}
    assert len(kept) == {0: 0, 10: 0, 20: 0, 30: 1, 60: 2, 70: 3, 90: 4}[at]  # a file closes after its last report
    assert out.exists() == bool(kept)  # no empty folders
    reports: list[tuple[int, int]] = []
    make(out, progress=lambda done, total: reports.append((done, total)))
    assert digests(out) == digests(reference)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept  # kept, not made again
    assert reports[0] == (sum(TrajectoryDataset(p).n_trajectories for p in kept), 90)
    assert reports[-1] == (90, 90)


def test_killed_in_the_middle_of_a_file(reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "ou"
    code = f"""
import os, signal
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
def progress(done, total):
    if done == 30:
        os.kill(os.getpid(), signal.SIGKILL)
simulator = OrnsteinUhlenbeck(dim=3, steps=10)
plan = DatasetPlan(simulator, {SPLITS}, 0, "ou", trajectories_per_shard=20, chunk_bytes={CHUNK})
generate(plan, {str(out)!r}, progress=progress)
"""
    assert subprocess.run([sys.executable, "-W", "error", "-c", code]).returncode == -signal.SIGKILL
    left = [name for name in digests(out) if name != ".physinv.lock"]
    assert left[0].startswith("data/train/.ou_001.hdf5.physinv-tmp-")
    assert left[1] == "data/train/ou_000.hdf5"
    assert len(left) == 2
    make(out)
    assert digests(out) == digests(reference)


def test_a_living_writer_is_not_disturbed(tmp_path: Path) -> None:
    out = tmp_path / "ou"
    (out / "data" / "train").mkdir(parents=True)
    code = (
        "import sys, pathlib; from physinv.config.outputs.temporary import temporary_path; "
        "p = temporary_path(pathlib.Path("
        "sys.argv[1])); p.touch(); print(p, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(out / "data" / "train" / "ou_000.hdf5")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        path = Path(other.stdout.readline().strip())
        assert path.exists()
        with pytest.raises(BlockingIOError, match=r"ou_000\.hdf5\.physinv-tmp-\S+ is being written by another"):
            make(out)
        other.stdin.close()
        other.wait(10)
    make(out)
    assert not path.exists()


def test_a_complete_dataset_is_not_touched(reference: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in reference.rglob("*")}
    with pytest.raises(FileExistsError, match=r"ou holds this dataset already, complete; add `--overwrite`"):
        make(reference)
    with pytest.raises(FileExistsError, match=r"another configuration \(`seed` is 0 there, 1 here\); take another"):
        make(reference, seed=1)
    with pytest.raises(FileExistsError, match=r"`parameters\.rate` is 0\.5 there, 0\.7 here"):
        make(reference, OrnsteinUhlenbeck(dim=3, steps=10, rate=0.7))
    assert {p: p.stat().st_mtime_ns for p in reference.rglob("*")} == before


def test_a_lost_file_is_made_again(reference: Path, tmp_path: Path) -> None:
    out = make(tmp_path / "ou")
    (out / "data" / "train" / "ou_001.hdf5").unlink()
    make(out)
    assert digests(out) == digests(reference)


def test_unfinished_data_of_another_configuration(tmp_path: Path) -> None:
    out = tmp_path / "ou"
    with pytest.raises(Killed):
        make(out, progress=killer(50))
    before = digests(out)
    for options, told in {
        "seed": ({"seed": 1}, r"`seed` is 0 there, 1 here"),
        "part": ({"chunk_bytes": CHUNK // 2}, r"`chunk` is 10 there, 5 here"),
        "size": ({"splits": {**SPLITS, "train": 20}}, r"`splits\.train` is 60 there, 20 here"),
        "type": ({"dtype": "float64"}, r"`dtype` is float32 there, float64 here"),
    }.values():
        with pytest.raises(FileExistsError, match=told):
            make(out, **options)
    (out / "data" / "test").mkdir()
    (out / "data" / "test" / "mine.hdf5").write_bytes(b"something else")
    with pytest.raises(FileExistsError, match=r"\(data.test.mine\.hdf5 is not part of what was asked for\)"):
        make(out)
    assert {k: v for k, v in digests(out).items() if "mine" not in k} == before


def test_overwriting_keeps_the_old_data_to_the_end(reference: Path, tmp_path: Path) -> None:
    out = make(tmp_path / "ou", seed=1, splits={"train": 100})
    (out / "README.md").write_text("a card")
    before = digests(out)
    for at in (30, 80):  # interrupted twice; the second run goes on where the first one stopped
        with pytest.raises(Killed):
            make(out, overwrite=True, progress=killer(at))
        assert {k: v for k, v in digests(out).items() if ".physinv-new" not in k} == before
    reports: list[int] = []
    make(out, overwrite=True, progress=lambda done, total: reports.append(done))
    assert reports[0] == 70
    assert digests(out) == {**digests(reference), "README.md": before["README.md"]}
    assert not list(out.glob(".physinv*"))


def test_overwriting_drops_what_another_overwriting_left(reference: Path, tmp_path: Path) -> None:
    out = make(tmp_path / "ou", seed=1)
    with pytest.raises(Killed):
        make(out, seed=2, overwrite=True, progress=killer(70))
    make(out, overwrite=True)
    assert digests(out) == digests(reference)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    out = tmp_path / "ou"
    with pytest.raises(Killed):
        make(out, progress=killer(50))
    path = out / "data" / "train" / "ou_000.hdf5"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"ou_000\.hdf5 is not a whole HDF5 file \(truncated file"):
        make(out)
    done = make(out, overwrite=True) / "dataset.json"
    done.write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json is damaged: delete it"):
        make(out)


def test_inspection_notices_a_changed_number(tmp_path: Path) -> None:
    path = make(tmp_path / "ou") / "data" / "train" / "ou_000.hdf5"
    with h5py.File(path, "r+") as file:
        file["t0_fields/position"][0, 0, 0] += 1
    assert "is not the file that dataset.json lists (sha256); copy or generate it" in inspect(path, verify=True).problem


def test_fields_and_double_precision(tmp_path: Path) -> None:
    out = make(tmp_path / "field", Field(), splits={"train": 3}, dtype="float64")
    again = Field().simulate(3, generator=seeds(0).child("data", "train", 0, 0).generator(), dtype=torch.float64)
    assert torch.equal(TrajectoryDataset(out / "data" / "train").trajectories(), again.float())
    assert set(yaml.safe_load((out / "stats.yaml").read_text())["std"]) == {"u", "v"}


def test_diverging_simulations_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^the solver step of Exploding, 0\.333, is too long: .* are infinite"):
        make(tmp_path / "x", Exploding())
    assert digests(tmp_path) == {}


def test_no_two_parts_share_a_seed_in_32_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5 + 2**32)
    assert torch.equal(torch.randn(3, generator=a), torch.randn(3, generator=b))  # why it matters
    monkeypatch.setattr(Seeds, "number", property(lambda self: hash(self.path) % 2**20 * 2**32))
    with pytest.raises(ValueError, match="`seed` must give every part of the data its own noise, 0 does not; take an"):
        make(tmp_path / "ou")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="Permission denied"):
        make(tmp_path / "ou")


def test_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("physinv.data.resume.shutil.disk_usage", lambda path: free)
    with pytest.raises(OSError, match=r"No space left on device: the data need .* kB, but only 1 kB are free"):
        make(tmp_path / "ou")
    assert digests(tmp_path) == {}


ROOT = Path(__file__).parents[2]
_SIZES = ("", "-2d", "-128", "-inversebench")  # what follows the name of the process in that of a folder


@pytest.mark.parametrize("path", sorted((ROOT / "datasets").glob("*/recipe.toml")), ids=lambda p: p.parent.name)
def test_our_recipes_make_data(path: Path, tmp_path: Path) -> None:
    """Every recipe names a registered simulator and parameters that it has, and a trajectory is finite."""
    points = entry_points()
    recipe = load_recipe(path)
    assert path.parent.name.removeprefix(recipe.simulator) in _SIZES, "a folder is named after its process"
    simulator = build(points[recipe.simulator], recipe.parameters)
    assert set(recipe.parameters) == set(describe(simulator)), "recipes spell out every parameter"
    plan = DatasetPlan(simulator, {"train": 1}, recipe.seed, recipe.simulator, dtype=recipe.dtype)
    out = generate(plan, tmp_path / "data")
    assert TrajectoryDataset(out / "data" / "train").n_trajectories == 1


def entry_points() -> dict[str, type[Simulator]]:
    """The simulators of this clone, registered or not."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][registry.SIMULATORS.group]
    return {name: getattr(importlib.import_module(v.split(":")[0]), v.split(":")[1]) for name, v in listed.items()}
