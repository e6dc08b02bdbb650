"""State layouts: what the numbers of a state stand for, and everything that depends on it.

``VectorLayout``     states ``(dim,)``: a few numbers, and numbers that are known beside them
``FieldLayout``      states ``(channels, *space)``: functions of position on a grid
``ParticleLayout``   states ``(count, components)``: positions, momenta and the like of interacting particles

Code that handles states asks a layout for what it needs (its default network, the axes to average over, the names of
its axes in files, how it is drawn) and never which of the three it is.
"""

from __future__ import annotations

__all__ = ["BOUNDARIES", "FieldLayout", "ParticleLayout", "StateLayout", "VectorLayout", "layout_from"]

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.inputs import check_count, describe
from physinv.config.suggest import did_you_mean
from physinv.processes.layout_base import BOUNDARIES, Place, StateLayout


@final
@dataclass(frozen=True, init=False)
class VectorLayout(StateLayout):
    """States ``(size + static,)``: a vector of numbers with one name, then static numbers with names of their own.

    Args:
        name: Name of the vector.
        size: Number of components that move, at least 1.
        static: Names of the numbers that never change in time, such as a parameter that differs between trajectories.

    Raises:
        ValueError: If ``size`` is below 1, or two names are the same.

    Example:
        >>> VectorLayout("position", 3).shape, VectorLayout("temperature", 3, "heater").shape
        ((3,), (4,))
    """

    kind: ClassVar[str] = "vector"
    network: ClassVar[str] = "mlp"
    references: ClassVar[tuple[str, ...]] = ("mixture", "low-rank")
    default_rate: ClassVar[float] = 1e-3

    def __init__(self, name: str, size: int, static: str | Sequence[str] = ()) -> None:
        if not isinstance(name, str):
            raise ValueError(f"`name` of a vector must be a word, got {describe(name)}; give VectorLayout(name, size).")
        size = check_count(size, "`size` of a vector")
        static = _words(static)
        if len({name, *static}) < 1 + len(static):
            raise ValueError(f"`static` of a vector must name each number once, got {static} beside {name!r}.")
        super().__init__((name, *static), ("coordinate",), (_numbered(size),), static=static)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.coordinates[0]) + len(self.static),)

    @property
    def dims(self) -> tuple[str, ...]:
        return ("component",) if self.static else self.axes

    def axes_of(self, name: str) -> tuple[str, ...]:
        return () if name in self.static else self.axes

    def with_static(self, names: Sequence[str]) -> VectorLayout:
        return VectorLayout(self.names[0], len(self.coordinates[0]), (*self.static, *names))

    @property
    def picture(self) -> str:
        return "vector"

    @property
    def default_batch(self) -> int:
        """Windows per update of the network: small states leave room for many."""
        return 2048

    @property
    def default_validation_windows(self) -> int:
        """Windows on which training is validated."""
        return 32768

    def parts(self) -> list[tuple[str, Place]]:
        size = len(self.coordinates[0])
        still: list[tuple[str, Place]] = [(name, (size + i,)) for i, name in enumerate(self.static)]
        return [(self.names[0], (slice(0, size),)), *still]


@final
@dataclass(frozen=True, init=False)
class FieldLayout(StateLayout):
    """States ``(channels, *space)``: functions of position on a grid.

    Args:
        names: One name per channel; a single name may stand alone.
        axes: One name per axis of space; a single name may stand alone.
        coordinates: Positions of the grid points along each axis, in the process's unit of length.
        boundary: What lies at the ends of all axes: ``"PERIODIC"``, ``"WALL"`` or ``"OPEN"``; where axes differ, one
            word for each of them, joined by commas, such as ``"WALL,PERIODIC"``; small letters will do.
        static: Names of the channels that never change in time.
        mask: Which points hold data, an array over space or its numbers in a row; empty: all of them.

    Raises:
        ValueError: If there are no channels or axes, their names repeat, the numbers of axes and coordinates differ,
            ``boundary`` or ``static`` is unknown, or ``mask`` has another size or leaves no point.

    Example:
        >>> layout = FieldLayout(("u", "v"), ("x", "y"), [range(32), range(16)], "WALL")
        >>> layout.shape
        (2, 32, 16)
    """

    kind: ClassVar[str] = "field"
    network: ClassVar[str] = "unet"
    references: ClassVar[tuple[str, ...]] = ("linear", "smoother")
    default_rate: ClassVar[float] = 4e-3

    def __init__(
        self,
        names: str | Sequence[str],
        axes: str | Sequence[str],
        coordinates: Sequence[Iterable[float]],
        boundary: str = "PERIODIC",
        static: str | Sequence[str] = (),
        mask: Iterable[bool] | Bool[np.ndarray, "*space"] = (),
    ) -> None:
        try:
            places = tuple(tuple(float(x) for x in along) for along in coordinates)
        except (TypeError, ValueError):
            raise ValueError(
                f"`coordinates` must hold one list for each of {_words(axes)!r}, got {describe(coordinates)}; "
                "give a list of lists."
            ) from None
        boundary = _joined(boundary)
        filled = tuple(np.asarray(mask if isinstance(mask, np.ndarray) else list(mask), dtype=bool).flatten().tolist())
        whole = () if all(filled) else filled
        super().__init__(_words(names), _words(axes), places, boundary, _words(static), mask=whole)
        for what, words in (("names", self.names), ("axes", self.axes)):
            if not words or len(set(words)) < len(words):
                raise ValueError(f"`{what}` of a field must be one or more different names, got {words!r}.")
        for along in places:
            if not along:
                raise ValueError("`coordinates` must hold one or more positions along each axis, got none.")
            if not all(math.isfinite(x) for x in along):
                raise ValueError("`coordinates` must be finite, got NaN or infinity; give the position of each point.")
            if len({a < b for a, b in pairwise(along)}) > 1 or len(set(along)) < len(along):
                raise ValueError("`coordinates` must increase or decrease along each axis; sort them, no point twice.")
        if len(places) != len(self.axes):
            raise ValueError(f"`coordinates` must hold one list for each of {self.axes!r}, got {len(places)} of them.")
        ends = self.boundaries
        if len(ends) != len(self.axes) or any(kind not in BOUNDARIES for kind in ends):
            each = "" if len(self.axes) == 1 else f", or {len(self.axes)} of them joined by commas"
            raise ValueError(f"`boundary` must be one of {', '.join(BOUNDARIES)}{each}, got {boundary!r}.")
        points = math.prod(map(len, places))
        if filled and (len(filled) != points or not any(filled)):
            raise ValueError(
                f"`mask` must say of {points} points which hold data, at least one, got {sum(filled)} of {len(filled)}."
            )
        for name in self.static:
            if name not in self.names:
                raise ValueError(f"the field has no channel `{name}` (`static`); {did_you_mean(name, self.names)}")

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.names), *(len(along) for along in self.coordinates))

    @property
    def dims(self) -> tuple[str, ...]:
        return ("channel", *self.axes)

    @property
    def picture(self) -> str:
        return "profile" if len(self.axes) == 1 else "image"

    @property
    def space(self) -> tuple[str, ...]:
        return self.axes

    @property
    def basis(self) -> Literal["fourier", "identity"]:
        return "fourier" if self.periodic and not self.mask else "identity"

    @property
    def valid(self) -> Bool[Tensor, "*space"] | None:
        return torch.tensor(self.mask).reshape(self.shape[1:]) if self.mask else None

    def masked(self, mask: Bool[np.ndarray, "*space"] | None) -> FieldLayout:
        filled = () if mask is None else np.asarray(mask)
        return FieldLayout(self.names, self.axes, self.coordinates, self.boundary, self.static, filled)

    def with_static(self, names: Sequence[str]) -> FieldLayout:
        names, static = (*self.names, *names), (*self.static, *names)
        return FieldLayout(names, self.axes, self.coordinates, self.boundary, static, self.mask)

    def scored(self, x: Float[Tensor, "*batch_and_state"]) -> Float[Tensor, "*batch_and_scored"]:
        moving = self.moving(x)
        if (valid := self.valid) is None:
            return moving
        return moving.flatten(-len(self.axes))[..., valid.flatten().to(x.device)].flatten(-2)

    def emptied(self, x: Float[Tensor, "*batch_and_state"]) -> Float[Tensor, "*batch_and_state"]:
        valid = self.valid
        return x if valid is None else torch.where(valid.to(x.device), x, torch.zeros_like(x))

    def channel_mean(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "*one_state"]:
        if not self.mask:
            return super().channel_mean(x)
        return super().channel_mean(self.emptied(x)) * (len(self.mask) / sum(self.mask))

    def parts(self) -> list[tuple[str, Place]]:
        whole: Place = (slice(None),) * len(self.axes)
        return [(name, (channel, *whole)) for channel, name in enumerate(self.names)]


@final
@dataclass(frozen=True, init=False)
class ParticleLayout(StateLayout):
    """States ``(count, components)``: a few vectors and the static species (+1 or -1) of each particle.

    Args:
        count: Number of particles.
        dimension: Number of components of a vector: the dimension of space.
        names: One name per vector of a particle, its position first, such as ``("position", "momentum")``; the static
            ``species`` follows by itself.
        box: Period of the positions; 0 without one.
        isotropic: Whether the law of the states is invariant under rotations and reflections about the origin.

    Raises:
        ValueError: If ``count`` or ``dimension`` is below 1, or there is no name.

    Example:
        >>> layout = ParticleLayout(16, 2, ("position",))
        >>> layout.names, layout.shape
        (('position', 'species'), (16, 3))
    """

    kind: ClassVar[str] = "particles"
    network: ClassVar[str] = "particles"
    references: ClassVar[tuple[str, ...]] = ("particles",)
    default_rate: ClassVar[float] = 4e-3
    channel_axis: ClassVar[int] = -1
    partly_observable: ClassVar[bool] = False

    def __init__(
        self, count: int, dimension: int, names: str | Sequence[str], box: float = 0.0, isotropic: bool = False
    ) -> None:
        count, dimension = (
            check_count(count, "`count` of particles"),
            check_count(dimension, "`dimension` of particles"),
        )
        if not isinstance(box, Real) or box < 0:
            raise ValueError(f"`box` of particles must be 0 or the period of their positions, got {describe(box)}.")
        if not names:
            raise ValueError(f"`names` of particles must hold at least one name, got {names!r}; add `position`.")
        words, places = (*_words(names), "species"), (_numbered(count), _numbered(dimension))
        boundary = "PERIODIC" if box > 0 else "OPEN"
        super().__init__(words, ("particle", "component"), places, boundary, ("species",), box, isotropic)

    @property
    def count(self) -> int:
        """Number of particles."""
        return len(self.coordinates[0])

    @property
    def dimension(self) -> int:
        """Number of components of a vector."""
        return len(self.coordinates[1])

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, self.dimension * (len(self.names) - 1) + 1)

    @property
    def dims(self) -> tuple[str, ...]:
        return ("particle", "feature")

    @property
    def picture(self) -> str:
        return "particles"

    @property
    def positions(self) -> int:
        return self.dimension

    @property
    def copies_per_step(self) -> int:
        """Multiples of a state that a solver step keeps: one vector for each pair of particles."""
        return self.count

    @property
    def file_attributes(self) -> dict[str, float | bool]:
        return {"box": self.box, "isotropic": self.isotropic}

    def axes_of(self, name: str) -> tuple[str, ...]:
        return self.axes[:1] if name in self.static else self.axes

    def parts(self) -> list[tuple[str, Place]]:
        d, vectors = self.dimension, len(self.names) - 1
        found: list[tuple[str, Place]] = [
            (name, (slice(None), slice(i * d, (i + 1) * d))) for i, name in enumerate(self.names[:-1])
        ]
        return [*found, (self.names[-1], (slice(None), vectors * d))]

    def pooled(self, squares: Float[Tensor, "batch *state"]) -> Float[Tensor, "*one_state"]:
        mean = self.channel_mean(squares)
        parts = [mean[:, place[-1]].reshape(1, -1) for _, place in self.parts()]
        return torch.cat([part.mean().expand_as(part) for part in parts], dim=1)


def layout_from(
    kind: str,
    names: Sequence[str],
    axes: Sequence[str],
    coordinates: Sequence[Sequence[float]],
    boundary: str = "OPEN",
    static: Sequence[str] = (),
    box: float = 0.0,
    isotropic: bool = False,
    mask: Iterable[bool] = (),
) -> StateLayout:
    """Build the layout that a file describes.

    Args:
        kind: ``"vector"``, ``"field"`` or ``"particles"``.
        names: Names of the parts of a state, the species of particles included.
        axes: Names of the axes.
        coordinates: Positions along each axis.
        boundary: What lies at the ends of the axes.
        static: Names of the parts that never change in time.
        box: Period of the positions of particles; 0 without one.
        isotropic: Whether the law of the states knows no directions.
        mask: Which points of a field hold data; empty: all of them.

    Returns:
        The layout.

    Raises:
        ValueError: If ``kind`` is unknown, or the rest does not describe a layout of this kind.
    """
    if kind == "field":
        return FieldLayout(names, axes, coordinates, boundary, static, mask)
    sizes = [len(along) for along in coordinates]
    if kind == "vector" and len(sizes) == 1 and len(names) == 1 + len(static):
        found: StateLayout = VectorLayout(names[0], sizes[0], tuple(static))
    elif kind == "particles" and len(names) > 1 and len(sizes) == 2:
        found = ParticleLayout(sizes[0], sizes[1], tuple(names[:-1]), box, isotropic)
    elif kind in ("vector", "particles"):
        raise ValueError(f"a layout of kind {kind!r} can't have the names {tuple(names)} and axes {tuple(axes)}.")
    else:
        raise ValueError(f"there is no layout of kind {kind!r}; {did_you_mean(kind, ('vector', 'field', 'particles'))}")
    told = {"names": tuple(names), "axes": tuple(axes), "coordinates": tuple(map(tuple, coordinates))}
    for what, value in {**told, "static": tuple(static)}.items():
        if value != getattr(found, what):
            raise ValueError(f"`{what}` of a layout of kind {kind!r} must be {getattr(found, what)}, got {value}.")
    return found


def _numbered(n: int) -> tuple[float, ...]:
    return tuple(float(i) for i in range(n))


def _joined(boundary: str) -> str:
    """What lies at the ends of the axes in capitals, as one word where all of them are alike."""
    kinds = [kind.strip().upper() for kind in str(boundary).split(",")]
    return kinds[0] if len(set(kinds)) == 1 else ",".join(kinds)


def _words(given: str | Sequence[str]) -> tuple[str, ...]:
    words = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    if not all(isinstance(word, str) for word in words):
        raise ValueError(f"the names of a layout must be words, got {describe(given)}; give one or a tuple of them.")
    return words
