"""Laws of ``x_0`` around a linear estimate, relative to the observation: for recordings.

Recordings are often nearly deterministic and drift: the values of tomorrow were never seen, only differences like
theirs.  So a network sees the observation in bounded coordinates, and what it says is relative to the linear estimate,
which continues a trend where a network cannot.
"""

from physinv.models.increments.base import LEAST, IncrementLaw
from physinv.models.increments.field import FieldIncrements
from physinv.models.increments.spread import factor_of_mixture, spread_factor, spread_scores
from physinv.models.increments.vector import VectorIncrements

__all__ = [
    "LEAST",
    "FieldIncrements",
    "IncrementLaw",
    "VectorIncrements",
    "factor_of_mixture",
    "spread_factor",
    "spread_scores",
]
