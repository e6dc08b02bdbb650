"""Write files that every later version must read: ``python tests/data/stored/make.py`` makes all of them again.

One dataset file of each kind of state, a run, and expected.json with numbers that are in them.  The run ``run`` and its
reconstruction were written before there were jump kernels, and stay as they are, as does the run ``particle-jumps``,
which was written when particles had one jump; ``jumps`` is made again.
The numbers about trajectories come from simulating them once more, so they do not depend on how files are read.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.processes.simulator import Simulator
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.particles.langevin import UnderdampedParticles
from simulators.vectors.double_well import DoubleWell

KINDS: dict[str, tuple[Simulator, int]] = {
    "vector": (DoubleWell(dimension=2, steps=4), 40),
    "field": (HeatConductivity(size=4, steps=2), 3),  # with a channel that never changes
    "particles": (UnderdampedParticles(particles=3, steps=2), 3),  # with species, which never change either
}
SETTINGS = Settings(width=4, depth=1, components=1, validate_windows=16, validate_every=1)
POINT = (0.3, -0.2)


def make(out: Path) -> None:
    """Write all files into the folder ``out``, in the place of those that are there."""
    out, expected = out.resolve(), dict[str, Any]()
    # Paths within the folder are relative, since files hold some of them.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for kind, (simulator, count) in KINDS.items():
            plan = DatasetPlan(simulator, {"train": count, "valid": count, "test": 3}, seed=7)
            data = generate(plan, Path(kind))
            shutil.copy(data / "data" / "train" / plan.shards[0].file, out / f"{kind}.hdf5")
            expected[kind] = _of_states(_simulated(plan), simulator)
        train, valid = (TrajectoryDataset(Path("vector") / "data" / s) for s in ("train", "valid"))
        train_run(
            out / "jumps", train, valid, settings=SETTINGS, budget=Budget(steps=8), method="physinv", overwrite=True
        )
    answer = load_run(out / "jumps").answer
    point = torch.tensor([POINT])
    expected["jumps"] = {"log_prob": answer.log_prob(point, point).item()}
    kept = json.loads((Path(__file__).resolve().parent / "expected.json").read_text("utf-8"))
    expected |= {key: kept[key] for key in ("run", "reconstruction", "particle-jumps")}
    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", "utf-8")


def _simulated(plan: DatasetPlan) -> Tensor:
    """The trajectories of the first file."""
    parts = [plan.simulator.simulate(n, generator=torch.Generator().manual_seed(s)) for n, s in plan.shards[0].chunks]
    return torch.cat(parts)


def _of_states(states: Tensor, simulator: Simulator) -> dict[str, Any]:
    """Numbers that change if any number of any state does."""
    weights = torch.linspace(0.5, 1.5, states.numel(), dtype=torch.float64).view(states.shape)
    return {
        "shape": list(states.shape),
        "times": simulator.times.tolist(),
        "weighted_sum": float((weights * states.double()).sum()),
        "last_state": states[-1, -1].flatten().tolist(),
    }


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
