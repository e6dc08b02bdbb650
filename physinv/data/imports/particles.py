"""Particles of a recording: the kind of each, the box that they are in, and their way through it.

A box may change from frame to frame.  Positions are taken relative to it and put into a cube of its mean side ``L``,

    r' = L s,    s = H(t)^-1 r,

with the matrix ``H`` of the box.  Along a trajectory they go on through the sides of the cube, back from the last
state, which lies inside: so an observation, which lies inside as well, is of the same kind.
"""

from __future__ import annotations

__all__ = ["Beside", "beside_particles", "continued", "in_cube", "side_of", "with_species"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from physinv.data.sources.roles import role_of
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    import xarray as xr

_SPECIES = ("species", "typeid", "types", "type")  # names under which files tell kinds of particles
_CUBE = 0.1  # of the mean side: by how much sides may differ, and boxes be tilted


@dataclass(frozen=True)
class Beside:
    """What a file says of particles beside their vectors.

    Args:
        species: +1 or -1 of each particle, one row for all trajectories or one for each; None: all are alike.
        boxes: Sides and tilts at one time or at all, ``(time, 6)``; None: there is no box.
    """

    species: Float[np.ndarray, "n particle"] | None = None
    boxes: Float[np.ndarray, "time 6"] | None = None


def beside_particles(
    source: xr.Dataset, dims: Sequence[str], box: str | None, path: str
) -> tuple[xr.Dataset, Beside | None]:
    """Take kinds and box of particles out of a dataset.

    Args:
        source: All variables.
        dims: Names of axes that the user gave.
        box: A side, sides separated by commas, the name of a variable, or a file; None: the variable ``box``, if any.
        path: Where the data come from, for messages.

    Returns:
        The other variables, and what was taken out; None where there are no particles.

    Raises:
        ValueError: If there are more than two kinds, or the box is none.
    """
    if "particle" not in map(role_of, [*dims, *map(str, source.dims)]):
        if box is not None:
            raise ValueError(
                f"`--box` is for particles, {path} names no axis of them; name it, such as "
                "`--dims time,particle,component`."
            )
        return source, None
    named = [str(n) for n in source.data_vars if str(n).lower() in _SPECIES and source.variables[n].ndim in (1, 2)]
    species = None
    if named:
        kinds = np.atleast_2d(np.asarray(source[named[0]].values))
        known = np.unique(kinds)
        if len(known) > 2:
            raise ValueError(
                f"`{named[0]}` of {path} tells {len(known)} kinds of particles apart, two can be; leave it out."
            )
        species = np.where(kinds == known[0], 1.0, -1.0) if set(known) != {-1, 1} else kinds.astype(float)
    held = next((str(n) for n in source.data_vars if str(n).lower() == "box"), None)
    boxes = _boxes(source, box or held, path)
    gone = [n for n in (*named[:1], box if box in source.data_vars else None, held) if n is not None]
    return source.drop_vars(set(gone)), Beside(species, boxes)


def side_of(boxes: Float[np.ndarray, "time 6"] | None, dimension: int, path: str) -> tuple[float, list[str]]:
    """Return the mean side of a box.

    Args:
        boxes: Sides and tilts; None: there is no box.
        dimension: Dimension of space.
        path: Where they come from, for messages.

    Returns:
        The side, 0 without a box, and a sentence where boxes differ.

    Raises:
        ValueError: If a box is not nearly a cube (a square in the plane).
    """
    if boxes is None:
        return 0.0, []
    sides, tilts = boxes[:, :dimension], boxes[:, 3:] if dimension == 3 else boxes[:, 3:4]
    mean = sides.mean()
    uneven = np.abs(sides / sides.mean(1, keepdims=True) - 1).max() if (sides > 0).all() else np.inf
    if not np.isfinite(boxes).all() or uneven > _CUBE or np.abs(tilts).max(initial=0) > _CUBE:
        shown = ", ".join(f"{v:.4g}" for v in boxes[0])
        raise ValueError(
            f"the box of {path} must be a cube within {_CUBE:.0%}, got the sides and tilts {shown}; take a cubic part "
            "of the system, or leave the box out (`--variable`)."
        )
    if np.ptp(boxes, axis=0).max() <= 1e-6 * mean and np.ptp(sides) <= 1e-6 * mean:
        return float(mean), []
    return float(mean), [
        f"the box changes or is no exact cube: positions are scaled to a cube of its mean side, {mean:g}"
    ]


def in_cube(
    r: Float[np.ndarray, "*n time particle d"], boxes: Float[np.ndarray, "times 6"], side: float
) -> Float[np.ndarray, "*n time particle d"]:
    """Put positions into the cube of the mean side.

    Args:
        r: Positions, with the origin in the middle of the box or at a corner.
        boxes: Sides and tilts at each time, or at one.
        side: Mean side.

    Returns:
        Positions between minus and plus half of the mean side.
    """
    d = r.shape[-1]
    sides, (xy, xz, yz) = boxes[:, :d], boxes[:, 3:].T
    s = np.empty_like(r)
    if d == 3:  # H is upper triangular: solved from the last coordinate on
        s[..., 2] = r[..., 2] / sides[:, 2, None]
        y = r[..., 1] - (yz * sides[:, 2])[:, None] * s[..., 2]
        s[..., 1] = y / sides[:, 1, None]
        x = r[..., 0] - (xy * sides[:, 1])[:, None] * s[..., 1] - (xz * sides[:, 2])[:, None] * s[..., 2]
        s[..., 0] = x / sides[:, 0, None]
    else:
        s = r / sides[:, None]
    return np.asarray(side * (s - np.round(s)))


def continued(x: Float[np.ndarray, "n time particle k"], layout: StateLayout) -> Float[np.ndarray, "n time particle k"]:
    """Let trajectories go on through the sides of the box, back from their last states.

    Args:
        x: States; a particle moves by less than half a box between two of them.
        layout: Their layout.

    Returns:
        The states; the last ones are unchanged.
    """
    if not layout.box:
        return x
    d, out = layout.positions, x.copy()
    out[..., :d] = np.unwrap(x[:, ::-1, :, :d], period=layout.box, axis=1)[:, ::-1]
    return out


def with_species(
    x: Float[np.ndarray, "*n particle k"], beside: Beside | None, layout: StateLayout
) -> Float[np.ndarray, "*n particle c"]:
    """Complete observed vectors of particles: positions in the cube of the process, and the kind of each.

    Args:
        x: Vectors of one state or many, or whole states, which are returned as they are.
        beside: What the file says of kinds and box.
        layout: Layout of the states of the process.

    Returns:
        Whole states.
    """
    if x.shape[-1] != layout.shape[-1] - 1:
        return x
    d, x = layout.positions, x.copy()
    if beside is not None and beside.boxes is not None and layout.box:
        x[..., :d] = in_cube(x[..., None, :, :d], beside.boxes[-1:], layout.box)[..., 0, :, :]
    kinds = np.ones(x.shape[-2]) if beside is None or beside.species is None else beside.species[0]
    return np.concatenate([x, np.broadcast_to(kinds[:, None], (*x.shape[:-1], 1))], axis=-1)


def _boxes(source: xr.Dataset, told: str | None, path: str) -> NDArray[np.float64] | None:
    """Sides and tilts ``(time, 6)`` of a number, of numbers, of a variable, or of a file."""
    from physinv.data.sources.read import open_source

    if told is None:
        return None
    try:
        values = np.array([float(v) for v in told.split(",")])
        values = np.repeat(values, 3) if len(values) == 1 else values
    except ValueError:
        if told in source.variables:
            values = np.asarray(source[told].values, dtype=float)
        elif Path(told).is_file():
            held = open_source(told)
            values = np.asarray(held[next(iter(held.data_vars))].values, dtype=float)
        else:
            raise ValueError(
                f"`--box` must be a side, sides, a variable of {path} or a file of boxes, got {told!r}."
            ) from None
    many = values.ndim == 1 and len(values) not in (2, 3, 6)  # one side at each time
    values = np.atleast_2d(values[:, None] if many else values)
    values = np.repeat(values, 3, axis=1) if values.shape[-1] == 1 else values
    if values.ndim != 2 or values.shape[1] not in (2, 3, 6):
        raise ValueError(
            f"`--box` of {path} must have 2 or 3 sides, or 6 with tilts, at each time, got {values.shape}."
        )
    return np.pad(values, ((0, 0), (0, 6 - values.shape[1])))
