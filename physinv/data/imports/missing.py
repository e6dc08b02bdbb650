"""Points without data: land in maps of the sea, for example.  What is missing always is a mask, all else is refused."""

from __future__ import annotations

__all__ = ["find_mask", "in_float32", "refuse_missing"]

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from physinv.data.imports.recording import Recording


def find_mask(recordings: Sequence[Recording], chunk_bytes: int) -> tuple[NDArray[np.bool_] | None, list[str]]:
    """Find the points of fields that hold data.

    Args:
        recordings: Trajectories of one layout.
        chunk_bytes: Bytes of states that are read at once, at most, but for one time of one trajectory.

    Returns:
        True where there are data at all times, shape of space; None where no point is missing in the first state.
        Sentences about variables that lose data where others have none.

    Raises:
        ValueError: If a point is missing at some times only, or everywhere.
    """
    first = recordings[0]
    peek = np.isnan(first.read(slice(0, 1), slice(0, 1)))
    if not first.layout.space or not peek.any():
        return None, []
    if peek.all():
        raise ValueError(f"the first state of {first.path} is missing everywhere; leave such states out.")
    always, ever = np.ones(peek.shape[2:], dtype=bool), np.zeros(peek.shape[2:], dtype=bool)
    for recording in recordings:
        for _, missing in _missing(recording, chunk_bytes):
            always &= missing.all(axis=(0, 1))
            ever |= missing.any(axis=(0, 1))
    if (ever & ~always).any():
        refuse_missing(recordings, chunk_bytes)
    mask = np.asarray(~always.any(axis=0))
    return mask, _lost(list(first.layout.names), always, mask)


def _lost(names: Sequence[str], always: NDArray[np.bool_], mask: NDArray[np.bool_]) -> list[str]:
    """A sentence where points without data differ between the variables: one mask is that of all."""
    gone = {name: int(missing.sum()) for name, missing in zip(names, always, strict=False)}
    blank = int((~mask).sum())
    lacking = [f"`{name}` has no data at {n} of {mask.size} points" for name, n in gone.items() if n]
    losing = [f"`{name}` loses data at {blank - n}" for name, n in gone.items() if n < blank]
    if not losing:
        return []
    return [
        f"{', '.join(lacking)}: all variables are left blank there, so that {', '.join(losing)} of them; "
        "fill them before, or import variables apart (`--variable`)"
    ]


def refuse_missing(recordings: Sequence[Recording], chunk_bytes: int) -> None:
    """Raise ValueError that names how many points are missing at some times only, and where the first is.

    Args:
        recordings: Trajectories of one layout.
        chunk_bytes: Bytes of states that are read at once, at most.

    Raises:
        ValueError: If there are such points.
    """
    for recording in recordings:
        shape = recording.layout.shape
        always, ever = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
        bad = np.zeros(recording.count, dtype=bool)
        for samples, missing in _missing(recording, chunk_bytes):
            always &= missing.all(axis=(0, 1))
            ever |= missing.any(axis=(0, 1))
            bad[samples] |= missing.reshape(len(missing), -1).any(axis=1)
        if not (points := int((ever & ~always).sum())):
            continue
        parts = recording.layout.parts()
        known = [name for name, place in parts if name in recording.layout.static and ever[place].any()]
        if known and not any(ever[place].any() for name, place in parts if name not in known):
            raise ValueError(
                f"`{known[0]}` of {recording.path} is missing (NaN) in {int(bad.sum())} of {recording.count} "
                f"trajectories, first in trajectory {int(bad.argmax())}; fill it, or leave those out."
            )
        who = f", first in trajectory {int(bad.argmax())}" if recording.count > 1 else ""
        raise ValueError(
            f"{points} of {ever.size} numbers of a state of {recording.path} are missing (NaN) at some times only"
            f"{who}; fill them (`interpolate_na` of xarray, `interpolate` of pandas), or leave those times out."
        )


def _missing(recording: Recording, chunk_bytes: int) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """For parts of all states whether each number is missing, with the trajectories they belong to."""
    one = 8 * int(np.prod(recording.layout.shape))
    steps = max(1, min(len(recording.times), chunk_bytes // one))
    many = max(1, chunk_bytes // (one * steps))
    for a in range(0, recording.count, many):
        samples = slice(a, min(a + many, recording.count))
        for b in range(0, len(recording.times), steps):
            yield samples, np.isnan(recording.read(samples, slice(b, b + steps)))


def in_float32(x: NDArray[np.float64], path: str, first: int = 0) -> NDArray[np.float32]:
    """Return states in float32, in which data are stored.

    Args:
        x: States, one after the other.
        path: Where they come from, for messages.
        first: Number of the first one there.

    Raises:
        ValueError: If a number is not finite, or too large.
    """
    with np.errstate(over="ignore"):
        states = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(states).all():
        at = tuple(np.argwhere(~np.isfinite(states))[0])
        where = f"trajectory {first + int(at[0])} of {path}"
        if np.isfinite(x[at]):
            raise ValueError(
                f"{where} holds {x[at]:.3g}, which does not fit float32 (at most {np.finfo(np.float32).max:.2g}); "
                "write the states in larger units."
            )
        raise ValueError(f"{where} holds NaN or infinity; leave it out of the file.")
    return states
