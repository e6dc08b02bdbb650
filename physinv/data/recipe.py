"""A recipe says how to make a dataset: ``datasets/<name>/recipe.toml``, validated."""

from __future__ import annotations

__all__ = ["CHUNK_BYTES", "SHARD", "Recipe", "Splits", "Strict", "first_problem", "load_recipe"]

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

SHARD = 500
"""Trajectories per file."""

CHUNK_BYTES = 64 * 2**20
"""Bytes of trajectories that are simulated at once."""


class Strict(BaseModel):
    """A part of a recipe: frozen, no silent conversions, and an unknown key names the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(cls.model_fields)}."
                raise ValueError(f"unknown key `{key}`; {hint}")
        return values


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
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no recipe {path}; datasets/README.md says how to write one.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first of the problems in one line: key, rule, value."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "value_error":
        reason = str(problem["ctx"]["error"])
        return f"`{where}` has an {reason}" if where else reason
    if problem["type"] == "missing":
        return f"`{where}` is missing; add it."
    rule = problem["msg"].removeprefix("Input should be ").removeprefix("String should have ")
    return f"`{where}` must be {rule}, got {problem['input']!r}."
