"""Time and memory of conditional diffusion on fields of 256 x 256 by codes of 64 x 64, beside fields of either size.

python benchmarks/speed/latent.py     results/latent.json.  To show: as fields of 64 x 64

Each case trains for a few updates of 8 windows on fields of one power law and draws, in a process of its own, whose
largest resident set counts above that of a process that holds the same data and does nothing.  Times are of the
processor: of an update beyond the first one, and of a draw.  Of the updates by codes half are the code's, whose two
networks see half as many windows, and half are the diffusion's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, write

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.methods.latent import fit_latent
from physinv.methods.learned.conditional import fit_conditional_diffusion
from physinv.methods.problem import Problem
from physinv.training.budget import Budget
from simulators.fields.heat import Heat

CASES = {"256 x 256 by codes": (256, True), "64 x 64": (64, False), "256 x 256": (256, False)}
SETTINGS = Settings(width=16, batch=8, validate_windows=8, validate_every=1000)
ROWS, DRAWS = 32, 1


def problem_of(size: int, updates: int) -> Problem:
    """Fields of a power law, and what heat leaves of them."""
    process, g = Heat(size=size, steps=1), torch.Generator().manual_seed(0)
    data = []
    for n in (ROWS, 8):
        x = process.simulate(n, process.times, generator=g)
        header = Header("heat", process.layout, process.shape, tuple(process.times.tolist()), n, {}, {})
        data.append(TrajectoryDataset.of_states(x, header, Path("heat")))
    return Problem(process, *data, settings=SETTINGS, budget=Budget(steps=updates))


def spent(name: str, updates: int) -> dict[str, float]:
    """What a case takes, in this process."""
    size, coded = CASES[name]

    def fitted(count: int) -> tuple[float, object]:
        problem, begun = problem_of(size, count), time.process_time()
        answer = fit_latent(problem, factor=4, share=0.5) if coded else fit_conditional_diffusion(problem)
        return time.process_time() - begun, answer

    torch.set_num_threads(1)
    problem = problem_of(size, 1)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    both = 2 if coded else 1
    fitted(both)  # what the first run of a process takes besides
    (first, _), (more, answer) = fitted(both), fitted(both * (1 + updates))
    begun = time.process_time()
    answer.sample(problem.valid.states(-1)[:1], DRAWS, generator=torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    drawn = (time.process_time() - begun) / DRAWS
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds an update": (more - first) / (both * updates), "seconds a draw": drawn, "MB": used * unit / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--case", choices=CASES, help="one case, in this process, as a line of JSON")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(spent(args.case, args.updates)))
        return
    figures: dict[str, list[float]] = {}
    for name in CASES:
        with tempfile.TemporaryFile() as told:
            command = [sys.executable, __file__, "--case", name, "--updates", str(args.updates)]
            actions = [(os.POSIX_SPAWN_DUP2, told.fileno(), 1)]
            done = os.posix_spawn(sys.executable, command, {**os.environ, "OMP_NUM_THREADS": "1"}, file_actions=actions)
            if os.waitpid(done, 0)[1]:
                raise SystemExit(f"{name} failed")
            told.seek(0)
            found = json.loads(told.read())
        figures |= {f"{name}: {key}": [value] for key, value in found.items()}
        print(name, {key: round(value, 3) for key, value in found.items()}, flush=True)
    torch.set_num_threads(1)
    write(args.out / "latent.json", {"benchmark": "latent", "updates": args.updates}, figures)


if __name__ == "__main__":
    main()
