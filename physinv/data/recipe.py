"""A recipe says how to make a dataset: ``datasets/<name>/recipe.toml``, validated."""

from __future__ import annotations

__all__ = ["CHUNK_BYTES", "SHARD", "Recipe", "Splits", "load_recipe"]

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from physinv.config.files import read_toml
from physinv.config.strict import Strict

SHARD = 500
"""Trajectories per file."""

CHUNK_BYTES = 64 * 2**20
"""Bytes of trajectories that are simulated at once."""


class Splits(Strict):
    """Trajectories per split; none of them shares noise or initial states with another."""

    train: int = Field(ge=1)
    valid: int = Field(ge=1)
    test: int = Field(ge=1)


class Recipe(Strict):
    """What :func:`~physinv.data.generate.generate` needs besides a place.  Unknown keys are errors."""

    simulator: str = Field(min_length=1, description="name under which the simulator is registered")
    parameters: dict[str, Any] = Field(default_factory=dict, description="its parameters; others keep their defaults")
    splits: Splits
    seed: int = Field(0, ge=0, lt=2**63, description="from which all noise is derived")
    trajectories_per_shard: int = Field(SHARD, ge=1, description="trajectories per file")
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="precision of the simulation; files hold float32"
    )


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe; ValueError in one line names the file, the key and the rule (FileNotFoundError if absent)."""
    path = Path(path)
    values = read_toml(path, kind="recipe", hint="datasets/README.md says how to write one.")
    try:
        return Recipe(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
