"""Paths between two laws: interpolants of pairs of states, and where flows and bridges between Gaussian pairs lead."""

from physinv.equations.paths.interpolants import Interpolant
from physinv.equations.paths.pairs import Arrival, GaussianPair

__all__ = ["Arrival", "GaussianPair", "Interpolant"]
