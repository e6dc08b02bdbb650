"""Recipes of benchmarks: which methods are compared, on which data, at what cost; TOML files, validated."""

from __future__ import annotations

__all__ = ["Benchmark", "PartlySeen", "Study", "changed", "load_benchmark", "quickened"]

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from physinv.config.files import read_toml
from physinv.config.settings import Settings
from physinv.config.strict import Strict
from physinv.config.suggest import did_you_mean
from physinv.data.recipe import Splits, load_recipe

Value = int | float | str
OneSeed = Annotated[int, Field(ge=0, lt=2**63)]


class Study(Strict):
    """A setting that is varied while all others stay: how does the error depend on it?

    Attributes:
        name: Name in files and headings.
        key: Dotted key of the setting, such as ``splits.train``.
        values: Values of the setting.
        methods: Methods of this study; none: those of the benchmark.
        seeds: Seeds of this study; none: those of the benchmark.
        label: Label of the axis, with its unit.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="as in file names and headings")
    key: str = Field(description="what varies: parameters.X, splits.train, settings.X, options.METHOD.X, budget, ...")
    values: list[Value] = Field(min_length=1)
    methods: list[str] = Field(default_factory=list, description="none: those of the benchmark")
    seeds: list[OneSeed] = Field(default_factory=list, description="none: those of the benchmark")
    label: str = Field("", description="of the axis, with its unit")


class PartlySeen(Strict):
    """What is seen of final states, where that is not all.

    Attributes:
        observe: Which numbers, as ``physinv reconstruct --observe`` has it.
        noise: Standard deviation of their noise, in the unit of the state.
    """

    observe: str = Field(
        min_length=1, description="sensors:FRACTION, every:FACTOR, coarse:FACTOR, low-pass:KMAX, module:function, ..."
    )
    noise: float = Field(gt=0, allow_inf_nan=False, description="standard deviation, in the unit of the state")


class Benchmark(Strict):
    """Methods, data and budget of one comparison.  Unknown keys are errors.

    Attributes:
        simulator: Name under which the simulator is registered, or ``module:Class``.
        parameters: Parameters of the simulator that differ from its defaults.
        splits: Trajectories for training, validation and test.
        methods: Methods, by registered name or ``module:function``.
        options: Options of methods, by method.
        settings: Settings of the networks, for every method.
        budget: Seconds of training of each method.
        seeds: Seeds of data, training and sampling.
        observations: Final states of the test split to reconstruct from.
        samples: Draws for each of them.
        observation: What is seen of them; none: all, without noise.
        studies: Studies of single settings.
        quick: Dotted keys and the values that ``--quick`` gives them.
    """

    simulator: str = Field(min_length=1, description="name under which the simulator is registered")
    parameters: dict[str, Any] = Field(default_factory=dict)
    splits: Splits
    methods: list[str] = Field(min_length=1)
    options: dict[str, dict[str, Value]] = Field(default_factory=dict, description="method -> its own options")
    settings: Settings = Field(default_factory=Settings, description="of the networks, for every method")
    budget: float = Field(gt=0, allow_inf_nan=False, description="seconds of training of each method")
    seeds: list[OneSeed] = Field(default=[0], min_length=1, description="of data, training and sampling")
    observations: int = Field(100, ge=2, description="final states to reconstruct from, of the test split")
    samples: int = Field(16, ge=2, description="draws for each of them")
    observation: PartlySeen | None = Field(None, description="what is seen of them; none: all, without noise")
    studies: list[Study] = Field(default_factory=list)
    quick: dict[str, Any] = Field(default_factory=dict, description="keys to change for a first look (--quick)")

    @model_validator(mode="after")
    def _enough(self) -> Benchmark:
        from physinv.models.networks.build import check_network
        from physinv.models.references.registry import check_reference  # torch takes two seconds
        from physinv.training.objectives.choose import check_objective

        check_objective(self.settings)
        check_reference(self.settings)
        check_network(self.settings)
        if self.observations > self.splits.test:
            raise ValueError(f"`observations` must be at most the {self.splits.test} of `splits.test`.")
        listed: dict[str, list[Any]] = {
            "methods": self.methods,
            "seeds": self.seeds,
            "names of `studies`": [s.name for s in self.studies],
        }
        for study in self.studies:
            listed |= {f"{part} of study {study.name}": getattr(study, part) for part in ("values", "methods", "seeds")}
        for what, values in listed.items():
            if twice := [v for v in values if values.count(v) > 1]:
                raise ValueError(f"{what} must be different, got {twice[0]} twice.")
        return self


def load_benchmark(path: Path) -> Benchmark:
    """Read a recipe.

    Args:
        path: The file.  Its key ``dataset`` may name the recipe of a dataset, relative to it, instead of simulator,
            parameters and splits; what is given besides changes those.

    Returns:
        The validated recipe.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not valid; one line names the file, the key and the rule.
    """
    hint = f"`physinv benchmark recipe SIMULATOR > {path}` writes one."
    values = read_toml(path, kind="benchmark recipe", hint=hint)
    if "dataset" in values:
        data = load_recipe(path.parent / str(values.pop("dataset")))
        inherited = {"simulator": data.simulator, "parameters": data.parameters, "splits": data.splits.model_dump()}
        for key, old in inherited.items():
            given = values.get(key, {})
            values[key] = {**old, **given} if isinstance(old, dict) and isinstance(given, Mapping) else given or old
    return _validated(values, str(path))


def quickened(benchmark: Benchmark) -> Benchmark:
    """Return the benchmark of a first look: one seed, no studies, and the changes of its table ``quick``.

    Args:
        benchmark: The whole benchmark.

    Returns:
        The quick one.

    Raises:
        ValueError: If ``quick`` changes what does not exist, or to a value that is not valid.
    """
    values = benchmark.model_dump() | {"studies": [], "seeds": benchmark.seeds[:1]}
    for key, value in benchmark.quick.items():
        _assign(values, key, value)
    return _validated(values, "`quick`")


def changed(benchmark: Benchmark, key: str, value: Value | list[str]) -> Benchmark:
    """Return the benchmark with one value changed.

    Args:
        benchmark: The benchmark.
        key: Dotted key, such as ``splits.train``.
        value: Its new value.

    Returns:
        The changed benchmark, validated.

    Raises:
        ValueError: If there is no such key, or the value is not valid.
    """
    values = benchmark.model_dump()
    _assign(values, key, value)
    return _validated(values, f"`{key}` = {value}")


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    place = values
    for part in path:
        if part not in place and place is values:
            raise ValueError(f"`{key}` names no part of a benchmark; {did_you_mean(part, values)}")
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise ValueError(f"`{key}` must name a single value: `{part}` is one already.")
    place[last] = value


def _validated(values: dict[str, Any], where: str) -> Benchmark:
    try:
        return Benchmark(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
