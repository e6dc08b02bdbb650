"""The untouched inputs: small datasets, runs, reconstructions and foreign files, made anew by the package itself.

``tests/data/stored`` gives files of earlier versions, which carry no checksums: they take the mutations that a checksum
would stop before anything is understood.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np

from physinv.comparison import journal
from tests.fuzz import inputs_of_records
from tests.fuzz.process import Ended, command, forked

STORED = Path(__file__).resolve().parents[1] / "data" / "stored"

VECTOR = """\
simulator = "double-well"
seed = 0
trajectories_per_shard = 6

[parameters]
dimension = 2
steps = 4
temperature = 0.75

[splits]
train = 12
valid = 6
test = 4
"""
FIELD = VECTOR.replace("double-well", "heat").replace("dimension = 2", "size = 8").replace("temperature = 0.75\n", "")
PARTICLES = VECTOR.replace("double-well", "particles").replace("dimension = 2", "particles = 3")
SETTINGS = "width = 4\ndepth = 1\ncomponents = 1\nvalidate_windows = 8\nvalidate_every = 1\nrate = 0.001\n"
BENCHMARK = """\
simulator = "ornstein-uhlenbeck"
methods = ["linear"]
budget = 0.1
seeds = [0]
observations = 4
samples = 2

[parameters]
dim = 2
steps = 4

[splits]
train = 20
valid = 5
test = 4
"""
SMALL = [word for line in SETTINGS.splitlines() for word in ("--set", line.replace(" ", ""))]
IMPORT = ["--dims", "sample,time,x", "--times", "0.1", "--positions", "x=0.125", "--boundary", "periodic"]


def make(base: Path) -> None:
    """Write all inputs into a folder; a command that fails raises RuntimeError."""
    base.mkdir(parents=True)
    texts = {"settings.toml": SETTINGS, "benchmark.toml": BENCHMARK}
    texts |= {"vector/recipe.toml": VECTOR, "field/recipe.toml": FIELD, "particles/recipe.toml": PARTICLES}
    for name, text in texts.items():
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text(text, "utf-8")
    _check(forked(_sources, base))
    shutil.copyfile(base / "vector/recipe.toml", base / "recipe.toml")

    # The way of the data, by the command itself.
    for name in ("vector", "field", "particles"):
        _run(base, "generate", f"{name}/recipe.toml")
    _run(base, "train", "vector", "--out", "run", "--steps", "2", *SMALL)
    _run(base, "train", "field", "--out", "field-run", "--steps", "2", *SMALL)
    _run(base, "import", "s.npy", "--out", "imported", *IMPORT)
    learn = ("--method", "physinv", "--set", "physics=learned", "--steps", "4")
    _run(base, "train", "imported", "--out", "learned", *learn, *SMALL)
    for name, run, data, seed, limit in (
        ("r.hdf5", "run", "vector", "0", "4"),
        ("r2.hdf5", "run", "vector", "1", "4"),
        ("rf.hdf5", "field-run", "field", "0", "1"),  # log p of a field takes a second and a half
    ):
        words = ("--samples", "3", "--seed", seed, "--limit", limit)
        _run(base, "reconstruct", run, "--data", f"{data}/data/test", "--out", name, *words)
    _run(base, "reconstruct", "run", "--observation", "o.npy", "--out", "ro.hdf5", "--samples", "3")
    for name, shift in (("a", 0.0), ("b", 0.02)):
        _results(base / name, shift)
    _check(forked(_example, base / "a"))

    # Records, gaps, priors.
    inputs_of_records.make(base, _run, BENCHMARK)

    # Files of earlier versions.
    for kind in ("vector", "field", "particles"):
        (base / "old").mkdir(exist_ok=True)
        shutil.copyfile(STORED / f"{kind}.hdf5", base / "old" / f"{kind}.hdf5")
        _without_checksums(base / "old" / f"{kind}.hdf5")
    shutil.copytree(STORED / "run", base / "old-run", copy_function=shutil.copyfile)
    for place in (base / "old-run", *(base / "old-run").rglob("*/")):  # of a clone that cannot be written to
        place.chmod(0o755 if place.is_dir() else 0o644)
    shutil.copyfile(STORED / "reconstruction.hdf5", base / "old.hdf5")


def _run(base: Path, *words: str) -> None:
    _check(command(words, base))


def _check(ended: Ended) -> None:
    if ended.code != 0:
        raise RuntimeError(f"the untouched inputs can't be made: {ended.how}\n{ended.err}")


def _without_checksums(path: Path) -> None:
    """Take checksums out of a file, whoever wrote it."""
    with h5py.File(path, "r+") as file:
        items = [file]
        file.visititems(lambda name, item: items.append(item))
        for item in items:
            for key in [k for k in item.attrs if any(word in k for word in ("sha256", "checksum", "digest"))]:
                del item.attrs[key]


def _sources() -> None:
    """Files that others could have written: 6 fields of 8 points at 5 times, 3 final states, a recording."""
    import torch
    import xarray as xr
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    x, t = np.arange(8) / 8, np.arange(5) / 10
    phase = rng.uniform(0, 6, (6, 1, 1))
    u = np.sin(2 * np.pi * x - t[:, None] + phase) + 0.01 * rng.normal(size=(6, 5, 8)).cumsum(1)
    u = u.astype("f4")
    np.save("s.npy", u)
    np.savez("s.npz", u=u, t=t, x=x)
    savemat("s.mat", {"u": u, "t": t, "x": x})
    torch.save({"u": torch.from_numpy(u)}, "s.pt")
    data = xr.Dataset({"u": (("sample", "time", "x"), u)}, {"time": t, "x": x})
    data.to_netcdf("s.nc", engine="h5netcdf")
    data.to_netcdf("s3.nc", engine="scipy", format="NETCDF3_64BIT")
    data.to_zarr("s.zarr", zarr_format=3, consolidated=False)
    with h5py.File("s.hdf5", "w") as file:
        file["tensor"], file["x-coordinate"], file["t-coordinate"] = u, x, t
    _recording(rng)
    o = np.array([[0.9, -0.2], [-1.0, 0.3], [1.1, 0.1]], "f4")
    np.save("o.npy", o)
    np.savez("o.npz", position=o)
    savemat("o.mat", {"position": o})
    torch.save({"u": torch.from_numpy(o)}, "o.pt")
    Path("o.csv").write_text("a,b\n" + "".join(f"{a:.3f},{b:.3f}\n" for a, b in o), "utf-8")
    with h5py.File("o.hdf5", "w") as file:
        file["u"] = o


def _recording(rng: np.random.Generator) -> None:
    walk = rng.normal(size=(60, 2)).cumsum(0)
    rows = (f"{i * 0.5:.1f},{a:.4f},{b:.4f}\n" for i, (a, b) in enumerate(walk))
    Path("s.csv").write_text("time,a,b\n" + "".join(rows), "utf-8")


def _results(folder: Path, shift: float) -> None:
    """Results of a benchmark: two methods, three seeds."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    for method in ("physinv", "linear"):
        for seed in range(3):
            names = ("crps", "energy_score", "relative_l2")
            metrics = {name: round(float(1 + 0.01 * rng.normal()), 4) for name in names}
            metrics["crps"] += shift if method == "physinv" else 0.0
            cell = {"schema": 1, "key": f"{method}-{seed}", "system": "heat", "method": method, "options": {}}
            cell |= {"seed": seed, "study": None, "metrics": metrics, "curves": {}, "error": None, "commit": "0123abc"}
            cell |= {"versions": {"physinv": "0.1.0"}, "hardware": "a machine", "device": "cpu", "threads": 1}
            cell |= {"cost": {"training_seconds": 60.0, "sampling_seconds": 8.0, "observations": 100, "samples": 16}}
            journal.append(folder / "cells.jsonl", cell | {"date": "2026-01-02T03:04:05+00:00"})


def _example() -> None:
    """The reconstructions that a report of these results shows."""
    import torch

    from physinv.comparison.examples import Example, write_example
    from simulators.vectors.double_well import DoubleWell

    x = torch.linspace(-1, 1, 24).view(2, 6, 2)
    layout = DoubleWell(dimension=2, steps=4).layout
    write_example(Path("examples") / "physinv.npz", Example(x[:, 0], x[:, 1], x[:, 2:], layout, None))
