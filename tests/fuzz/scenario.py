"""What a scenario is, and the words and families that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.inputs import SMALL

Content = Callable[[Path, str], Any]

HDF5 = ("bytes", "places", "hdf5", "hdf5-json")
OWN = (*HDF5, "trajectories")
JSON = ("bytes", "places", "json")
LINES = ("bytes", "places", "jsonl")
TENSORS = ("bytes", "places", "safetensors")
TOML = ("bytes", "places", "toml")


@dataclass(frozen=True)
class Scenario:
    """A command and the file that is mutated before it is given.

    Args:
        name: Its name in reports.
        argv: Words of the command; relative paths lie in the working folder.
        families: Families of mutations for the target.
        content: What its result is.
        target: The file, or folder, to mutate; empty where the words themselves are.
        needs: Inputs that are copied into the working folder.
        outputs: What it may write.
        sealed: Whether the target carries checksums, or is of a format that checks itself.
        weight: How often it is drawn; slow verbs less often.
        done: Exit codes of a command that did its work.
        refused: Whether the command refuses untouched inputs, whose work is done already.
    """

    name: str
    argv: tuple[str, ...]
    families: tuple[str, ...]
    content: Content
    target: str = ""
    needs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("out", "out.hdf5", "out.json", "out.png")
    sealed: bool = False
    weight: float = 1.0
    done: tuple[int, ...] = (0,)
    refused: bool = False


def words_of(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TRAIN = (*words_of("--out out --steps 2"), *SMALL)
FIT = words_of("--out out --method linear")
RECON = words_of("--out out.hdf5 --samples 2 --limit 2")
RESUME = (*words_of("--out out --resume --steps 3"), *SMALL)
SHARD = "data/train/double-well_000.hdf5"
OBSERVED = "data/test/double-well_000.hdf5"
