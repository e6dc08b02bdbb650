"""Files of an earlier version are read, and hold the numbers that were put into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from command_cases import run_code

from physinv.data.dataset import TrajectoryDataset
from physinv.data.inspect import inspect
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.runs.run import load_run

STORED = Path(__file__).parent / "stored"
MOST_BYTES = 300_000
DATA = "vector/data/test"  # where the reconstructed data were, relative to the folder that make.py works in


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((STORED / "expected.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("kind", ["vector", "field", "particles"])
def test_datasets(kind: str, expected: dict[str, Any]) -> None:
    data, numbers = TrajectoryDataset(STORED / f"{kind}.hdf5"), expected[kind]
    simulator = build(find(data.config["simulator"]), data.config["parameters"])
    assert data.layout == simulator.layout
    assert data.times.tolist() == numbers["times"]
    states = data.trajectories()
    assert list(states.shape) == numbers["shape"]
    # float32 numbers of size 1, simulated on another processor: 1e-6 each
    assert states[-1, -1].flatten().tolist() == pytest.approx(numbers["last_state"], abs=1e-5)
    weights = torch.linspace(0.5, 1.5, states.numel(), dtype=torch.float64).view(states.shape)
    assert float((weights * states.double()).sum()) == pytest.approx(numbers["weighted_sum"], abs=1e-6 * states.numel())
    assert inspect(STORED / f"{kind}.hdf5").whole


def test_runs(expected: dict[str, Any]) -> None:
    run = load_run(STORED / "run")
    with torch.no_grad():
        score = run.model(torch.tensor([[0.3, -0.2]]), torch.tensor([0.5]))
    assert score[0].tolist() == pytest.approx(expected["run"]["score"], rel=1e-4)


def test_runs_of_jump_kernels(expected: dict[str, Any]) -> None:
    answer = load_run(STORED / "jumps").answer
    point = torch.tensor([[0.3, -0.2]])
    assert answer.log_prob(point, point).item() == pytest.approx(expected["jumps"]["log_prob"], rel=1e-4)


def test_runs_of_particles_with_one_jump(expected: dict[str, Any]) -> None:
    """Later versions train more grids of jumps."""
    answer, numbers = load_run(STORED / "particle-jumps").answer, expected["particle-jumps"]
    final = torch.tensor([[[0.3, -0.2, 1.0], [-0.5, 0.4, 1.0], [0.9, 0.1, -1.0]]])
    found = dict(zip(("mean", "deviation"), answer.kernel.moments(final, 0), strict=True))
    for key, values in found.items():
        assert values.flatten().tolist() == pytest.approx(numbers[key], rel=1e-4)
    assert torch.equal(answer.mean(final)[..., :2], found["mean"])


def test_reconstructions(expected: dict[str, Any]) -> None:
    found, numbers = read_reconstruction(STORED / "reconstruction.hdf5"), expected["reconstruction"]
    for key in ("truth", "observation", "samples"):
        assert torch.equal(getattr(found, key)[0], torch.tensor(numbers[key]))
    assert (found.info["method"], found.info["answer"]) == ("physinv", "samples")  # version 2 says sde
    assert found.info["data"] == DATA
    with h5py.File(STORED / "reconstruction.hdf5") as file:
        assert file.attrs["data"] == DATA


def test_they_are_small() -> None:
    assert sum(p.stat().st_size for p in STORED.rglob("*") if p.is_file()) < MOST_BYTES


def test_the_script_makes_the_same_files(tmp_path: Path) -> None:
    done = run_code(STORED / "make.py", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()}
    stored = {p.relative_to(STORED) for p in STORED.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    older = {p for p in stored if p.parts[0] in ("run", "reconstruction.hdf5", "particle-jumps")}
    assert made == stored - older - {Path("make.py")}
