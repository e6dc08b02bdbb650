"""What it costs to compare trajectory files with their checksums while they are read, on the heat recipe.

python benchmarks/speed/verifying.py    seconds with checksums and without, and shares of training and reconstruction

Medians of CPU time on files in the cache of the disk, with and without in turn.  Training reads its data once into
memory, or streams windows; reconstruction reads first and last states.  Figures go to results/verifying.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, write

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.recipe import load_recipe
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget

BUDGET = 300.0  # seconds of training by default
WINDOWS = 16  # of an update of the default network on these fields


def seconds(what: Callable[[], object]) -> float:
    begun = time.process_time()
    what()
    return time.process_time() - begun


def both(what: Callable[[bool], object], repetitions: int) -> tuple[float, float]:
    """Medians of CPU time with checksums and without."""
    what(True)  # the file comes into the cache
    pairs = [(seconds(lambda: what(True)), seconds(lambda: what(False))) for _ in range(repetitions)]
    with_them, without = (statistics.median(column) for column in zip(*pairs, strict=True))
    return with_them, without


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    parser.add_argument("--repetitions", type=int, default=7, help="medians of these (default %(default)s)")
    parser.add_argument("--updates", type=int, default=40, help="updates that are timed (default %(default)s)")
    parser.add_argument("--observations", type=int, default=20, help="of the reconstruction (default %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures: dict[str, list[float]] = {}

    def tell(name: str, with_them: float, without: float, of: float) -> None:
        share = (with_them - without) / of
        figures.update({f"{name}: with": [with_them], f"{name}: without": [without], f"{name}: share": [share]})
        print(f"{name}: {with_them:.4f} s with checksums, {without:.4f} without: {share:.2%} of {of:.3g} s", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = load_recipe(ROOT / "datasets" / "heat" / "recipe.toml").plan()
        data = generate(plan, folder / "heat") / "data"
        train, valid = (TrajectoryDataset(data / split) for split in ("train", "valid"))

        # What is verified is part of: an update, and an observation of the default method.
        begun = time.process_time()
        train_run(folder / "run", train, valid, method="physinv", budget=Budget(steps=args.updates))
        update = (time.process_time() - begun) / args.updates
        sampling = SamplingPlan(samples=16, limit=args.observations)
        whole = seconds(lambda: reconstruct(folder / "run", data / "test", folder / "r.hdf5", sampling, overwrite=True))

        def load(verify: bool) -> None:
            for split in ("train", "valid"):
                TrajectoryDataset(data / split, verify=verify).load()

        def stream(verify: bool) -> None:
            generator = torch.Generator().manual_seed(0)
            windows = TrajectoryDataset(data / "train", verify=verify)
            for _ in range(args.updates):
                windows.__getitems__(torch.randint(len(windows), (WINDOWS,), generator=generator))

        def observe(verify: bool) -> None:
            test = TrajectoryDataset(data / "test", verify=verify)
            test.states(0, args.observations), test.states(-1, args.observations)

        tell("read into memory, of a training of 5 minutes", *both(load, args.repetitions), BUDGET)
        tell("windows streamed, of the updates they are for", *both(stream, args.repetitions), args.updates * update)
        tell("observations, of their reconstruction", *both(observe, args.repetitions), whole)
    write(args.out / "verifying.json", {"benchmark": "verifying"}, figures)


if __name__ == "__main__":
    main()
