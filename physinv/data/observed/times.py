"""Final times of observations, compared with that of a run, in its unit of time."""

from __future__ import annotations

__all__ = ["Horizon", "ratio"]

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.data.sources.build import is_unnamed, line_of
from physinv.data.sources.roles import word_of

_SAME_TIME = 1e-3  # of the horizon: how far a final time may be from that of the process
_FINAL = ("t", "tt", "time", "times", "t_final", "final_time", "tfinal", "t_end", "end_time", "horizon")
_YEAR = 365.2425 * 86400
_SECONDS = {
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "µs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "S", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "H", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "D", "day", "days"), 86400.0),
    **dict.fromkeys(("week", "weeks"), 7 * 86400.0),
    **dict.fromkeys(("month", "months"), _YEAR / 12),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), _YEAR),
}


def ratio(theirs: str, ours: str) -> float | None:
    """Return the length of a unit of time in another one.

    Args:
        theirs: The unit, as files write it.
        ours: The other one.

    Returns:
        The length; 1 where one of them is empty, None where they differ and one is not known.

    Example:
        >>> ratio("minutes", "h") == 1 / 60, ratio("steps", "steps"), ratio("steps", "h")
        (True, 1.0, None)
    """
    if theirs == ours or not theirs or not ours:
        return 1.0
    a, b = (_SECONDS.get(unit if len(unit) < 3 else unit.lower()) for unit in (theirs, ours))
    return None if a is None or b is None else a / b


@dataclass(frozen=True)
class Horizon:
    """The final time T of a run.

    Args:
        time: T, counted from the initial states.
        unit: Its unit; empty where the data did not say it.
    """

    time: float
    unit: str = ""

    def fits(self, times: NDArray[np.float64], unit: str) -> NDArray[np.bool_]:
        """Return which times are T.

        Args:
            times: Times in a file.
            unit: Their unit; one that cannot be converted is taken for that of the run.
        """
        return np.abs(times * (ratio(unit, self.unit) or 1.0) - self.time) <= _SAME_TIME * self.time

    def check_single(self, path: Path, source: xr.Dataset, known: Set[str]) -> None:
        """Refuse a file with a single number that says another final time; axes of times are looked at elsewhere.

        Args:
            path: The file, for messages.
            source: All variables in it.
            known: Names of variables that are states, or their axes.

        Raises:
            ValueError: If it says another time.
        """
        for name, times, unit in _told(source, known):
            if times.size == 1 and not self.fits(times, unit).all():
                raise ValueError(
                    f"`{name}` of {path} is {self._shown(float(times[0]), unit)}, the run was trained on final states "
                    f"at {self}; give states at that time, or call the number otherwise if it is no time."
                )

    def check_each(self, path: Path, source: xr.Dataset, known: Set[str], n: int) -> None:
        """Refuse a file whose times, one for each observation, are other ones.

        Args:
            path: The file, for messages.
            source: All variables in it.
            known: Names of variables that are states, or their axes and times.
            n: Number of observations.

        Raises:
            ValueError: If an observation is of another time.
        """
        for name, times, unit in _told(source, known):
            if times.size == n > 1 and not (fits := self.fits(times, unit)).all():
                first = int(np.argmin(fits))
                raise ValueError(
                    f"`{name}` of {path} is {self._shown(float(times[first]), unit)} for observation {first}, the run "
                    f"was trained on final states at {self}; give states at that time, or call the numbers otherwise "
                    "if they are no times."
                )

    def at_the_end(self, path: Path, found: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
        """Return the last states of a file with times, if they are those of the final time.

        Args:
            path: The file, for messages.
            found: The states.

        Returns:
            The states without times, and sentences about states that are left out, and units that cannot be compared.

        Raises:
            ValueError: If they are of another time.
        """
        if "time" not in found.dims and "time" not in found.coords:
            return found, []
        notes, plain = [], False
        if "time" in found.coords:
            times = np.atleast_1d(np.asarray(found["time"].values, dtype=float))
            unit, dated, _ = str(found["time"].attrs.get("units", "")).partition(" since")
            ends = np.array([times[-1]] + ([times[-1] - times[0]] if len(times) > 1 else []))
            single = bool(dated) and len(times) == 1  # a date says when, not how long after x_0
            if not (single or self.fits(ends, unit).any()):
                raise ValueError(
                    f"{path} ends at time {self._shown(float(ends[-1]), unit)}, the run was trained on final states at "
                    f"{self}; give states at that time, call the axis of times `sample` (`--dims sample,...`) if each "
                    "is an observation of its own, or train on trajectories that end as these do."
                )
            plain = not dated and abs(float(times[0])) <= _SAME_TIME * abs(float(times[-1]))
            if ratio(unit, self.unit) is None and not single:
                notes.append(f"{path}: times are in {unit}, those of the run in {self.unit}; taken for the same.")
        if "time" not in found.dims:
            return found, notes
        if (n := found.sizes["time"]) > 1 and not plain:
            longest = max(found.data_vars.values(), key=lambda v: v.ndim).dims
            dims = ",".join("sample" if d == "time" else str(d) for d in longest)
            dims = "sample,..." if any(is_unnamed(str(d)) for d in longest) else dims
            own = "" if "sample" in longest else f"; if each is an observation of its own: `--dims {dims}`"
            notes.append(f"{path}: the last of {n} times is the observation, {n - 1} before it are left out{own}.")
        return found.isel(time=-1), notes

    def __str__(self) -> str:
        """Return the time with its unit."""
        return f"T = {self.time:g}{f' {self.unit}' if self.unit else ''}"

    def _shown(self, time: float, unit: str) -> str:
        """A time of a file with its unit, and in that of the run."""
        factor = ratio(unit, self.unit)
        other = f" ({factor * time:g} {self.unit})" if factor not in (None, 1.0) else ""
        return f"{time:g}{f' {unit}' if unit else ''}{other}"


def _told(source: xr.Dataset, known: Set[str]) -> list[tuple[str, NDArray[np.float64], str]]:
    """Names, numbers and units of variables that are called as a final time; dates are none."""
    found = []
    for name, v in source.variables.items():
        unit = str(v.attrs.get("units", ""))
        word = str(name).rpartition("/")[2].lower()
        word = word.removesuffix(f"_{word_of(unit).lower()}") if unit else word  # of a table: t [h]
        if word not in _FINAL or name in known or v.dtype.kind not in "iuf" or " since " in unit:
            continue
        if (line_of(v).ndim < 2 or v.size == 1) and np.isfinite(times := np.asarray(v.values, dtype=float)).all():
            found.append((str(name), times.reshape(-1), unit))
    return found
