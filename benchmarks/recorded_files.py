"""Files that others wrote, on the way that the documentation teaches: import, train, reconstruct, evaluate.

    python benchmarks/recorded_files.py FOLDER                    # every file of the list that is there
    python benchmarks/recorded_files.py FOLDER --only sst.mnmean.nc
    python benchmarks/recorded_files.py --page                    # docs/results/recordings.md, from the record

Each file is imported by the command of the list below, in the words of `physinv import --help`; then `physinv train`,
`reconstruct` and `evaluate` run as a user would type them.  Observations alone are given to the run of the file
`TRAINED` by `physinv reconstruct RUN --observation FILE`.  The project holds none of these files; `FOLDER` does.  The
record keeps the rows of files that are not run again, and of each row the state of the code that it ran on, which the
page names where rows are of several.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import ROOT, write
from recordings import figures

from physinv.cli.app import main as physinv
from physinv.data.dataset import TrajectoryDataset
from physinv.posterior.reconstruction import read_reconstruction

PLACES = ROOT / "benchmarks" / "results" / "recording-places.json"
RECORD, PAGE = ROOT / "benchmarks" / "results" / "recorded-files.json", ROOT / "docs" / "results" / "recordings.md"
SLAB = "--variable TC1,TC2,TC3 --times 0.1 --window 7"
BAR = "--variable column_2,column_4,column_6,column_8,column_10 --times column_0 --context column_12"


@dataclass(frozen=True)
class File:
    """A file, and how it is imported.

    Args:
        names: Its name.
        what: What it holds, in a few words.
        options: Options of `physinv import`.
        steps: Updates of the network.
        training: More options of `physinv train`.
        draws: Options of `physinv reconstruct`.
        run: Name of another file, whose run is asked instead of one of its own.
        label: What tells it from another row of the same file.
    """

    names: str
    what: str
    options: str = ""
    steps: int = 400
    training: str = ""
    draws: str = "--samples 32 --limit 200"
    run: str = ""
    label: str = ""

    @property
    def row(self) -> str:
        """Name of its row."""
        return f"{self.names}, {self.label}" if self.label else self.names


TRAINED = "burgers_train_16.pt"
BURGERS = "--variable y --dims sample,time,x --times 0:1 --positions x=0:0.9375 --boundary periodic"
FILES = (
    File("FurnaceHeating.mat", "3 thermocouples in a steel slab, measured", f"{SLAB} --every 100", label="1 minute"),
    File("FurnaceHeating.mat", "3 thermocouples in a steel slab, measured", f"{SLAB} --every 50", label="30 s"),
    File("FurnaceHeating.mat", "3 thermocouples in a steel slab, measured", f"{SLAB} --every 10", label="6 s"),
    File("FurnaceHeating.mat", "3 thermocouples in a steel slab, measured", f"{SLAB} --stride 100", label="0.6 s"),
    File("albar.csv", "5 sensors along a bar, measured", f"{BAR} --every 10 --window 7 --stride 1", label="2 minutes"),
    File("albar.csv", "5 sensors along a bar, measured", f"{BAR} --every 5 --window 7 --stride 1", label="1 minute"),
    File(
        "sst.mnmean.nc",
        "sea surface temperature, measured, monthly",
        "--window 6 --period 365.25 --boundary lat=wall --valid 0.15 --test 0.2",
        200,
    ),
    File(
        "ostia_monthly.nc",
        "sea surface temperature of the tropics, measured, monthly",
        "--window 3 --period 8766 --boundary latitude=wall --valid 0.2 --test 0.25",
        200,
    ),
    File(TRAINED, "Burgers, 800 trajectories", BURGERS),
    File("burgers_test_16.pt", "Burgers, asked of the run of the row above", BURGERS, run=TRAINED),
    File("pysindy_kuramoto_sivishinky.mat", "Kuramoto-Sivashinsky", "--window 8 --boundary periodic", 100),
    File("deepxde_reaction.npz", "two species", "--variable Ca,Cb --dims time,x --window 8 --boundary wall", 200),
    File("deepxde_Lorenz.npz", "Lorenz, 25 uneven times", "--window 3 --resample 0.05"),
    File("pinns_NLS.mat", "complex field", "--window 8 --boundary periodic", 200),
    File("square_time_lat_lon.hdf5", "field on a square grid", "--dims sample,time,lat,lon --boundary wall", 100),
    File(
        "xyz_positions.npy",
        "500 particles in a box that changes",
        "--dims time,particle,component --times 0.1 --box {folder}/xyz_boxes.npy --window 6",
        10,
        "--set width=16 --set depth=2 --set validate_windows=4 --option draws=2",
        "--samples 8 --limit 4",
    ),
    File("LJsampletraj.gsd", "particles", "--window 6", 10),
    File("wrf_mercator.nc", "wind of a weather model, 4 times", "--variable U --window 2"),
)
OBSERVED = (
    ("obs_xT.npy", ""),
    ("obs_xT.nc", ""),
    ("obs_xT_pdebench.hdf5", ""),
    ("obs_one.hdf5", ""),
    ("obs_same_but_linspace_x.hdf5", ""),
    ("obs_finer_grid.hdf5", ""),
    ("obs_other_horizon.hdf5", ""),
    ("obs_xT.npy", "times 1000"),
    ("obs_xT.npy", "plus 2"),
    ("obs_xT.npy", "NaN in one pixel"),
)
"""Final states alone, as they are or changed."""

COLUMNS = ("crps", "ridge", "ridge with spread", "persistence", "climatology", "coverage", "outside 3 x range")


def command(*words: str) -> tuple[int, list[str]]:
    """Run a verb of physinv: its exit code, and the lines that it says."""
    said, shown = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
            code = physinv(list(words))
    except SystemExit as left:
        code = left.code
    return int(code or 0), [*said.getvalue().strip().splitlines(), *shown.getvalue().strip().splitlines()]


def first_failure(folder: Path, way: list[list[str]]) -> str:
    """Run verbs until one fails, and return what that one says; empty where all went well."""
    for words in way:
        code, said = command(*words)
        if code:
            return f"{words[0]}: {said[-1].removeprefix('physinv: ').replace(f'{folder}/', '')}"
    return ""


def once(folder: Path, file: File, runs: Path) -> dict[str, float] | str:
    """Figures of one file, or the line that says why it has none."""
    with tempfile.TemporaryDirectory() as tmp:
        data, out, run = f"{tmp}/data", f"{tmp}/x.hdf5", runs / (file.run or file.row)
        way = [["import", f"{folder}/{file.names}", *shlex.split(file.options.format(folder=folder)), "--out", data]]
        if not file.run:
            words = ["train", data, "--out", str(run), "--steps", str(file.steps), *shlex.split(file.training)]
            way.append(words)
        asked = f"{data}/data/{'train' if file.run else 'test'}"  # all are new to the run of another file
        way.append(["reconstruct", str(run), "--data", asked, "--out", out, *shlex.split(file.draws)])
        if failed := first_failure(folder, [*way, ["evaluate", out]]):
            return failed
        train, found = TrajectoryDataset(f"{data}/data/train"), read_reconstruction(Path(out))
        states = torch.cat([train.states(i) for i in (0, -1)])
        return {"observations": float(len(found.samples)), **figures(found, states)}


def observed(folder: Path, name: str, change: str, run: Path) -> dict[str, object]:
    """What a run makes of final states alone: exit code, lines, and what the predictive check finds."""
    with tempfile.TemporaryDirectory() as tmp:
        path, out = folder / name, f"{tmp}/x.hdf5"
        if change:
            states = np.load(path)
            path = Path(tmp) / name
            states = {"times 1000": 1000 * states, "plus 2": states + 2}.get(change, states)
            if "NaN" in change:
                states[0, 3] = np.nan
            np.save(path, states)
        code, said = command("reconstruct", str(run), "--observation", str(path), "--out", out, "--samples", "32")
        lines = [line.removeprefix("physinv: ").replace(f"{path.parent}/", "") for line in said]
        told = [line for line in lines if not line.startswith(("distance", "reconstruct"))]
        checked = command("evaluate", out)[1][-1:] if code == 0 else []
        return {"code": code, "said": told, "check": checked}


def state_of_code() -> str:
    """Name of the folder `physinv/` as git has it, with a plus where files differ from that."""
    told = [("rev-parse", "--short", "HEAD:physinv"), ("status", "--porcelain", "physinv")]
    tree, changed = (subprocess.run(["git", *t], cwd=ROOT, capture_output=True, text=True).stdout for t in told)
    return tree.strip() + "+" * bool(changed.strip())


def states_of_rows(code: dict[str, str], done: list[str]) -> str:
    """Which rows ran on which state of the code, in a sentence."""
    rows: dict[str, list[str]] = {}
    for row in done:
        rows.setdefault(code.get(row, "an earlier one"), []).append(row)
    if len(rows) == 1:
        return f"All rows ran on one state of `physinv/`, `{next(iter(rows))}` in git."
    told = "; ".join(f"{state}: " + ", ".join(f"`{row}`" for row in which) for state, which in rows.items())
    return f"Rows ran on several states of `physinv/` in git. {told}."


def page(record: dict[str, object]) -> str:
    """The page of the documentation."""
    rows = []
    for file in FILES:
        values = {
            k.removeprefix(f"{file.row}: "): v[0] for k, v in record["figures"].items() if k.startswith(f"{file.row}: ")
        }
        cells = [f"{values[c]:.3g}" if c in values else "" for c in ("observations", *COLUMNS)]
        if values:
            rows.append(f"| `{file.row}` | {file.what} | {' | '.join(cells)} |")
    done = {*record["refused"], *(key.rpartition(": ")[0] for key in record["figures"])}
    refused = [f"- `{name}`: {line}" for name, line in record["refused"].items()]
    ways = [
        f"    physinv import {f.names} {f.options.replace('{folder}/', '')} --out data" for f in FILES if f.row in done
    ]
    seen = [
        f"| `{name}` | {'posterior' if told['code'] == 0 else 'refused'} | {' '.join(told['said'])} | "
        f"{' '.join(told['check']).partition('. ')[0]} |"
        for name, told in record.get("observed", {}).items()
    ]
    heads = ["file", "what", "test windows", "CRPS", *COLUMNS[1:]]
    lines = [
        "# Files that others wrote",
        "",
        "Each file is imported by the command below, and then trained, reconstructed and evaluated without options but",
        "the number of updates (10 to 400). CRPS in the unit of the file, beside what costs nothing: ridge regression",
        "(its absolute error, and as a law with the spread of its errors), persistence, and climatology. Coverage is",
        "that of intervals of 90 %. Written by `benchmarks/recorded_files.py --page`.",
        "",
        "In the windows of the bar that last two minutes two sensors fail within the test block: one shows 70 C for",
        "50 s, one comes loose, falls by 2 K and is put back. Nothing like that is in the training block, and",
        "no honest interval holds it. Of the two species and of the complex field there is one nearly deterministic",
        "course each: windows late in it differ from all that training saw, and errors grow to three times those on",
        "validation data. How fast is forecast within the training block, and intervals are widened by that, those of",
        "ridge regression with spread, too (`benchmarks/recorded_courses.py`). Of the tropical sea 24 training windows",
        "are too few for such a forecast, and its tests are worth three independent windows.",
        "`reconstruct` warns where validation data are worth fewer than eight independent trajectories. The",
        "climatology of the sea and of the bar is that of the season, and of the heater.",
        "",
        *(_OF_PARTICLES if "xyz_positions.npy" in done else []),
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *rows,
        "",
        *(places(json.loads(PLACES.read_text("utf-8"))) if PLACES.exists() else []),
        "```console",
        *(f"$ {way.strip()}" for way in dict.fromkeys(ways)),
        "```",
        "",
        *(["What is refused, and the line that says so:", "", *refused, ""] if refused else []),
        *(["## Final states alone", "", *_OF_OBSERVED, *seen, ""] if seen else []),
        states_of_rows(record.get("code", {}), [f.row for f in FILES if f.row in done]),
        f"Measured on {record['hardware']}.",
        "",
    ]
    return "\n".join(lines)


def places(record: dict[str, object]) -> list[str]:
    """What `recording_places.py` found, as a table."""
    figures, rows = record["figures"], []
    for row in dict.fromkeys(key.partition("; ")[0] for key in figures):
        worth, held, linear, crps = (
            np.array([v[0] for key, v in figures.items() if key.startswith(f"{row}; ") and key.endswith(f"; {name}")])
            for name in ("worth", "coverage", "coverage of linear", "crps over linear")
        )
        rows.append(
            f"| `{row}` | {len(held)} | {worth.mean():.1f} | {held.mean():.3f} | {held.std(ddof=1):.3f} | "
            f"{linear.mean():.3f} | {np.exp(np.log(crps).mean()):.3f} | {held[0]:.3f} | {linear[0]:.3f} |"
        )
    return [*_OF_PLACES, *rows, ""]


_OF_PLACES = [
    "A test block holds a few independent windows, and its coverage is chance as far as this table says, in which the",
    "same files are tested at other places in time (`benchmarks/recording_places.py`). The last two columns are of the",
    "first place, which is the test block of the table above: where ridge with spread covers far more there than on",
    "average, the block is a quiet one.",
    "",
    "| file | places | independent windows of a test | coverage, mean | deviation from place to place | of ridge with "
    "spread | CRPS over that of ridge with spread | coverage of the first place | of ridge with spread there |",
    "|---|---|---|---|---|---|---|---|---|",
]
_OF_PARTICLES = [
    "Of 500 particles a draw takes long: their network is narrow, and few are drawn (`--set width=16 --set depth=2",
    "--set validate_windows=4 --option draws=2` of `train`, `--samples 8 --limit 4` of `reconstruct`).",
    "",
]
_OF_OBSERVED = [
    f"Given to the run of `{TRAINED}` by `physinv reconstruct RUN --observation FILE`: what that says beside the",
    "distances, and the last sentence of `physinv evaluate`.",
    "",
    "| file | | what is said | predictive check |",
    "|---|---|---|---|",
]


def main() -> None:
    """Read the command line, run the files that are there, and write the record or the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder with the files")
    parser.add_argument("--only", nargs="+", default=[], help="names of files, or of rows")
    parser.add_argument("--page", action="store_true", help="write the page of the documentation from the record")
    args = parser.parse_args()
    old = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {"figures": {}, "refused": {}}
    every, refused, seen = dict(old["figures"]), dict(old["refused"]), dict(old.get("observed", {}))
    code = dict(old.get("code", {}))
    head = {"benchmark": "recorded-files", "seeds": [0], "refused": refused, "observed": seen, "code": code}
    state = state_of_code()
    with tempfile.TemporaryDirectory() as tmp:
        runs = Path(tmp)
        for file in FILES if args.folder else ():
            if (args.only and not {file.names, file.row} & {*args.only}) or not (args.folder / file.names).exists():
                continue
            found = once(args.folder, file, runs)
            every = {k: v for k, v in every.items() if not k.startswith(f"{file.row}: ")}
            refused.pop(file.row, None)
            code[file.row] = state
            if isinstance(found, str):
                refused[file.row] = found
                print(f"{file.row}: {found}", flush=True)
            else:
                every |= {f"{file.row}: {name}": [value] for name, value in found.items()}
                print(f"{file.row}: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()), flush=True)
            write(RECORD, head, every)
        for name, change in OBSERVED if (runs / TRAINED / "model.safetensors").exists() else ():
            told = seen[f"{name}, {change}" if change else name] = observed(args.folder, name, change, runs / TRAINED)
            print(f"{name} {change}: {told}", flush=True)
            write(RECORD, head, every)
    if args.page:
        PAGE.write_text(page(json.loads(RECORD.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
