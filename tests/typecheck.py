"""The run-time type checker of the test suite: beartype, where a float may be an int (PEP 484) or a scalar tensor.

The latter stands in for physical parameters that are differentiated with respect to.  Of the calls of a function in one
test the first 20 are checked, and then one of 16: solvers and trainings call the same functions thousands of times with
the same shapes, and checking each took half of the time of the suite.
"""

from functools import wraps

from beartype import BeartypeConf, FrozenDict, beartype
from torch import Tensor

ALWAYS, THEN = 20, 16

every_call = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({float: float | int | Tensor})))
current = [0]  # number of the test that runs


def next_test():
    """Check the first calls of every function again."""
    current[0] += 1


def check(function):
    """Let beartype check the first calls of a function in each test, and some of the later ones."""
    checked = every_call(function)
    test = calls = 0

    @wraps(function)
    def often_enough(*args, **kwargs):
        nonlocal test, calls
        if test != current[0]:
            test, calls = current[0], 0
        calls += 1
        if calls > ALWAYS and calls % THEN:
            return function(*args, **kwargs)
        return checked(*args, **kwargs)

    return often_enough
