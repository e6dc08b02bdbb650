"""Untouched inputs of the verbs around records, gaps, priors and evidence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

RECORD = """\
[[entry]]
at = 0.25
observe = "everything"
noise = 0.1
data = "early.npy"

[[entry]]
at = 0.5
mask = "mask.npy"
noise = 0.2
data = "late.npy"
"""
OBSERVED = '\n[observation]\nobserve = "everything"\nnoise = 0.1\n'
FEW = ("--steps", "2", "--set", "width=4", "--set", "depth=1", "--set", "validate_windows=8")
PARTLY = ("--observe", "random:0.5-1", "--observed-noise", "0.1-0.2")


def make(base: Path, run: Callable[..., None], benchmark: str) -> None:
    """Write them into the folder of the others.

    Args:
        base: Where the others are: the datasets ``vector`` and ``field``.
        run: Runs a command there, ``run(base, *words)``.
        benchmark: A recipe of a benchmark.
    """
    (base / "observed.toml").write_text(benchmark + OBSERVED, "utf-8")
    _numbers(base)
    run(base, "train", "vector", "--out", "gaps", "--method", "imputation", "--option", "steps=2", *FEW)
    run(base, "train", "vector", "--out", "prior", "--prior", *FEW)
    run(base, "train", "field", "--out", "sensors", "--method", "physinv", *PARTLY, *FEW)
    run(base, "impute", "gaps", "--data", "vector/data/test", "--hide", "every:2", "--out", "i.hdf5", "--samples", "3")
    record = ("--record", "records/record.toml", "--frames", "all")
    run(base, "reconstruct", "run", *record, "--out", "rr.hdf5", "--samples", "3")


def _numbers(base: Path) -> None:
    """Trajectories with gaps, and records of three of them."""
    rng = np.random.default_rng(3)
    u = rng.normal(size=(3, 5, 2)).astype("f4")
    gaps = u.copy()
    gaps[0, 2], gaps[1, :, 0], gaps[2, 3:] = np.nan, np.nan, np.nan
    np.save(base / "g.npy", gaps)
    folder = base / "records"
    folder.mkdir()
    (folder / "record.toml").write_text(RECORD, "utf-8")
    np.save(folder / "early.npy", gaps[:, 2])
    np.save(folder / "late.npy", u[:, 4, :1])
    np.save(folder / "mask.npy", np.array([True, False]))
