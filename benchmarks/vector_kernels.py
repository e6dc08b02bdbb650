"""Jump kernels of vectors by themselves: log likelihood of new pairs, and CRPS of draws along each grid.

    python benchmarks/vector_kernels.py van-der-pol lorenz-63                 as they are
    python benchmarks/vector_kernels.py van-der-pol --components 4 --every 2560     as they were before

Kernels of the processes of stranger_processes.py are trained for the same CPU seconds.  The log likelihood, in nats for
each jump of the table, is the mean over new pairs whose earlier states lie within the training data: it tells kernels
apart that CRPS cannot, whose standard error is 1 to 2 % over 300 observations.
"""

from __future__ import annotations

import argparse
import time
from unittest import mock

import torch
from strangers import problem_of

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.evaluation.metrics import crps
from physinv.methods.own.jumps import VECTORS
from physinv.models.jumps.vector import COMPONENTS, fit_vector_jumps
from physinv.posterior.jumps import JumpPosterior
from physinv.training.budget import Budget
from physinv.training.jump_pairs import JumpPairs
from physinv.training.objectives.jumps import JUMPS
from physinv.training.updates import Updates

PAIRS, OBSERVATIONS, DRAWS = 20_000, 2000, 100


def measure(name: str, budget: float, components: int, every: int | None, seed: int) -> None:
    """Train the kernels of one process, and print their figures."""
    settings = Settings(batch=VECTORS.batch, rate=VECTORS.rate, windows=(2,))
    problem, _ = problem_of(name, seed, Budget(seconds=budget), settings)
    simulator, train, stream = problem.simulator, problem.train, seeds(seed).child("jumps")
    begun = time.process_time()
    kernel = fit_vector_jumps(simulator, train, settings, components=components, seed=stream)
    pairs = JumpPairs(kernel, simulator, train, problem.valid, fresh="states")
    updates, count = Updates(kernel, settings, settings.rate), 0
    with mock.patch.object(JumpPairs, "every", every or pairs.every):
        for batch in pairs.training(size=settings.batch, seeds=stream.child("training"), start=0):
            if (spent := (time.process_time() - begun) / budget) >= 1:
                break
            count += 1
            updates.step(JUMPS.loss(kernel, simulator, batch), progress=spent, count=count)

    kernel, generator = updates.average.eval(), torch.Generator().manual_seed(seed + 99)
    paths = simulator.simulate(PAIRS, train.times, generator=generator)
    start, logs = paths[:, 0], []
    inside = ((start > train.states(0).amin(0)) & (start < train.states(0).amax(0))).all(1)
    with torch.no_grad():
        for i, jump in enumerate(kernel.jumps):
            earlier, later, number = paths[:, jump.earlier], paths[:, jump.later], torch.full((PAIRS,), i)
            logs.append(float(kernel.log_prob(earlier, later, kernel.prepare(later, i), number)[inside].mean()))
        seen, truth = paths[:OBSERVATIONS, -1], start[:OBSERVATIONS]
        found = [
            float(crps(JumpPosterior(kernel, [grid]).sample(seen, DRAWS, generator=generator), truth))
            for grid in VECTORS.grids(len(train.times) - 1)
        ]
    shown = f"{name}, {components} Gaussians, rounds of {every or pairs.every} updates, seed {seed}: {count} updates"
    print(f"{shown}; log likelihood {_told(logs)}; CRPS by 1, 2, 4 jumps {_told(found)}", flush=True)


def _told(values: list[float]) -> str:
    """Numbers in a row."""
    return ", ".join(f"{v:.4f}" for v in values)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processes", nargs="+", help="names of stranger_processes.py, or module:Class")
    parser.add_argument("--budget", type=float, default=40.0, help="CPU seconds of training (default %(default)s)")
    parser.add_argument("--components", type=int, default=COMPONENTS, help="Gaussians (default %(default)s)")
    parser.add_argument("--every", type=int, help="updates that a round of trajectories serves (default: as it is)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.processes:
        for seed in args.seeds:
            measure(name, args.budget, args.components, args.every, seed)


if __name__ == "__main__":
    main()
