"""Stored reconstructions of single observations, for figures: ``examples/<method>.npz``."""

from __future__ import annotations

__all__ = ["Example", "read_examples"]

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physinv.simulator import Layout


@dataclass(frozen=True)
class Example:
    """``truth`` and ``final`` ``(n, *state)``, ``samples`` ``(n, K, *state)``; ``ways`` is (reconstruction, truth,
    times), each with one entry per time, where the method reconstructs the way as well."""

    truth: Tensor
    final: Tensor
    samples: Tensor
    layout: Layout
    ways: tuple[Tensor, Tensor, Tensor] | None


def read_examples(folder: Path) -> dict[str, Example]:
    """method -> example, of ``folder/examples``; ValueError in one line for a file that is damaged."""
    return {path.stem: _read(path) for path in sorted((folder / "examples").glob("*.npz"))}


def _read(path: Path) -> Example:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            raw = {name: file[name] for name in file.files}
        layout = json.loads(str(raw.pop("layout")))
        arrays = {name: torch.from_numpy(values) for name, values in raw.items()}
        known: dict[str, Any] = {k: _tuples(v) for k, v in layout.items()}
        names = ("trajectory", "true_trajectory", "times")
        ways = (arrays[names[0]], arrays[names[1]], arrays[names[2]]) if set(names) <= arrays.keys() else None
        return Example(arrays["truth"], arrays["final"], arrays["samples"], Layout(**known), ways)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no example of a benchmark ({error}); remove it and run again.") from None


def _tuples(value: object) -> object:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
