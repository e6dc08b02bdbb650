"""What every state layout offers: see :mod:`physinv.processes.layout`."""

from __future__ import annotations

__all__ = ["BOUNDARIES", "Place", "StateLayout"]

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Place = tuple[int | slice, ...]
"""Index of one part of a state ``x``: the part is ``x[(..., *place)]``."""

BOUNDARIES = ("PERIODIC", "WALL", "OPEN")
"""What can lie at the ends of an axis, in the words of The Well's file format."""

_FEWEST_POINTS = 8  # along an axis, from which there are low, middle and high wave numbers


@dataclass(frozen=True)
class StateLayout(ABC):
    """Names, axes and coordinates of the states of a process.

    Attributes:
        kind: Word for the layout in trajectory files. Only code that reads and writes files needs it.
        network: Name of the default network, see :mod:`physinv.models.networks.build`.
        references: Names of the reference laws that suit such states, the preferred one first.
        default_rate: Peak learning rate.
        channel_axis: Axis of the channels (fields) or components in a batch ``(batch, *state)``.
        partly_observable: Whether observation operators such as ``sensors:0.25`` apply to such states.
        names: Names of the parts of a state.
        axes: Names of the axes along which a part varies.
        coordinates: Positions along each axis.
        boundary: What lies at the ends of the axes: ``"PERIODIC"``, ``"WALL"`` or ``"OPEN"``; where axes differ, one
            word for each of them, joined by commas.
        static: Names of the parts that never change in time. They are context: stored once per trajectory, known of
            the initial state, and left out of every metric.
        box: Period of the positions of particles; 0 without one.
        isotropic: Whether the law of the states is invariant under rotations and reflections about the origin.
        mask: Which points of a field hold data, in the order of a flattened array; empty: all of them. States are 0 at
            all others, and no metric looks there.
    """

    kind: ClassVar[str]
    network: ClassVar[str]
    references: ClassVar[tuple[str, ...]]
    default_rate: ClassVar[float]
    channel_axis: ClassVar[int] = 1
    partly_observable: ClassVar[bool] = True

    names: tuple[str, ...]
    axes: tuple[str, ...]
    coordinates: tuple[tuple[float, ...], ...]
    boundary: str = "OPEN"
    static: tuple[str, ...] = ()
    box: float = 0.0
    isotropic: bool = False
    mask: tuple[bool, ...] = ()

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""

    @property
    @abstractmethod
    def dims(self) -> tuple[str, ...]:
        """Names of the axes of one state as an array, as reconstruction files call them."""

    @property
    @abstractmethod
    def picture(self) -> str:
        """Name of the way in which states are drawn, see :mod:`physinv.reports.plots.pictures`."""

    @abstractmethod
    def parts(self) -> list[tuple[str, Place]]:
        """List each name with its place in a state ``x``: the part is ``x[(..., *place)]``.

        Returns:
            Names and places, in the order of the names.
        """

    @property
    def space(self) -> tuple[str, ...]:
        """Axes of space, if states are functions of position; else empty."""
        return ()

    @property
    def has_bands(self) -> bool:
        """Whether spectra have bands of wave numbers: of fields without a mask, of enough points along each axis."""
        return bool(self.space) and not self.mask and min(map(len, self.coordinates)) >= _FEWEST_POINTS

    @property
    def boundaries(self) -> tuple[str, ...]:
        """What lies at the ends of each axis."""
        told = tuple(self.boundary.split(","))
        return told if len(told) > 1 else told * len(self.axes)

    @property
    def wraps(self) -> tuple[bool, ...]:
        """Whether each axis wraps around."""
        return tuple(kind == "PERIODIC" for kind in self.boundaries)

    @property
    def periodic(self) -> bool:
        """Whether all axes wrap around."""
        return self.boundary == "PERIODIC"

    @property
    def valid(self) -> Bool[Tensor, "*space"] | None:
        """Which points hold data, as an array over space; None: all of them."""
        return None

    def masked(self, mask: Bool[np.ndarray, "*space"] | None) -> StateLayout:
        """Return the same layout with a mask.

        Args:
            mask: Which points of a field hold data; None: all of them.

        Raises:
            ValueError: If the states are no fields and there is a mask.
        """
        if mask is not None:
            raise ValueError(f"`mask` is for fields, got one for a state of kind {self.kind!r}; leave it out.")
        return self

    def with_static(self, names: Sequence[str]) -> StateLayout:
        """Return the layout of the same states with more static parts behind the others, one number each.

        Args:
            names: Names of these parts.

        Raises:
            ValueError: If states of this kind have no place for them.
        """
        raise ValueError(f"a state of kind {self.kind!r} has no place for {', '.join(names)}; take vectors or fields.")

    def scored(self, x: Float[Tensor, "*batch_and_state"]) -> Float[Tensor, "*batch_and_scored"]:
        """Leave out what no metric looks at: static channels, and points without data.

        Args:
            x: States, with any number of batch axes.

        Returns:
            The states without static channels (:meth:`moving`); with a mask, the numbers at valid points in a row.
        """
        return self.moving(x)

    def emptied(self, x: Float[Tensor, "*batch_and_state"]) -> Float[Tensor, "*batch_and_state"]:
        """Set states to 0 at points without data.

        Args:
            x: States, or moving channels of them, with any number of batch axes.

        Returns:
            The states; without a mask as they are.
        """
        return x

    @property
    def basis(self) -> Literal["fourier", "identity"]:
        """Basis in which covariances are diagonal if the law of the states is invariant under shifts along the axes."""
        return "identity"

    @property
    def positions(self) -> int:
        """Leading components of each particle that are its position; 0 for states without particles."""
        return 0

    @property
    def default_batch(self) -> int:
        """Windows per update of the network: about 2^14 numbers, 8 to 128 windows."""
        return min(max(2**14 // math.prod(self.shape), 8), 128)

    @property
    def default_validation_windows(self) -> int:
        """Windows on which training is validated: 1024, or fewer that hold 2^21 numbers together."""
        return min(1024, 2**21 // math.prod(self.shape))

    @property
    def copies_per_step(self) -> int:
        """Multiples of a state that a solver step keeps in memory for its derivative."""
        return 4

    @property
    def file_attributes(self) -> dict[str, float | bool]:
        """What trajectory files store beside kind, names, axes, coordinates, boundary and static."""
        return {}

    def axes_of(self, name: str) -> tuple[str, ...]:
        """Return the axes along which the part ``name`` of a state varies.

        Args:
            name: Name of a part of the state.
        """
        return self.axes

    def with_channels(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a state with this many channels, or components of each particle.

        Args:
            channels: Their number.

        Example:
            >>> from physinv.processes.layout import FieldLayout, VectorLayout
            >>> FieldLayout("u", "x", [range(64)]).with_channels(3)
            (3, 64)
            >>> VectorLayout("x", 2).with_channels(3)
            (3,)
        """
        shape = [1, *self.shape]
        shape[self.channel_axis] = channels
        return tuple(shape[1:])

    def channel_mean(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "*one_state"]:
        """Average over the batch and over all axes but that of the channels.

        Args:
            x: States, or any numbers of their shape.

        Returns:
            One number per channel of a field, per component of a vector or of particles, with axes of length 1 in
            the place of those averaged over, so that it broadcasts against a state.
        """
        averaged = [axis for axis in range(x.ndim) if axis != self.channel_axis % x.ndim]
        return x.mean(averaged, keepdim=True)[0]

    def centre(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "*one_state"]:
        """Estimate the mean of each channel: :meth:`channel_mean`, or 0 where the law is isotropic.

        Args:
            x: States.

        Returns:
            One number per channel, shaped like :meth:`channel_mean`.
        """
        mean = self.channel_mean(x)
        return torch.zeros_like(mean) if self.isotropic else mean

    def pooled(self, squares: Float[Tensor, "batch *state"]) -> Float[Tensor, "*one_state"]:
        """Average squares per channel, or per vector of particles, whose components share one scale.

        Args:
            squares: Squared deviations of states from their mean.

        Returns:
            Mean squares, shaped like :meth:`channel_mean`.
        """
        return self.channel_mean(squares)

    def moving(self, x: Float[Tensor, "*batch_and_state"]) -> Float[Tensor, "*batch_and_moving"]:
        """Leave out the static channels (or components of particles).

        Args:
            x: States, with any number of batch axes.

        Returns:
            The states with fewer channels.
        """
        if not self.static:
            return x
        axis, kept = self._moving()
        return x.index_select(axis, torch.tensor(kept, device=x.device))

    def set_moving(
        self, moving: Float[Tensor, "*batch_and_moving"], x: Float[Tensor, "*batch_and_state"]
    ) -> Float[Tensor, "*batch_and_state"]:
        """Replace all but the static channels of ``x``: the inverse of :meth:`moving`.

        Args:
            moving: The new values of what is not static.
            x: States that the static channels are taken from.

        Returns:
            States with all their channels.
        """
        if not self.static:
            return moving
        axis, kept = self._moving()
        return x.index_copy(x.ndim + axis, torch.tensor(kept, device=x.device), moving)

    def constants(
        self, x: Float[Tensor, "*batch_and_state"], names: Sequence[str]
    ) -> Float[Tensor, "*batch_and_names"]:
        """Return static parts that are single numbers, such as parameters that differ between trajectories.

        Args:
            x: States, with any number of batch axes.
            names: Names of these parts.
        """
        places = dict(self.parts())
        found = [x[(..., *places[name])] for name in names]
        return torch.stack([part.flatten(-len(self.space))[..., 0] if self.space else part for part in found], dim=-1)

    def described(self) -> dict[str, Any]:
        """Return what :func:`~physinv.processes.layout.layout_from` makes the layout of again, fit for JSON."""
        told = {"kind": self.kind, "names": self.names, "axes": self.axes, "coordinates": self.coordinates}
        more = {"mask": self.mask} if self.mask else {}
        return {**told, "boundary": self.boundary, "static": self.static, **self.file_attributes, **more}

    def _moving(self) -> tuple[int, list[int]]:
        """The axis of the channels (or components), counted from the end, and those that are not static."""
        axis = self.channel_axis - 1 - len(self.shape) if self.channel_axis > 0 else self.channel_axis
        kept: list[int] = []
        for name, place in self.parts():
            channel = place[axis]
            if name not in self.static:
                kept += range(*channel.indices(self.shape[axis])) if isinstance(channel, slice) else [channel]
        return axis, kept
