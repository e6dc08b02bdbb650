"""The recipes that come with the package, ``recipes/*.toml``, and a draft of a new one."""

from __future__ import annotations

__all__ = ["draft_recipe", "find_benchmark", "read_shipped", "shipped_recipes"]

from pathlib import Path

from physinv.comparison.recipe import Benchmark, load_benchmark
from physinv.config.suggest import did_you_mean
from physinv.methods.registry import method_names
from physinv.processes.registry import SIMULATORS, find

_FOLDER = Path(__file__).parent / "recipes"
_DRAFT = """\
# Which method reconstructs {name} best?  `physinv benchmark FILE` runs this recipe.
simulator = "{name}"
methods = [
{methods}
]
budget = 60.0        # seconds of training of each method
seeds = [0, 1, 2]    # of data, training and sampling
observations = 100   # final states to reconstruct from, of the test split
samples = 16         # draws for each of them

[splits]             # trajectories; a table [parameters] changes those of the simulator
train = 2500
valid = 250
test = 500

[quick]              # what --quick changes
budget = 10.0
observations = 24
"splits.train" = 500
"splits.valid" = 60
"splits.test" = 24
"""


def shipped_recipes() -> list[str]:
    """List the names of the recipes that come with the package.

    Returns:
        The names, sorted.

    Example:
        >>> "burgers" in shipped_recipes()
        True
    """
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read_shipped(name: str) -> str:
    """Return the text of a recipe that comes with the package.

    Args:
        name: Its name.

    Returns:
        TOML.

    Raises:
        ValueError: If there is none; one line lists them and says how to write one.
    """
    known = shipped_recipes()
    if name not in known:
        hint = did_you_mean(name, known)
        listed = "" if hint.startswith("there are") else f" There are {', '.join(known)}."
        process = name if ":" in name or name in SIMULATORS.names() else "SIMULATOR"
        raise ValueError(
            f"there is no recipe `{name}`; {hint}{listed} "
            f"To write one: `physinv benchmark recipe {process} > mine.toml`, then `physinv benchmark mine.toml`."
        )
    return (_FOLDER / f"{name}.toml").read_text("utf-8")


def find_benchmark(what: str) -> Benchmark:
    """Return the benchmark of a recipe, the same in every working directory.

    Args:
        what: Name of a recipe that comes with the package, or the path of a file that ends with ``.toml``.

    Returns:
        The validated recipe.

    Raises:
        ValueError: If there is no recipe of this name, or it is not valid.
        FileNotFoundError: If there is no such file.
    """
    if what.endswith(".toml"):
        return load_benchmark(Path(what))
    read_shipped(what)
    return load_benchmark(_FOLDER / f"{what}.toml")


def draft_recipe(simulator: str) -> str:
    """Return a recipe that compares all methods on the defaults of a simulator, to be edited.

    Args:
        simulator: A registered name, or ``module:Class``.

    Returns:
        TOML.

    Raises:
        ValueError: If there is no such simulator.
    """
    find(simulator)
    return _DRAFT.format(name=simulator, methods="\n".join(f'    "{name}",' for name in method_names()))
