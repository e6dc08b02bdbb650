"""HDF5 files of the right structure with numbers that cannot be."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from tests.fuzz.attempt import REFUSED, Attempt, Expected, InapplicableError, mutation
from tests.fuzz.mutations.hdf5_structure import datasets, essential, one


def _numbers(attempt: Attempt, file: h5py.File) -> str:
    return one(attempt, [n for n in datasets(file, "f") if file[n].size])


@mutation("hdf5")
def not_finite(attempt: Attempt) -> Expected:
    """A number is NaN or infinite."""
    with h5py.File(attempt.target, "r+") as file:
        name = _numbers(attempt, file)
        x = np.asarray(file[name][()], dtype=file[name].dtype)
        x.reshape(-1)[attempt.random.randrange(x.size)] = attempt.random.choice((np.nan, np.inf, -np.inf))
        file[name][...] = x
    return REFUSED if essential(name) and name != "observation" else attempt.changed


@mutation("hdf5")
def out_of_range(attempt: Attempt) -> Expected:
    """Numbers of a size that nothing can be computed with."""
    with h5py.File(attempt.target, "r+") as file:
        name = _numbers(attempt, file)
        x = np.asarray(file[name][()])
        file[name][...] = x * attempt.random.choice((0.0, 1e30, -1e20, 1e-40)) + attempt.random.choice((0, 1e25))
    return attempt.changed


@mutation("trajectories")
def times_that_cannot_be(attempt: Attempt) -> Expected:
    """Times that run backward, stand still, or are no numbers, in both places that hold them."""
    with h5py.File(attempt.target, "r+") as file:
        times = file["physinv/time"][...] if "physinv/time" in file else None
        if times is None:
            raise InapplicableError
        nan = np.where(np.arange(len(times)) == attempt.random.randrange(len(times)), np.nan, times)
        huge = times * 1e300
        wrong = attempt.random.choice((times[::-1], times * 0, nan, huge, times + 1, times * 1.5))
        for name in ("physinv/time", "time"):
            file[name][...] = wrong.astype(file[name].dtype)
    return REFUSED


@mutation("trajectories")
def places_that_cannot_be(attempt: Attempt) -> Expected:
    """Positions of a grid that are no grid."""
    with h5py.File(attempt.target, "r+") as file:
        found = [
            n for n in datasets(file, "f") if n.startswith("physinv/") and n != "physinv/time" and file[n].ndim == 1
        ]
        if not found:
            raise InapplicableError
        name = attempt.random.choice(found)
        x = file[name][...]
        wrong = attempt.random.choice((x[::-1], x * 0, x * np.nan, np.sort(x**2)[::-1], x * 1e300))
        file[name][...] = wrong
    return attempt.changed


@mutation("trajectories")
def states_mixed_up(attempt: Attempt) -> Expected:
    """States of two trajectories, or of two times, changed places."""
    with h5py.File(attempt.target, "r+") as file:
        name = one(attempt, [n for n in datasets(file, "f") if essential(n) and file[n].ndim > 2])
        x: Any = file[name][...]
        axis = attempt.random.randrange(2)
        if x.shape[axis] < 2:
            raise InapplicableError
        order = list(range(x.shape[axis]))
        a, b = attempt.random.sample(order, 2)
        order[a], order[b] = order[b], order[a]
        file[name][...] = x.take(order, axis)
    return attempt.changed
