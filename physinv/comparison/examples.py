"""Example reconstructions, stored for figures: ``examples/<method>.npz``, arrays without pickle."""

from __future__ import annotations

__all__ = ["MOST_BYTES", "Example", "read_examples", "write_example"]

import json
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physinv.config.files import check_regular, write_atomically
from physinv.processes.layout import StateLayout, layout_from

MOST_BYTES = 500_000_000
"""Bytes of all arrays of an example, at most."""

_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
    MemoryError,
    tokenize.TokenError,  # of the header of an array
    zipfile.BadZipFile,
    zlib.error,
)
_TRAJECTORY = ("trajectory", "true_trajectory", "times")


@dataclass(frozen=True)
class Example:
    """Reconstructions of a few observations by one method.

    Args:
        truth: True initial states, ``(n, *state)``.
        final: Observed final states, ``(n, *state)``.
        samples: Samples, ``(n, K, *state)``.
        layout: StateLayout of the states.
        trajectory: One reconstructed trajectory, the true one, and their times; None where the method reconstructs
            initial states only.
    """

    truth: Tensor
    final: Tensor
    samples: Tensor
    layout: StateLayout
    trajectory: tuple[Tensor, Tensor, Tensor] | None


def write_example(path: Path, example: Example) -> None:
    """Write an example.

    Args:
        path: The file, written whole or not at all.
        example: The example.
    """
    arrays = {"truth": example.truth, "final": example.final, "samples": example.samples}
    if example.trajectory:
        arrays |= dict(zip(_TRAJECTORY, example.trajectory, strict=True))
    stored: dict[str, Any] = {name: values.cpu().numpy() for name, values in arrays.items()}
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(tmp: Path) -> None:
        with tmp.open("wb") as file:
            np.savez_compressed(file, **stored, layout=np.array(json.dumps(example.layout.described())))

    write_atomically(path, write)


def read_examples(folder: Path) -> dict[str, Example]:
    """Read all examples of a folder of results.

    Args:
        folder: The folder of results.

    Returns:
        Examples by method.

    Raises:
        ValueError: If a file is damaged.
    """
    return {path.stem: _read(path) for path in sorted((folder / "examples").glob("*.npz"))}


def _read(path: Path) -> Example:
    check_regular(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if (size := sum(member.file_size for member in archive.infolist())) > MOST_BYTES:
                    raise ValueError(f"it unpacks to {size} bytes, no example has more than {MOST_BYTES}")
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            raw = {name: file[name] for name in file.files}
        layout = json.loads(str(raw.pop("layout")))
        native = {name: values.astype(values.dtype.newbyteorder("=")) for name, values in raw.items()}
        arrays = {name: torch.from_numpy(values) for name, values in native.items()}
        known: dict[str, Any] = {k: _tuples(v) for k, v in layout.items()}
        back, true, times = (arrays.get(name) for name in _TRAJECTORY)
        trajectory = None if back is None or true is None or times is None else (back, true, times)
        return Example(arrays["truth"], arrays["final"], arrays["samples"], layout_from(**known), trajectory)
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is no example of a benchmark ({reason}); remove it and run again.") from None


def _tuples(value: object) -> object:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
