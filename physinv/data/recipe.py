"""Recipes say how to make a dataset: ``datasets/<name>/recipe.toml``, validated."""

from __future__ import annotations

__all__ = ["Recipe", "Splits", "load_recipe"]

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from physinv.config.files import read_toml
from physinv.config.strict import Strict
from physinv.data.plan import DatasetPlan
from physinv.processes.parameters import build
from physinv.processes.registry import find


class Splits(Strict):
    """Numbers of trajectories by split; no split shares noise or initial states with another."""

    train: int = Field(ge=1, description="trajectories to train on")
    valid: int = Field(ge=1, description="trajectories to choose weights by")
    test: int = Field(ge=1, description="trajectories to evaluate on")


class Recipe(Strict):
    """All that :func:`~physinv.data.generate.generate` needs besides a place and a device.

    Raises:
        ConfigError: For an unknown key, or a value that its key can't take; one line says which.
    """

    simulator: str = Field(min_length=1, description="name under which the simulator is registered, or module:Class")
    parameters: dict[str, Any] = Field(default_factory=dict, description="its parameters; others keep their defaults")
    splits: Splits = Field(description="numbers of trajectories")
    seed: int = Field(0, ge=0, lt=2**63, description="number from which all noise is derived")
    trajectories_per_shard: int | None = Field(
        None, ge=1, le=2**53, description="trajectories per file; default: 500 or more"
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="precision of the simulation; files hold float32"
    )

    def plan(self, *, device: torch.device | str = "cpu") -> DatasetPlan:
        """Plan the dataset.

        Args:
            device: Device that simulates.

        Returns:
            The plan.

        Raises:
            ValueError: If there is no such simulator, or a parameter does not fit.
        """
        return DatasetPlan(
            build(find(self.simulator), self.parameters),
            self.splits.model_dump(),
            self.seed,
            self.simulator,
            device=device,
            dtype=self.dtype,
            trajectories_per_shard=self.trajectories_per_shard,
        )


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe.

    Args:
        path: A TOML file.

    Returns:
        The recipe.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not valid; one line names the file, the key and the rule.
    """
    path = Path(path)
    values = read_toml(path, kind="recipe", hint="datasets/README.md says how to write one.")
    try:
        return Recipe(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
