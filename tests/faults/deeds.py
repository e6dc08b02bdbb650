"""The commands that are killed, and in which file-system calls fail; what each must leave, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import contents
from tests.fuzz.inputs import IMPORT, SMALL
from tests.fuzz.inputs_of_records import FEW
from tests.fuzz.scenarios_of_records import EVIDENCE


@dataclass(frozen=True)
class Deed:
    """A command with an output that survives anything.

    Args:
        name: Its name.
        argv: Its words.
        needs: Inputs; ``a>b`` copies a as b.
        output: What it writes.
        content: What is in the output.
        again: Words of the command that goes on afterwards; none: the same.
        over: Whether the output is there before: it must then be the older one or the new one, whole.
        faults: Whether file-system calls are made to fail in it, too; else it is only killed.
        same: Whether it leaves the same content when it goes on.
    """

    name: str
    argv: tuple[str, ...]
    needs: tuple[str, ...]
    output: str
    content: Callable[[Path, str], Any]
    again: tuple[str, ...] = ()
    over: bool = False
    faults: bool = True
    same: bool = True


def _dataset(folder: str) -> Callable[[Path, str], Any]:
    return lambda work, out: contents.dataset(work, out, folder)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TRAIN = ("train", "vector", "--out", "out", "--steps", "3", *SMALL)
RECON = _words("reconstruct run --data vector/data/test --out out.hdf5 --samples 2")
PRIOR = ("train", "vector", "--out", "out", "--prior", *FEW)
IMPUTE = _words("impute gaps --data g.npy --out out.hdf5 --samples 2")
RECORD = _words("reconstruct run --record records/record.toml --frames all --out out.hdf5 --samples 2")
FILE = ("import", "s.npy", *IMPORT, "--out", "out")


def deeds() -> list[Deed]:
    """All of them."""
    c = contents
    run = ("vector", "run")
    return [
        Deed("generate", _words("generate recipe.toml --out out"), ("recipe.toml",), "out", _dataset("out")),
        Deed(
            "generate over",
            _words("generate vector/recipe.toml --seed 5 --overwrite"),
            ("vector",),
            "vector",
            _dataset("vector"),
            over=True,
        ),
        Deed("train", TRAIN, ("vector",), "out", c.run, again=(*TRAIN, "--resume")),
        Deed("train over", (*TRAIN, "--seed", "5", "--overwrite"), (*run, "run>out"), "out", c.run, over=True),
        Deed("reconstruct", RECON, run, "out.hdf5", c.reconstruction),
        Deed(
            "reconstruct over",
            (*RECON, "--seed", "5", "--overwrite"),
            (*run, "r.hdf5>out.hdf5"),
            "out.hdf5",
            c.reconstruction,
            over=True,
        ),
        Deed("import", FILE, ("s.npy",), "out", _dataset("out")),
        Deed(
            "import over",
            (*FILE, "--seed", "5", "--overwrite"),
            ("s.npy", "imported>out"),
            "out",
            _dataset("out"),
            over=True,
        ),
        Deed("train prior", PRIOR, ("vector",), "out", c.run, again=(*PRIOR, "--resume")),
        Deed("impute", IMPUTE, ("gaps", "g.npy"), "out.hdf5", c.reconstruction),
        Deed(
            "impute over",
            (*IMPUTE, "--seed", "5", "--overwrite"),
            ("gaps", "g.npy", "i.hdf5>out.hdf5"),
            "out.hdf5",
            c.reconstruction,
            over=True,
        ),
        Deed("record", RECORD, ("run", "records"), "out.hdf5", c.reconstruction),
        Deed("evidence", EVIDENCE, run, "", c.printed, faults=False),
        Deed("evaluate", _words("evaluate r.hdf5 --json out.json"), ("r.hdf5",), "out.json", c.table),
        Deed("info", _words("info vector --json"), ("vector",), "", c.printed, faults=False),
        Deed("compare", _words("compare r.hdf5 r2.hdf5 --json"), ("r.hdf5", "r2.hdf5"), "", c.printed, faults=False),
        Deed(
            "compare runs",
            _words("compare run run --data vector/data/test --samples 2 --json"),
            run,
            "",
            c.printed,
            faults=False,
        ),
        Deed("benchmark report", _words("benchmark report a --json"), ("a",), "a", c.printed, faults=False),
        Deed("benchmark compare", _words("benchmark compare a a --json"), ("a",), "", c.printed, faults=False),
        Deed(
            "benchmark",
            _words("benchmark benchmark.toml --out out --jobs 1 --json"),
            ("benchmark.toml",),
            "out",
            c.nothing,
            faults=False,
            same=False,
        ),
    ]
