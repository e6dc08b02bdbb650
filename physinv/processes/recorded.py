"""Recorded data in the place of a process: shape, names and times, but no physics."""

from __future__ import annotations

__all__ = ["Recorded", "pack_mask", "unpack_mask"]

import base64
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.processes.layout import StateLayout, layout_from
from physinv.processes.parameters import parameter
from physinv.processes.simulator import Simulator

_EVEN = 1e-3  # of a spacing: how exact numbers in float32 that count as evenly spaced must be


@dataclass(frozen=True)
class Recorded(Simulator):
    """The process behind imported trajectories (:mod:`physinv.data.importing`), which nobody can run.

    Training learns the physics from the data, since ``known`` is False (:func:`~physinv.runs.run.train_run`).

    Args:
        kind: Kind of the layout, as files name it.
        names: Names of the channels of fields, or of the vector.
        axes: Names of the axes.
        sizes: Number of points along each axis.
        positions: Along each axis the first and the last position, or all of them where they are not evenly spaced,
            axis after axis.
        even: Whether the positions along each axis are evenly spaced.
        clock: Stored times, unless they are evenly spaced.
        boundary: What lies at the ends of the axes.
        static: Names of the channels that do not change in time.
        mask: Which points hold data, as text (:func:`pack_mask`); empty: all of them.
        box: Period of the positions of particles; 0 without one.
    """

    title: ClassVar[str] = "Trajectories from elsewhere, physics to be learned"
    equation: ClassVar[str] = "dx = f(x) dt + g dW,  f and g unknown"
    known: ClassVar[bool] = False
    startable: ClassVar[bool] = False

    kind: str = parameter("vector", "", "what a state is", choices=("field", "vector", "particles"))
    names: tuple[str, ...] = parameter(("state",), "", "names of the channels, or of the vector")
    axes: tuple[str, ...] = parameter(("coordinate",), "", "names of the axes")
    sizes: tuple[int, ...] = parameter((1,), "n", "points along each axis")
    positions: tuple[float, ...] = parameter((0.0, 0.0), "x", "where they are")
    even: tuple[bool, ...] = parameter((True,), "", "evenly spaced, axis by axis")
    clock: tuple[float, ...] = parameter((), "t", "stored times, unless evenly spaced", unit="time")
    boundary: str = parameter("OPEN", "", "what lies at the ends of the axes, one word or one for each")
    static: tuple[str, ...] = parameter((), "", "channels that do not change in time")
    mask: str = parameter("", "", "points with data, packed")
    box: float = parameter(0.0, "L", "period of the positions of particles, 0 without one")

    @staticmethod
    def of(layout: StateLayout, times: Float[np.ndarray, " time"]) -> Recorded:
        """Describe recorded data.

        Args:
            layout: Layout of the states.
            times: Stored times, the first of which is 0.

        Returns:
            A process without physics, which holds layout and times.
        """
        even = tuple(_is_even(np.asarray(c)) for c in layout.coordinates)
        ends = [(c[0], c[-1]) if e else c for c, e in zip(layout.coordinates, even, strict=True)]
        return Recorded(
            horizon=float(times[-1]),
            steps=len(times) - 1,
            kind=layout.kind,
            names=layout.names,
            axes=layout.axes,
            sizes=tuple(len(c) for c in layout.coordinates),
            positions=tuple(float(x) for x in itertools.chain(*ends)),
            even=even,
            clock=() if _is_even(times) else tuple(times.tolist()),
            boundary=layout.boundary,
            static=layout.static,
            mask=pack_mask(layout.mask),
            box=layout.box,
        )

    @property
    def times(self) -> Float[Tensor, " time"]:
        return torch.tensor(self.clock, dtype=torch.float64) if self.clock else super().times

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layout.shape

    @property
    def layout(self) -> StateLayout:
        places, at = [], 0
        for n, even in zip(self.sizes, self.even, strict=True):
            used = self.positions[at : at + (2 if even else n)]
            places.append(tuple(np.linspace(used[0], used[1], n).tolist()) if even else used)
            at += len(used)
        told = (self.kind, self.names, self.axes, places, self.boundary, self.static)
        return layout_from(*told, box=self.box, mask=unpack_mask(self.mask))

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        _refuse("initial states")

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        _refuse("physics")

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        _refuse("noise")


def pack_mask(mask: Sequence[bool]) -> str:
    """Write a mask as text.

    Args:
        mask: Which points hold data.

    Returns:
        Their number, then the bits, compressed, in base 64; nothing for an empty mask.

    Example:
        >>> unpack_mask(pack_mask([True, False, True]))
        (True, False, True)
    """
    bits = np.packbits(np.asarray(mask, dtype=bool)).tobytes()
    return f"{len(mask)}:{base64.b64encode(zlib.compress(bits, 9)).decode()}" if len(mask) else ""


def unpack_mask(text: str) -> tuple[bool, ...]:
    """Read the text of :func:`pack_mask`.

    Args:
        text: The text.

    Returns:
        Which points hold data.

    Raises:
        ValueError: If it is no such text.
    """
    if not text:
        return ()
    try:
        count, packed = text.split(":")
        bits = np.frombuffer(zlib.decompress(base64.b64decode(packed, validate=True)), dtype=np.uint8)
        return tuple(np.unpackbits(bits, count=int(count)).astype(bool).tolist())
    except (ValueError, zlib.error) as error:
        raise ValueError(f"`mask` must be the text of a mask, got {text[:20]!r} ({error}); import again.") from None


def _refuse(what: str) -> NoReturn:
    raise ValueError(f"recorded data come without {what}; learn the physics from them (setting `physics=learned`).")


def _is_even(values: Float[np.ndarray, " n"]) -> bool:
    n = len(values)
    spacing = abs(values[-1] - values[0]) / max(n - 1, 1)
    return bool(np.abs(values - np.linspace(values[0], values[-1], n)).max() <= _EVEN * spacing)
