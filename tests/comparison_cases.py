"""A comparison that takes seconds, shared by the tests of comparisons."""

from physinv.comparison.recipe import Benchmark
from physinv.data.recipe import Splits


def small(**changes):
    """A comparison that takes seconds."""
    base = {
        "simulator": "ornstein-uhlenbeck",
        "parameters": {"steps": 4},
        "splits": Splits(train=300, valid=50, test=60),
        "methods": ["exact", "linear"],
        "budget": 0.1,
        "observations": 60,
        "samples": 4,
    }
    return Benchmark(**(base | changes))
