"""Files that others wrote, on the way that the documentation teaches: import, train, reconstruct, evaluate.

    python benchmarks/recorded_files.py FOLDER                    # every file of the list that is there
    python benchmarks/recorded_files.py FOLDER --only sst.mnmean.nc --budget 10m
    python benchmarks/recorded_files.py --page                    # docs/results/recordings.md, from the record

Each file is imported by the command of the list below, in the words of `physinv import --help`; then `physinv train`,
`reconstruct` and `evaluate` run as a user would type them.  The project holds none of these files; `FOLDER` does.  The
record keeps the rows of files that are not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from common import RESULTS, origin
from recordings import figures

from physinv.cli.app import main as physinv
from physinv.data.dataset import TrajectoryDataset
from physinv.posterior.reconstruction import read_reconstruction

RECORD, PAGE = RESULTS / "recorded-files.json", RESULTS.parent.parent / "docs" / "results" / "recordings.md"
BAR = "--variable column_2,column_4,column_6,column_8,column_10 --times column_0 --context column_12"


@dataclass(frozen=True)
class File:
    """A file, or several of one kind, and how it is imported.

    Args:
        names: File or files.
        what: What it holds, in a few words.
        options: Options of `physinv import`.
        label: What tells it from another row of the same file.
        train: Options of `physinv train`.
    """

    names: str
    what: str
    options: str = ""
    label: str = ""
    train: str = ""

    @property
    def row(self) -> str:
        """Name of its row."""
        return f"{self.names}{', ' if self.label else ''}{self.label}"


FILES = (
    File(
        "FurnaceHeating.mat",
        "3 thermocouples in a steel slab",
        "--variable TC1,TC2,TC3 --dims time,x --times 0.1 --every 100 --window 7",
    ),
    File("albar.csv", "5 sensors along a bar", f"{BAR} --every 10 --window 7 --stride 1"),
    File("albar.csv", "5 sensors along a bar", f"{BAR} --every 5 --window 7 --stride 1", "a minute"),
    File(
        "sst.mnmean.nc",
        "sea surface temperature, monthly",
        "--window 6 --period 365.25 --boundary lat=wall --valid 0.15 --test 0.2",
    ),
    File("ostia_monthly.nc", "sea surface temperature of a strip", "--window 3 --boundary latitude=wall"),
    File("burgers_train_16.pt", "800 Burgers trajectories", "--variable y --dims sample,time,x --boundary periodic"),
)
