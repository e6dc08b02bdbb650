"""The run-time type checker of the test suite: beartype, where a float may be an int (PEP 484) or a scalar tensor.

The latter stands in for physical parameters that are differentiated with respect to.  Functions and classes without
arrays of stated shapes are left to the static checker.  Of the calls of a function in one test the first is checked,
and then one of 256: solvers and trainings call the same functions thousands of times with the same shapes, and checking
each took half of the time of the suite.
"""

import re
from collections.abc import Iterator
from functools import partial, wraps
from inspect import isgeneratorfunction
from itertools import count
from types import CodeType, FunctionType
from typing import Any, get_type_hints

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype
from torch import Tensor

EVERY = 256

check = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({float: float | int | Tensor})))
in_scope_of_names = jaxtyping.jaxtyped
counted: dict[CodeType, list[Iterator[int]]] = {}  # calls in this test: inner functions are made anew in every call
begun: list[list[Iterator[int]]] = []  # the counts of what this test has called

SHAPED = re.compile(
    rf"\b({'|'.join(n for n, kind in vars(jaxtyping).items() if issubclass(type(kind), type(jaxtyping.Float)))})\["
)


def next_test():
    """Check the first calls of every function again."""
    for calls in begun:
        calls[0] = count()
    begun.clear()


def checks_every_call(function, *, typechecker):
    """Let the type checker decorate a function, and jaxtyping hold the sizes that names have in a call.

    This is jaxtyping's way for functions that have been decorated already: it checks arguments once, where the other
    one checks them before the call, for its message, and with what is returned again.
    """
    if isgeneratorfunction(function):
        return in_scope_of_names(function, typechecker=typechecker)
    same = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    for name in ("__kwdefaults__", "__qualname__", "__module__"):
        setattr(same, name, getattr(function, name))
    given = function.__annotations__.items()
    same.__annotations__ = {name: meaning(annotation, function.__globals__) for name, annotation in given}
    return in_scope_of_names(typechecker(same), typechecker=None)


def meaning(annotation, names):
    """The type that an annotation in quotes names, and any where it is imported for static checkers only."""

    def of(value): ...

    of.__annotations__ = {"value": annotation}
    try:
        return get_type_hints(of, names, include_extras=True)["value"]
    except Exception:
        return Any


def checks_some_calls(function=None, *, typechecker):
    """Decorate a function such that jaxtyping checks its first calls in each test, and some of the later ones."""
    if function is None:
        return partial(checks_some_calls, typechecker=typechecker)
    if not any(SHAPED.search(str(annotation)) for annotation in function.__annotations__.values()):
        return function
    if not isinstance(function, FunctionType):
        return in_scope_of_names(function, typechecker=typechecker)
    checked, calls = None, counted.setdefault(function.__code__, [count()])

    @wraps(function)
    def called(*args, **kwargs):
        nonlocal checked
        if next(calls[0]) % EVERY:
            return function(*args, **kwargs)
        begun.append(calls)
        if checked is None:
            checked = checks_every_call(function, typechecker=typechecker)
        return checked(*args, **kwargs)

    return called


jaxtyping.jaxtyped = checks_some_calls  # the name by which its import hook decorates every function of the packages
