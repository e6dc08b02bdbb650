"""Stored reconstructions of single observations, for figures: ``examples/<name>.npz``, arrays without pickle."""

from __future__ import annotations

__all__ = ["Example", "read_examples", "write_example"]

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physinv.config.files import write_atomically
from physinv.processes.layout import StateLayout, layout_from

_WAYS = ("trajectory", "true_trajectory", "times")


@dataclass(frozen=True)
class Example:
    """``truth`` and ``final`` ``(n, *state)``, ``samples`` ``(n, K, *state)``; ``ways`` is (reconstruction, truth,
    times), each with one entry per time, where the method reconstructs the way as well."""

    truth: Tensor
    final: Tensor
    samples: Tensor
    layout: StateLayout
    ways: tuple[Tensor, Tensor, Tensor] | None


def write_example(path: Path, example: Example) -> None:
    """Write ``path``, whole or not at all."""
    arrays = {"truth": example.truth, "final": example.final, "samples": example.samples}
    if example.ways:
        arrays |= dict(zip(_WAYS, example.ways, strict=True))
    stored: dict[str, Any] = {name: values.cpu().numpy() for name, values in arrays.items()}
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(tmp: Path) -> None:
        with tmp.open("wb") as file:
            np.savez_compressed(file, **stored, layout=np.array(json.dumps(example.layout.described())))

    write_atomically(path, write)


def read_examples(folder: Path) -> dict[str, Example]:
    """name -> example, of ``folder/examples``; ValueError in one line for a file that is damaged."""
    return {path.stem: _read(path) for path in sorted((folder / "examples").glob("*.npz"))}


def _read(path: Path) -> Example:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            raw = {name: file[name] for name in file.files}
        layout = json.loads(str(raw.pop("layout")))
        arrays = {name: torch.from_numpy(values) for name, values in raw.items()}
        known: dict[str, Any] = {k: _tuples(v) for k, v in layout.items()}
        ways = (arrays[_WAYS[0]], arrays[_WAYS[1]], arrays[_WAYS[2]]) if set(_WAYS) <= arrays.keys() else None
        return Example(arrays["truth"], arrays["final"], arrays["samples"], layout_from(**known), ways)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no example of a benchmark ({error}); remove it and run again.") from None


def _tuples(value: object) -> object:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
