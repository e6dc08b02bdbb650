"""How many updates one round of new trajectories should serve: loss of jump kernels for the same CPU time.

python benchmarks/speed/rounds.py   --process, --seconds, --seeds, --ways.  Prints a table, writes results/rounds.json.
                                    To show: rounds are worth what they cost, which overhead.py counts to the updates

Data as in the recipes.  Kernels train for a CPU time, with the time of the rounds in it, on rounds of ``rows``
trajectories, of which a part (a quarter where states are large, else all of it) is new after ``every`` updates; the
first line of a process is what physinv takes.  ``held out`` is the loss on trajectories that no training saw, ``on the
last round`` that on what the last updates saw: where the second is lower, the network has learned the round by heart.
One thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, write

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.methods.own.jumps import FIELDS, VECTORS
from physinv.processes.simulator import Simulator
from physinv.training.jump_pairs import JumpPairs
from physinv.training.objectives.jumps import JUMPS
from physinv.training.updates import Updates

HELD_OUT = 2**20  # numbers in the states of pairs that the loss is measured on
SPLITS = {"train": 2000, "valid": 200, "test": 1500}


class Rounds(JumpPairs):
    """Pairs of rounds that serve a given number of updates."""

    served = 0

    @property
    def every(self) -> int:
        return self.served


def trained(
    data: list[TrajectoryDataset], sde: Simulator, every: int, rows: int, seconds: float, seed: int
) -> tuple[float, float, float]:
    """Updates done in a CPU time, and the loss of the averaged weights held out and on the last round."""
    train, valid, test = data
    family = FIELDS if train.layout.space else VECTORS
    settings = Settings(batch=family.batch, rate=family.rate, windows=(2,))
    kernel = family.fit(sde, train, settings, seed=seed)
    pairs = Rounds(kernel, sde, train, valid, fresh="states", rows=rows)
    object.__setattr__(pairs, "served", every)
    order = pairs.training(size=family.batch, seeds=seeds(seed), start=0)
    updates, count = Updates(kernel, settings, family.rate), 0
    begun = time.process_time()
    while (progress := (time.process_time() - begun) / seconds) < 1:
        count += 1
        updates.step(JUMPS.loss(kernel, sde, next(order)), progress=progress, count=count)
    n = HELD_OUT // train.states(0, limit=1).numel()
    held = JumpPairs(kernel, sde, train, test).validation(count=min(n, 2**14), size=512, seeds=seeds(0))
    last = [next(order) for _ in range(len(held) * len(held[0].states) // family.batch // 4)]
    with torch.no_grad():
        losses = [statistics.fmean(float(JUMPS.loss(updates.average, sde, b)) for b in some) for some in (held, last)]
    return count, losses[0], losses[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--process", nargs="+", default=["double-well", "burgers"])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--ways", nargs="+", default=["0.5:1", "1:4"], help="trajectories and updates, in those of physinv"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, list[float]] = {}
    print(f"{'':14s}{'every':>7s}{'rows':>7s}{'updates':>9s}{'held out':>10s}{'on the last round':>19s}")
    for name in args.process:
        simulator = load_recipe(ROOT / "datasets" / name / "recipe.toml").plan().simulator
        with tempfile.TemporaryDirectory() as tmp:
            made = generate(DatasetPlan(simulator, SPLITS), Path(tmp) / "data")
            data = [TrajectoryDataset(made / "data" / split).load() for split in SPLITS]
        usual = JumpPairs(torch.nn.Identity(), simulator, *data[:2], fresh="states")  # only its sizes are asked
        shares = [tuple(map(float, way.split(":"))) for way in ["1:1", *args.ways]]
        ways = [(round(usual.every * updates), round(usual.most * rows)) for rows, updates in shares]
        for every, rows in ways:
            found = [trained(data, simulator, every, rows, args.seconds, seed) for seed in range(args.seeds)]
            updates, held, last = (list(column) for column in zip(*found, strict=True))
            key = f"{name}, {rows} trajectories for {every} updates"
            figures |= {f"{key}: updates": updates, f"{key}: held out": held, f"{key}: on the last round": last}
            means = [statistics.fmean(v) for v in (updates, held, last)]
            print(f"{name:14s}{every:7d}{rows:7d}{means[0]:9.0f}{means[1]:10.4f}{means[2]:19.4f}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    about = {"benchmark": "rounds", "seconds": args.seconds, "unit": "loss of jump kernels"}
    write(args.out / "rounds.json", about, figures)


if __name__ == "__main__":
    main()
