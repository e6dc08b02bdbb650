"""Models of configuration that refuse what they do not know, in one line that says what to do."""

from __future__ import annotations

__all__ = ["ConfigError", "Strict"]

import inspect
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from physinv.config.suggest import did_you_mean


class ConfigError(ValueError):
    """Report the first problem of a model in one line.

    Args:
        error: All problems that pydantic found.

    Attributes:
        problem: The first of them, with the whole way to its key.
    """

    def __init__(self, error: ValidationError) -> None:
        self.problem = _first(error)
        super().__init__(_in_words(self.problem))

    def __reduce__(self) -> tuple[type[ValueError], tuple[str]]:
        return ValueError, (str(self),)  # what pydantic keeps of a problem can't always be pickled


class Strict(BaseModel):
    """Base of all models of configuration: frozen, without silent conversions, closed to unknown keys.

    A subclass lists its keys as annotated fields with descriptions, which become part of its documentation.  Making an
    instance validates: ``Model(**values)``, with values from a file (:func:`~physinv.config.files.read_toml`), from the
    command line or from Python.  A validator of one field raises ValueError with words that follow the name of the
    field, such as ``"must be even, got 3."``; a validator of the model, with a whole sentence.

    Attributes:
        noun: What a key is called in messages.

    Raises:
        ConfigError: For the first problem: key, rule, value got, and the nearest key for an unknown one.

    Example:
        >>> class Grid(Strict):
        ...     size: int
        >>> Grid(size=32)
        Grid(size=32)
        >>> Grid(sise=32)
        Traceback (most recent call last):
        ...
        physinv.config.strict.ConfigError: unknown key `sise`; did you mean `size`?
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    noun: ClassVar[str] = "key"

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(error) from None

    def __setattr__(self, name: str, value: Any) -> None:
        owner = type(self).__name__
        raise ValueError(f"`{name}` of {owner} is frozen, and can't be changed; make another one, {owner}({name}=...).")

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        about = {name: field.description for name, field in cls.model_fields.items() if field.description}
        if about and "__doc__" in vars(cls):
            lines = [f"    {name}: {text[:1].upper()}{text[1:]}." for name, text in about.items()]
            cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Args:", *lines])

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                text = f"unknown {cls.noun} `{key}`; {did_you_mean(str(key), cls.model_fields)}"
                raise PydanticCustomError("unknown_key", "{text}", {"text": text})
        return values


def _first(error: ValidationError) -> ErrorDetails:
    problem = error.errors()[0]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # of a model inside this one: its keys begin where it stands
        inside = cause.problem
        inside["loc"] = (*problem["loc"], *inside["loc"])
        return inside
    return problem


def _in_words(problem: ErrorDetails) -> str:
    where = ".".join(str(part) for part in problem["loc"] if not _is_kind(part))
    match problem["type"]:
        case "unknown_key":
            return f"`{where}` has an {problem['msg']}" if where else problem["msg"]
        case "value_error":
            reason = str(problem["ctx"]["error"])
            return f"`{where}` {reason}" if where else reason
        case "missing":
            return f"`{where}` is missing; add it."
        case "too_short":
            return f"`{where}` must have {problem['ctx']['min_length']} or more entries, got {problem['input']!r}."
    match problem["type"], problem["input"]:
        case "string_type", given if hasattr(given, "__qualname__"):  # a class or a function: files hold its name
            named = f"{given.__module__}:{given.__qualname__}"
            return f"`{where}` must be a name, got {given.__qualname__} itself; give '{named}'."
        case "tuple_type", given:
            return f"`{where}` must be a list, got {given!r}; give [{given!r}]."
    rule = problem["msg"].removeprefix("Input should be ").removeprefix("String should have ")
    return f"`{where}` must be {rule}, got {problem['input']!r}."


def _is_kind(part: int | str) -> bool:
    """Whether a part of a place is the word of pydantic for one of several types, and no key."""
    return isinstance(part, str) and ("[" in part or part.startswith("constrained-") or part in {"float", "int", "str"})
