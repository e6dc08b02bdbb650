"""Flip single bits in the files of a run and of a reconstruction: is each told, or harmless?

    python benchmarks/bit_flips.py [--flips 200] [--seed 0]

For each kind of file so many bits at random places are flipped, one at a time, and the file is read as `reconstruct`,
`evaluate` and `info` read it.  A flip is *told* where reading refuses the file in one line, *harmless* where what is
read is the same as before, and *silent* where something else is read: of those there must be none.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from physinv.config.checksums import of_json
from physinv.config.files import load_tensors
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, read_info, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from simulators.vectors.double_well import DoubleWell

SMALL = {"width": 8, "depth": 1, "validate_every": 2, "validate_windows": 64}
"""Settings of a run of a few kilobytes."""


def tensors_in(path: Path) -> dict[str, Any]:
    """Return what a file of tensors holds."""
    tensors, header = load_tensors(path)
    return {**tensors, "header": of_json(header)}


def described(path: Path) -> dict[str, Any]:
    """Return what run.json says, with the model loaded that it describes."""
    load_run(path.parent)
    return {"info": of_json(read_info(path.parent))}


def reconstructed(path: Path) -> dict[str, Any]:
    """Return what a reconstruction holds."""
    found = read_reconstruction(path)
    arrays = {name: value for name, value in vars(found).items() if isinstance(value, torch.Tensor)}
    return {**arrays, "info": of_json(found.info), "stale": str(found.stale)}


def flip_bits(path: Path, read: Callable[[Path], dict[str, Any]], flips: int, seed: int) -> Counter[str]:
    """Flip bits of a file, one at a time, and count what becomes of them; the file is as before in the end."""
    whole, before, draw = path.read_bytes(), read(path), random.Random(seed)
    found: Counter[str] = Counter()
    for _ in range(flips):
        place, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        changed = bytearray(whole)
        changed[place] ^= bit
        path.write_bytes(changed)
        try:
            found["harmless" if _same(read(path), before) else "silent"] += 1
        except (ValueError, OSError) as error:
            found["told" if "\n" not in str(error) else "in several lines"] += 1
    path.write_bytes(whole)
    return found


def make(folder: Path) -> dict[str, tuple[Path, Callable[[Path], dict[str, Any]]]]:
    """Make a run with a model, a checkpoint and learned physics, and a reconstruction; return how each is read."""
    generate(DatasetPlan(DoubleWell(steps=8, horizon=0.5), {"train": 60, "valid": 20, "test": 6}, 0), folder / "data")
    train, valid, test = (TrajectoryDataset(folder / "data" / "data" / s) for s in ("train", "valid", "test"))
    for name in ("simulator", "learned"):
        settings = {**SMALL, "physics": name}
        train_run(folder / name, train, valid, method="physinv", settings=settings, budget=Budget(steps=4))
    reconstruct(folder / "simulator", test, folder / "r.hdf5", SamplingPlan(samples=4))
    return {
        "model": (folder / "simulator" / "model.safetensors", tensors_in),
        "checkpoint": (folder / "simulator" / "score" / "checkpoint.safetensors", tensors_in),
        "physics": (next((folder / "learned").rglob("physics.safetensors")), tensors_in),
        "summary": (folder / "simulator" / "summary.safetensors", tensors_in),
        "run.json": (folder / "simulator" / "run.json", described),
        "reconstruction": (folder / "r.hdf5", reconstructed),
    }


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two contents are the same, number for number."""
    if a.keys() != b.keys():
        return False
    return all(
        torch.equal(x, y) and x.dtype == y.dtype if isinstance(x, torch.Tensor) else x == y
        for x, y in ((a[name], b[name]) for name in a)
    )


def main() -> None:
    """Flip bits and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        for kind, (path, read) in make(Path(name)).items():
            found = flip_bits(path, read, options.flips, options.seed)
            print(f"{kind:16s} " + ", ".join(f"{count} {what}" for what, count in sorted(found.items())), flush=True)


if __name__ == "__main__":
    main()
