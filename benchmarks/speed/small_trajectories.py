"""Many trajectories of one number each: generating, size on disk, and streaming, beside one chunk for each trajectory.

python benchmarks/speed/small_trajectories.py     --trajectories (default 100000), --repetitions.
                                                  To show: generated 5 times faster and in a tenth of the disk;
                                                  streamed at half the rate of memory or more

``one a chunk`` is the layout with one chunk for each trajectory and 500 trajectories in a file, written by the same
program; ``chunks`` is the layout of today.  Seconds are CPU time of the whole of ``generate``, statistics and checksums
included; ``simulating`` is the part that no layout changes.  Bytes are those of the files; ``raw`` is 4 for each stored
number, as which all are stored.  ``least`` is what no file without losses falls below on average, however it is packed:
the entropy of the noise, in units of what float32 tells apart.  A tenth of one chunk for each trajectory lies below it
where a trajectory has more than a few numbers, since that layout wastes the same 120 bytes on each.  ``packed`` are the
bytes of the numbers after zlib's level 1 on their bytes in order of significance, as HDF5 would pack chunks, and
``unpacking`` the windows a second that are unpacked so, before anything is done with them.

Windows are two neighbouring states, in batches of 512, per second of CPU time; the files lie in the system's cache.
``memory``: all data in one tensor.  ``streamed``: in the order in which a training reads them, through a pool that
holds half of the data at a time; left out where that is less than the eight chunks that a pool holds at least.
``at random``: in an order in which any window may follow any other, through a pool that holds all.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, told, write

from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header, read_header
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.storage import Files, Memory
from physinv.equations.sde import Linear
from physinv.processes.simulator import Simulator
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

BATCH, WINDOW, BATCHES = 512, 2, 2000
FEWEST, CHUNK = 8, 2**18  # chunks in a pool, at least, and bytes of a chunk, at most
CASES: dict[str, Simulator] = {
    "double well": DoubleWell(),
    "Ornstein-Uhlenbeck, first and last state": OrnsteinUhlenbeck(dim=1, steps=1),
}


def made(simulator: Simulator, count: int, folder: Path, per_shard: int | None) -> float:
    """CPU seconds to generate a dataset."""
    plan = DatasetPlan(simulator, {"train": count}, trajectories_per_shard=per_shard)
    begun = time.process_time()
    generate(plan, folder)
    return time.process_time() - begun


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(p.stat().st_size for p in (folder / "data").rglob("*.hdf5"))


def least(simulator: Simulator, states: Tensor) -> float:
    """Bytes of the entropy of a trajectory of one number: that of its first state, and from below that of each later
    one given the solver step before it, which is that of the noise of one step but for what the drift does within it.
    """
    x = states[:, 0, 0].double().sort().values
    m = round(len(x) ** 0.5)
    nats = float(((len(x) + 1) / (2 * m) * (x[2 * m :] - x[: -2 * m])).log().mean())  # Vasicek's estimate, by spacings
    for interval, t in zip(simulator.times.diff().tolist(), simulator.times[1:].tolist(), strict=True):
        dt = interval / simulator.substeps_in(interval)
        begun, ended = torch.tensor([t - dt], dtype=torch.float64), torch.tensor([t], dtype=torch.float64)
        one = torch.ones((1, 1), dtype=torch.float64)
        if isinstance(simulator, Linear):
            variance = simulator.variance(begun, ended, one)
        else:
            variance = dt * simulator.diffuse(simulator.diffuse(one, ended), ended)
        nats += 0.5 * math.log(2 * math.pi * math.e * float(variance))
    spacing = states[:, :, 0].double().abs().clamp(min=torch.finfo(torch.float32).tiny).log2().floor() - 23
    return (nats / math.log(2) - float(spacing.sum(1).mean())) / 8


def packed(states: Tensor) -> tuple[float, float]:
    """Bytes of a trajectory after zlib, chunk by chunk, and trajectories unpacked in a second of CPU time."""
    rows = CHUNK // (4 * states[0].numel())
    chunks = [zlib.compress(part.numpy().view(np.uint8).reshape(-1, 4).T.tobytes(), 1) for part in states.split(rows)]
    begun = time.process_time()
    for chunk, part in zip(chunks, states.split(rows), strict=True):
        found = np.frombuffer(zlib.decompress(chunk), np.uint8).reshape(4, -1).T.copy().view(np.float32)
        assert found.size == part.numel()
    return sum(map(len, chunks)) / len(states), len(states) / (time.process_time() - begun)


def rate(storage: Memory | Files, order: Iterable[Tensor], starts: int) -> float:
    """Windows per second of CPU time, reading included."""
    begun, count = time.process_time(), 0
    for items in itertools.islice((b for part in order for b in part.split(BATCH)), BATCHES):
        count += len(storage.windows(items // starts, items % starts, WINDOW))
    return count / (time.process_time() - begun)


def once(simulator: Simulator, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as tmp:
        new, old = Path(tmp) / "new", Path(tmp) / "old"
        begun = time.process_time()
        states = simulator.simulate(count, generator=torch.Generator().manual_seed(0))
        out = {"simulating, seconds": time.process_time() - begun}
        out["chunks, seconds"] = made(simulator, count, new, None)
        with mock.patch.object(Header, "trajectories_per_chunk", 1):
            out["one a chunk, seconds"] = made(simulator, count, old, 500)
        out |= {"chunks, bytes each": size(new) / count, "one a chunk, bytes each": size(old) / count}
        out["raw, bytes each"] = 4.0 * len(simulator.times) * simulator.shape[0]
        out["least, bytes each"] = least(simulator, states)
        out["packed, bytes each"], unpacked = packed(states)
        out["unpacking, windows a second"] = unpacked * (len(simulator.times) - WINDOW + 1)
        out["seconds, ratio"] = out["one a chunk, seconds"] / out["chunks, seconds"]
        for kind in ("chunks", "packed", "least"):
            out[f"bytes, one a chunk over {kind}"] = out["one a chunk, bytes each"] / out[f"{kind}, bytes each"]

        # streaming, each way with its own order; the first pass over memory warms up
        paths = sorted((new / "data" / "train").glob("*.hdf5"))
        headers, starts = [read_header(p) for p in paths], len(simulator.times) - WINDOW + 1
        held = Memory(TrajectoryDataset(paths).load().trajectories())
        generator = torch.Generator().manual_seed(1)
        order = [torch.randperm(count * starts, generator=generator)]
        nbytes = held.states.numel() * 4
        streams = {"at random": Files(paths, headers, pool=2 * nbytes)}
        if nbytes // 2 >= FEWEST * CHUNK:
            streams["streamed"] = Files(paths, headers, pool=nbytes // 2)
        rate(held, order, starts)
        out["memory, windows a second"] = rate(held, order, starts)
        if "streamed" in streams:
            every = itertools.chain.from_iterable(
                streams["streamed"].parts(starts, generator=generator) for _ in itertools.count()
            )
            out["streamed, windows a second"] = rate(streams["streamed"], every, starts)
        rate(streams["at random"], order, starts)
        out["at random, windows a second"] = rate(streams["at random"], order, starts)
        for way in streams:
            out[f"{way}, of memory"] = out[f"{way}, windows a second"] / out["memory, windows a second"]
        return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, list[float]] = {}
    for name, simulator in CASES.items():
        for _ in range(args.repetitions):
            for key, value in once(simulator, args.trajectories).items():
                figures.setdefault(f"{name}: {key}", []).append(value)
        for key, values in figures.items():
            if key.startswith(name):
                print(f"{key:72s} {told(values)}", flush=True)
    head = {"benchmark": "small-trajectories", "trajectories": args.trajectories, "batch": BATCH, "window": WINDOW}
    write(args.out / "small-trajectories.json", head, figures)


if __name__ == "__main__":
    main()
