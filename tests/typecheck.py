"""The run-time type checker of the test suite: beartype, where a float may be an int (PEP 484) or a scalar tensor.

The latter stands in for physical parameters that are differentiated with respect to.  Functions and classes without
arrays of stated shapes are left to the static checker.  Of the calls of a function in one test the first 3 are checked,
and then one of 256: solvers and trainings call the same functions thousands of times with the same shapes, and checking
each took half of the time of the suite.
"""

import re
from functools import partial, wraps
from types import FunctionType

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype
from torch import Tensor

ALWAYS, THEN = 3, 256

check = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({float: float | int | Tensor})))
checks_every_call = jaxtyping.jaxtyped
counted: dict = {}  # calls in this test, by the code of the function: inner functions are made anew in every call

SHAPED = re.compile(
    rf"\b({'|'.join(n for n, kind in vars(jaxtyping).items() if issubclass(type(kind), type(jaxtyping.Float)))})\["
)


def next_test():
    """Check the first calls of every function again."""
    for count in counted.values():
        count[0] = 0


def checks_some_calls(function=None, *, typechecker):
    """Decorate a function such that jaxtyping checks its first calls in each test, and some of the later ones."""
    if function is None:
        return partial(checks_some_calls, typechecker=typechecker)
    if not any(SHAPED.search(str(annotation)) for annotation in function.__annotations__.values()):
        return function
    if not isinstance(function, FunctionType):
        return checks_every_call(function, typechecker=typechecker)
    checked, count = None, counted.setdefault(function.__code__, [0])

    @wraps(function)
    def called(*args, **kwargs):
        nonlocal checked
        count[0] += 1
        if count[0] > ALWAYS and count[0] % THEN:
            return function(*args, **kwargs)
        if checked is None:
            checked = checks_every_call(function, typechecker=typechecker)
        return checked(*args, **kwargs)

    return called


jaxtyping.jaxtyped = checks_some_calls  # the name by which its import hook decorates every function of the packages
