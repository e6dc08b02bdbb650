"""Measured recordings, tested at other places in time: is the coverage of one test block chance?

    python benchmarks/recording_places.py FOLDER                                   # furnace and bar
    python benchmarks/recording_places.py FOLDER --only sst.mnmean.nc --skip 0 0.1

A test block of a short recording is worth a few independent windows, and holds what it happens to hold.  So each file
of `recorded_files.py` is imported again without its beginning (`--skip`, shares of its times), which moves all blocks,
and each import is judged twice: on its test blocks, and on its validation blocks with the test blocks for validation.
One line is printed for each: how many independent windows the tests are worth, and the figures of
`recording_spread.py`; then the means over all places, and the standard deviation of the coverage from place to place.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import tempfile
from pathlib import Path

import numpy as np
from common import write
from recorded_files import FILES, File, command
from recording_spread import judged

from physinv.data.dataset import TrajectoryDataset
from physinv.data.imports.windows import independent
from physinv.data.sources.read import open_source

MEASURED = ("FurnaceHeating.mat", "albar.csv")


def without_beginning(path: Path, share: float, out: Path) -> None:
    """Write a file without the first of its times."""
    whole = open_source(path)
    space = {str(d) for d in whole.dims if d in whole.variables and d != "time"}
    along = max((d for d in whole.dims if d not in space), key=lambda d: whole.sizes[d])
    part = whole.isel({along: slice(round(share * whole.sizes[along]), None)})
    for v in (part, *part.variables.values()):
        v.attrs = {k: a for k, a in v.attrs.items() if isinstance(a, str) and k in ("units", "calendar")}
    part.to_netcdf(out, engine="h5netcdf")


def places(folder: Path, file: File, share: float) -> list[dict[str, float]]:
    """Figures of a file without its beginning: on its test blocks, and on its validation blocks."""
    with tempfile.TemporaryDirectory() as tmp:
        cut = Path(tmp) / "cut.nc"
        without_beginning(folder / file.names, share, cut)
        code, said = command("import", str(cut), *shlex.split(file.options), "--out", f"{tmp}/data")
        if code:
            raise SystemExit(f"{file.row}: {said[-1]}")
        data = {s: TrajectoryDataset(f"{tmp}/data/data/{s}").load() for s in ("train", "valid", "test")}
        turned = {**data, "valid": data["test"], "test": data["valid"]}
        worth = [independent(d["test"].n_trajectories, d["test"].config) for d in (data, turned)]
        return [{"worth": w, **judged(d, file.steps, 0)} for w, d in zip(worth, (data, turned), strict=True)]


def main() -> None:
    """Read the command line, print a line for each place, and the means for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the files")
    parser.add_argument("--only", nargs="+", default=list(MEASURED), help="names of files, or of rows")
    parser.add_argument("--skip", type=float, nargs="+", default=[0.0, 0.06, 0.12, 0.18], help="shares left out")
    parser.add_argument("--out", type=Path, help="JSON to write, which keeps places that are not tested again")
    args = parser.parse_args()
    old = json.loads(args.out.read_text("utf-8")) if args.out and args.out.exists() else {}
    every: dict[str, list[float]] = dict(old.get("figures", {}))
    for file in [f for f in FILES if not {f.names, f.row}.isdisjoint(args.only)]:
        rows = []
        for share in args.skip:
            for found, where in zip(places(args.folder, file, share), ("tests", "validation"), strict=True):
                rows.append(found)
                told = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
                print(f"{file.row}, without {share:g}, {where}: {told}", flush=True)
                every |= {f"{file.row}; {share:g} {where}; {name}": [value] for name, value in found.items()}
        means = {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}
        means["deviation of coverage"] = float(np.std([row["coverage"] for row in rows], ddof=1))
        print(f"{file.row}, mean of {len(rows)}: " + ", ".join(f"{k} {v:.3f}" for k, v in means.items()), flush=True)
        if args.out:
            write(args.out, {"benchmark": "recording-places", "seeds": [0]}, every)


if __name__ == "__main__":
    main()
