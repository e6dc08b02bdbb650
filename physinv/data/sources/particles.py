"""Trajectories of molecular dynamics: what to do with files of formats that are not read."""

from __future__ import annotations

__all__ = ["read_gsd", "read_xyz"]

from pathlib import Path
from typing import NoReturn


def read_gsd(path: Path) -> NoReturn:
    """Say how a GSD file becomes one that can be read.

    Args:
        path: The file.

    Raises:
        ValueError: Always.
    """
    _convert(path, "gsd")


def read_xyz(path: Path) -> NoReturn:
    """Say how an XYZ file becomes one that can be read.

    Args:
        path: The file.

    Raises:
        ValueError: Always.
    """
    _convert(path, "xyz")


def _convert(path: Path, kind: str) -> NoReturn:
    raise ValueError(
        f"{path} is a {kind} trajectory of particles, which is not read; compute fields from it (freud, MDAnalysis), "
        "such as densities, save them with `numpy.save` and import those, or write a simulator (docs/extending)."
    )
