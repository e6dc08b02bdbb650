"""Every mistake in a configuration gets one line that names the key, the rule and what to do."""

import pickle

import pytest
from pydantic import Field, field_validator, model_validator

from physinv.config.settings import Settings
from physinv.config.strict import ConfigError, Strict


class Grid(Strict):
    """A model inside another."""

    noun = "setting"

    size: int = Field(8, ge=2, description="points along an axis")
    lengths: tuple[int, ...] = Field((), strict=False)

    @field_validator("lengths")
    @classmethod
    def _even(cls, lengths):
        if any(n % 2 for n in lengths):
            raise ValueError(f"must be even, got {list(lengths)}.")
        return lengths


class Run(Strict):
    """A model with others inside."""

    budget: float = Field(gt=0, allow_inf_nan=False)
    grid: Grid = Field(default_factory=Grid)
    grids: list[Grid] = Field(default_factory=list)

    @model_validator(mode="after")
    def _affordable(self):
        if self.budget > 100:
            raise ValueError("the budget is too large; take 100 or less.")
        return self


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "`budget` is missing; add it."),
        ({"budget": "1"}, "`budget` must be a valid number, got '1'."),
        ({"budget": float("inf")}, "`budget` must be a finite number, got inf."),
        ({"budget": 200.0}, "the budget is too large; take 100 or less."),
        ({"budgt": 1.0}, "unknown key `budgt`; did you mean `budget`?"),
        ({"budget": 1.0, "zzz": 1}, "unknown key `zzz`; there are budget, grid, grids."),
        ({"budget": 1.0, "grid": {"sise": 3}}, "`grid` has an unknown setting `sise`; did you mean `size`?"),
        ({"budget": 1.0, "grid": {"size": 1}}, "`grid.size` must be greater than or equal to 2, got 1."),
        ({"budget": 1.0, "grid": {"lengths": [3]}}, "`grid.lengths` must be even, got [3]."),
        ({"budget": 1.0, "grid": {"lengths": ["4"]}}, "`grid.lengths.0` must be a valid integer, got '4'."),
        ({"budget": 1.0, "grids": [{}, {"size": 2.5}]}, "`grids.1.size` must be a valid integer, got 2.5."),
    ],
)
def test_the_first_problem_in_one_line(values, says):
    with pytest.raises(ConfigError) as caught:
        Run(**values)
    assert str(caught.value) == says
    assert isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == says  # it crosses processes


def test_values_come_in_and_out_unchanged():
    run = Run(budget=3, grid={"size": 4, "lengths": [2, 4]}, grids=[Grid(size=5)])
    assert run.grid == Grid(size=4, lengths=(2, 4))
    assert Run(**run.model_dump()) == run
    assert Run.model_validate_json(run.model_dump_json()) == run
    with pytest.raises(ValueError, match="frozen"):
        run.budget = 4.0


def test_descriptions_are_documentation():
    assert Grid.__doc__.startswith("A model inside another.")
    assert "    size: Points along an axis." in Grid.__doc__.splitlines()
    assert all(name in Settings.__doc__ for name in Settings.model_fields)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"widht": 3}, "unknown setting `widht`; did you mean `width`?"),
        ({"rate": -1}, "`rate` must be greater than or equal to 0, got -1."),
        ({"width": "32"}, "`width` must be a valid integer, got '32'."),
        ({"windows": [4, 1]}, "`windows` must list window lengths of 2 or more, got [4, 1]."),
    ],
)
def test_settings_teach(values, says):
    with pytest.raises(ConfigError) as caught:
        Settings(**values)
    assert str(caught.value).startswith(says)


def test_settings_survive_toml_and_json():
    settings = Settings(windows=[2, 4], rate=1)
    assert settings.windows == (2, 4)
    assert Settings(**settings.model_dump(mode="json")) == settings


def test_a_key_called_self_is_one_like_any_other():
    with pytest.raises(ConfigError, match=r"^unknown setting `self`; there are"):
        Settings(**{"self": 1})
