"""Peak memory of ``generate``, ``train`` on streamed data and ``reconstruct``, for three numbers of trajectories each.

python benchmarks/speed/memory.py     --sizes (default 14000 28000 56000).  To show: it does not grow with the data

Each verb runs as a process of its own, on the heat process (8 x 8, 9 stored times: 2.3 KiB a trajectory, 256 bytes an
observation).  Training has ``memory = 1e-6``, so that everything is streamed, and takes 20 updates, since its memory
does not depend on how many there are.  ``reconstruct`` takes the last states of as many test trajectories as were
trained on, a sample of two solver steps each.  What is simulated at once is a file at most, and files of more than
10,000 trajectories in all hold up to 7281 of these: 7000 of each of the default sizes.  Figures are the largest
resident sets in MB, and by what each grows for a MB of data more, between the two largest sizes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, write


def peak(*words: str | Path) -> float:
    """Largest resident set in MB of a verb that runs as a process of its own."""
    command = [sys.executable, "-m", "physinv", *map(str, words)]
    silent = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, silent, stream) for stream in (1, 2)]
    process = os.posix_spawn(sys.executable, command, {**os.environ, "OMP_NUM_THREADS": "1"}, file_actions=actions)
    _, status, used = os.wait4(process, 0)
    os.close(silent)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return used.ru_maxrss * (1024 if sys.platform != "darwin" else 1) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[14000, 28000, 56000])
    parser.add_argument("--set", nargs="*", default=["size=8", "steps=8"], help="parameters of the process")
    parser.add_argument("--process", default="heat")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    chosen = [word for value in args.set for word in ("--set", value)]
    figures: dict[str, list[float]] = {}
    verbs = ("generate", "train, streamed", "reconstruct")
    for count in args.sizes:
        found = {}
        with tempfile.TemporaryDirectory() as tmp:
            data, run, out = Path(tmp) / args.process, Path(tmp) / "run", Path(tmp) / "r.hdf5"
            counts = ("--train", str(count), "--valid", "100", "--test", str(count))
            found["generate"] = peak("generate", args.process, "--out", tmp, *counts, *chosen)
            limits = ("--steps", "20", "--set", "memory=1e-6")
            found["train, streamed"] = peak("train", data, "--out", run, *limits)
            test = ("--data", data / "data" / "test", "--samples", "1")
            found["reconstruct"] = peak("reconstruct", run, *test, "--out", out, "--steps", "2")
            found["data"] = sum(p.stat().st_size for p in (data / "data").rglob("*.hdf5")) / 1e6
        for key, value in found.items():
            figures[f"{key}: {count}"] = [value]
            print(f"{count:6d} trajectories  {key:20s} {value:8.0f} MB", flush=True)
    if len(args.sizes) > 1:
        last, first = args.sizes[-1], args.sizes[-2]
        grown = {key: figures[f"{key}: {last}"][0] - figures[f"{key}: {first}"][0] for key in (*verbs, "data")}
        for key in verbs:
            figures[f"{key}: for a MB of data more"] = [grown[key] / grown["data"]]
            print(f"{key:20s} {grown[key] / grown['data']:6.3f} MB for a MB of data more", flush=True)
    torch.set_num_threads(1)
    head = {
        "benchmark": "memory",
        "process": args.process,
        "trajectories": args.sizes,
        "unit": "MB, largest resident set",
    }
    write(args.out / "memory.json", head, figures)


if __name__ == "__main__":
    main()
