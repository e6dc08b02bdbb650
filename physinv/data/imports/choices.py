"""What the user of an import says: what to take, what the files do not say, how to cut and to split."""

from __future__ import annotations

__all__ = ["Choices"]

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

_SPLIT_BY = ("time", "trajectory")


@dataclass(frozen=True)
class Choices:
    """Say what the files do not say, and what of them to take.

    Args:
        variable: Names of the variables that make up a state, separated by commas.
        dims: Names of their axes in the order of the file, separated by commas.
        frames: Names of variables that are the states at one time each, in that order, such as ``initial,final``.
        times: Name of a variable with the times, a time step, or ``first:last``.
        positions: By axis of space the name of a variable, a spacing, or ``first:last``.
        boundary: What lies at the ends: ``periodic``, ``wall`` or ``open``, or ``axis=word`` for each axis.
        every: Keep one of so many stored times; times are counted from the first.
        window: Cut recordings into trajectories of so many states.
        stride: Stored times from the start of one window to that of the next; None: ``every``.
        resample: Interpolate to times so far apart.
        period: Length of a cycle, such as 365.25 days: the phase at the start of each window becomes two static
            channels, its sine and cosine.
        context: Names of variables along the times that are known and not reconstructed, such as a heater that is on
            or off: their values at all stored times of a trajectory become static channels.
        box: Box of particles: its side, its sides separated by commas, the name of a variable, or a file with a row for
            each time; None: as the file says.
        valid: Share of the data for validation, where sources are not split.
        test: Share of the data for tests, where sources are not split.
        split_by: ``"time"`` or ``"trajectory"``: what is set aside. None: blocks of time where there are windows.
        seed: Seed with which trajectories are drawn for each split.
    """

    variable: str | None = None
    dims: str | None = None
    frames: str | None = None
    times: str | None = None
    positions: Mapping[str, str] = field(default_factory=dict)
    boundary: str | None = None
    every: int = 1
    window: int | None = None
    stride: int | None = None
    resample: float | None = None
    period: float | None = None
    context: str | None = None
    box: str | None = None
    valid: float = 0.1
    test: float = 0.1
    split_by: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"`every` must be at least 1, got {self.every}.")
        if self.frames is not None and self.variable is not None:
            raise ValueError("`frames` and `variable` both say what a state is made of; give one of them.")
        if self.window is not None and self.window < 2:
            raise ValueError(f"`window` must be at least 2 states, got {self.window}.")
        if self.stride is not None and (self.window is None or self.stride < 1):
            raise ValueError(f"`stride` must be at least 1 and needs `window`, got {self.stride}.")
        if self.period is not None and (self.window is None or not 0 < self.period < math.inf):
            raise ValueError(f"`period` must be a positive time and needs `window`, got {self.period:g}.")
        if self.split_by not in (None, *_SPLIT_BY):
            raise ValueError(f"`split_by` must be one of {', '.join(_SPLIT_BY)}, got {self.split_by!r}.")
        if self.split_by == "time" and self.window is None:
            raise ValueError("`split_by` time needs windows; give `--window`, a number of states.")
        for name, share in (("valid", self.valid), ("test", self.test)):
            if not 0 < share < 1:
                raise ValueError(f"`{name}` must be a share between 0 and 1, got {share:g}.")
        if self.valid + self.test >= 1:
            raise ValueError(f"`valid` and `test` must leave data to train on, got {self.valid:g} and {self.test:g}.")
