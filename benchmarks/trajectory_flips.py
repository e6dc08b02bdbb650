"""How many single bits of a trajectory file can flip and change what is read without a word.

python benchmarks/trajectory_flips.py --flips 200    for a file of heat and one of the double well

Each flip is in a fresh copy, at a bit drawn anew.  It is found if the file is refused, harmless if all that is read is
as it was, silent if it is not.  Figures go to results/trajectory-flips.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
from common import ROOT, write

from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import read_header
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.processes.simulator import Simulator
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell

FILES: dict[str, tuple[Simulator, int]] = {"heat": (Heat(), 50), "double well": (DoubleWell(), 500)}


def content(path: Path) -> str:
    """A digest of everything that a reader is told."""
    header = read_header(path)
    told = [header.name, repr(header.layout), header.times, header.parameters, header.config]
    total = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for block in TrajectoryDataset(path).blocks():
        total.update(block.numpy())
    return total.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200, help="flips in each file (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the bits (default %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    draw, figures = np.random.default_rng(args.seed), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        for name, (simulator, count) in FILES.items():
            plan = DatasetPlan(simulator, {"train": count})
            source = generate(plan, Path(folder) / name) / "data" / "train" / plan.shards[0].file
            whole, expected = source.read_bytes(), content(source)
            found = silent = 0
            for at in draw.integers(8 * len(whole), size=args.flips):
                changed = bytearray(whole)
                changed[at // 8] ^= 1 << int(at % 8)
                source.write_bytes(changed)
                try:
                    silent += content(source) != expected
                except ValueError:
                    found += 1
            figures |= {f"{name}: found": [found], f"{name}: silent": [silent]}
            harmless = args.flips - found - silent
            print(f"{name}, {len(whole)} bytes: {found} found, {harmless} harmless, {silent} silent", flush=True)
    write(
        args.out / "trajectory-flips.json",
        {"benchmark": "trajectory flips", "flips": args.flips, "seed": args.seed},
        figures,
    )


if __name__ == "__main__":
    main()
