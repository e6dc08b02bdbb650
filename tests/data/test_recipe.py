"""Recipes are read whole, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from physinv.data.recipe import Recipe, load_recipe

RECIPE = """
simulator = "ornstein-uhlenbeck"
seed = 3

[parameters]
dim = 2

[splits]
train = 4
valid = 2
test = 2
"""


def test_recipes(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    recipe = load_recipe(path)
    assert recipe.parameters == {"dim": 2}
    assert recipe.splits.model_dump() == {"train": 4, "valid": 2, "test": 2}
    assert (recipe.seed, recipe.dtype, recipe.trajectories_per_shard) == (3, "float32", None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("simulator =", "simulater =", "unknown key `simulater`; did you mean `simulator`?"),
        ("valid = 2", "vlaid = 2", "`splits` has an unknown key `vlaid`; did you mean `valid`?"),
        ("seed = 3", "zzz = 3", "unknown key `zzz`; there are dtype, parameters, seed, simulator, spl"),
        ("test = 2", "", "`splits.test` is missing; add it."),
        ("test = 2", "test = 0", "`splits.test` must be greater than or equal to 1, got 0."),
        (
            "seed = 3",
            f"trajectories_per_shard = {10**30}",
            "`trajectories_per_shard` must be less than or equal to 9007",
        ),
        ("seed = 3", 'seed = "3"', "`seed` must be a valid integer, got '3'."),
        ("seed = 3", 'dtype = "half"', "`dtype` must be 'float32' or 'float64', got 'half'."),
        ("seed = 3", "seed = ", "recipe.toml is not valid TOML: Invalid value"),
    ],
)
def test_recipes_with_mistakes(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace(old, new))
    with pytest.raises(ValueError, match=r"recipe\.toml") as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recipe_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no recipe .*x\.toml; datasets/README\.md says how"):
        load_recipe(tmp_path / "x.toml")


def test_the_recipe_model_refuses_unknown_keys() -> None:
    with pytest.raises(ValueError, match="did you mean `splits`"):
        Recipe.model_validate({"simulator": "x", "split": {"train": 1, "valid": 1, "test": 1}})
