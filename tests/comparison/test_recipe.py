"""Recipes: those of the package, studies, keys of cells, and what is refused in one line."""

from pathlib import Path

import pytest
from comparison_cases import small

from physinv.cli.app import main
from physinv.comparison.cells import Cell, cells, check_benchmark
from physinv.comparison.recipe import changed, quickened
from physinv.comparison.shipped import find_benchmark, shipped_recipes
from physinv.data.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]
RECIPES = shipped_recipes()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_whole(name):
    benchmark = find_benchmark(name)
    check_benchmark(benchmark)
    every = list(cells(benchmark))
    assert len({c.key for c in every}) == len(every)
    check_benchmark(quickened(benchmark))
    assert not quickened(benchmark).studies


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_the_package_have_the_data_of_the_recipes_of_datasets(name):
    """An installed package has no folder datasets: the recipes repeat what lies there."""
    data, benchmark = load_recipe(ROOT / "datasets" / name / "recipe.toml"), find_benchmark(name)
    assert benchmark.simulator == data.simulator
    assert benchmark.parameters == data.parameters


def test_a_study_changes_one_thing():
    study = {"name": "horizon", "key": "parameters.horizon", "values": [1.0, 3.0], "methods": ["linear"], "seeds": [4]}
    main_cell, _, one, three = cells(small(studies=[study]))
    assert (one.method, one.seed, one.value) == ("linear", 4, 1.0)
    assert main_cell.study is None
    assert one.config["parameters"] == {"steps": 4, "horizon": 1.0}
    assert {k for k in one.config if one.config[k] != three.config[k]} == {"parameters"}
    assert one.data_key != three.data_key


def test_keys_do_not_depend_on_the_company():
    alone = next(cells(small(methods=["linear"])))
    assert alone.key in {c.key for c in cells(small(seeds=[3, 0])) if c.method == "linear" and c.seed == 0}
    assert alone.key != Cell(small(budget=0.2), "linear", 0).key
    assert alone.key == Cell(small(options={"ensemble-kalman": {"members": 9}}), "linear", 0).key


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("budgt = 3", "unknown key `budgt`; did you mean `budget`?"),
        ("budget = -1.0", "`budget` must be greater than 0, got -1.0"),
        ("observations = 70", "`observations` must be at most the 60 of `splits.test`"),
        ('methods = ["liner"]', "there is no method `liner`; did you mean `linear`?"),
        (
            "[options.ensemble-kalman]\nmember = 3",
            "method `ensemble-kalman` has no option `member`; did you mean `members`?",
        ),
        ('[[studies]]\nname = "a"\nkey = "parameter.horizon"\nvalues = [1]', "did you mean `parameters`?"),
        (
            '[[studies]]\nname = "a"\nkey = "options.ensemble-kalman.member"\nvalues = [9]',
            "method `ensemble-kalman` has no option `member`; did you mean `members`?",
        ),
        (
            '[[studies]]\nname = "a"\nkey = "budget"\nvalues = [1.0, 1.0]',
            "values of study a must be different, got 1.0 twice",
        ),
        ("seeds = [0, 1, 0]", "seeds must be different, got 0 twice"),
        ('methods = ["linear", "linear"]', "methods must be different, got linear twice"),
        ("budget = inf", "`budget` must be a finite number, got inf"),
        ("budget = [", "is not valid TOML"),
    ],
)
def test_bad_recipes_are_refused_in_one_line(tmp_path, capsys, text, says):
    lines = {
        "simulator": '"ornstein-uhlenbeck"',
        "methods": '["linear"]',
        "budget": "1.0",
        "observations": "20",
    }
    lines = {k: v for k, v in lines.items() if not text.startswith(k)}
    path = tmp_path / "b.toml"
    split = "[splits]\ntrain = 100\nvalid = 20\ntest = 60\n"
    head = "\n".join(f"{k} = {v}" for k, v in lines.items()) + "\n"
    path.write_text(head + split + text if text.startswith("[") else head + text + "\n" + split)
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", str(path), "--out", str(tmp_path / "o")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert says in error.replace("\n", " ")
    assert "Traceback" not in error
    assert not (tmp_path / "o").exists()


def test_unknown_parts_of_a_benchmark_are_refused():
    with pytest.raises(ValueError, match=r"`budgets\.x` names no part of a benchmark; did you mean `budget`"):
        changed(small(), "budgets.x", 3)
    with pytest.raises(ValueError, match="must name a single value"):
        changed(small(), "budget.x", 3)
