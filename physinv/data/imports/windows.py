"""Cut long recordings into windows, and set windows aside for validation and tests without leaks.

Neighbouring windows share states, so a random split would test on what was trained on.  Blocks of time do not: each
recording is cut into train, validation and test blocks with a gap as long as a window between any two, several times
over where it is long, so that every block sees all of its regimes and seasons.
"""

from __future__ import annotations

__all__ = [
    "FEWEST_INDEPENDENT",
    "GAP",
    "Window",
    "blocks_of_time",
    "common_grid",
    "held_out",
    "independent",
    "part_of_each",
    "starts_in",
]

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CYCLES = 10  # most times that train, validation and test follow each other
_SPANS = 20  # windows' lengths that one such cycle holds at least
_EVEN = 0.1  # of a step: by how much times of windows may differ, as the lengths of months do

GAP = 10.0
"""Times the intervals around it: where nothing was recorded."""

FEWEST_INDEPENDENT = 2
"""Validation trajectories without times in common, below which they neither narrow a spread nor choose a method."""


@dataclass(frozen=True)
class Window:
    """Say which stored states make up a trajectory.

    Args:
        states: Number of states.
        every: Stored times from one of its states to the next.
        stride: Stored times from the start of one window to that of the next.
    """

    states: int
    every: int
    stride: int

    @property
    def span(self) -> int:
        """Stored times from its first state to its last, both counted."""
        return self.every * (self.states - 1) + 1

    @property
    def overlaps(self) -> bool:
        """Whether neighbouring windows have times in common."""
        return self.stride < self.span


def starts_in(first: int, last: int, window: Window) -> list[int]:
    """List where windows begin that lie within a block.

    Args:
        first: Number of the first stored time of the block.
        last: Number after its last.
        window: The window.

    Returns:
        Numbers of stored times.

    Example:
        >>> starts_in(10, 20, Window(states=3, every=2, stride=4))
        [10, 14]
    """
    return list(range(first, last - window.span + 1, window.stride))


def blocks_of_time(n: int, window: Window, valid: float, test: float, instead: str = "") -> list[tuple[str, int, int]]:
    """Cut a recording into blocks, each for one split, with a gap of a window between any two.

    Args:
        n: Number of stored times.
        window: The window.
        valid: Share of the times for validation.
        test: Share of the times for tests.
        instead: What else may be done where the recording is too short, for the message.

    Returns:
        Split, first and one past the last stored time of each block.

    Raises:
        ValueError: If the recording is too short for three blocks that hold a window each.

    Example:
        >>> blocks_of_time(100, Window(states=5, every=1, stride=1), valid=0.1, test=0.2)
        [('train', 0, 63), ('valid', 68, 77), ('test', 82, 100)]
    """
    blocks = _blocks_of_time(n, window, valid, test)
    if not blocks:
        fits = (k for k in range(window.states, 1, -1) if _blocks_of_time(n, replace(window, states=k), valid, test))
        most = next(fits, None)
        ways = f"{'' if most is None else f'take at most {most} states, '}{instead}"
        raise ValueError(
            f"`--window` of {window.states} states spans {window.span} of {n} stored times, too many for blocks of "
            f"time with gaps between training, validation and tests; {ways}{'or ' * bool(ways)}take a longer recording."
        )
    return blocks


def _blocks_of_time(n: int, window: Window, valid: float, test: float) -> list[tuple[str, int, int]]:
    """The blocks; none at all where a recording is too short."""
    span, blocks = window.span, []
    cycles = max(1, min(n // (_SPANS * span), _CYCLES))
    edges = np.linspace(0, n, cycles + 1).round().astype(int).tolist()
    for i, (begin, end) in enumerate(itertools.pairwise(edges)):
        usable = end - begin - span * (2 if i == cycles - 1 else 3)
        aside = [max(span, round(share * usable)) for share in (valid, test)]
        if usable - sum(aside) < span:
            return []
        at = begin
        for split, length in zip(("train", "valid", "test"), (usable - sum(aside), *aside), strict=True):
            blocks.append((split, at, at + length))
            at += length + span
    return blocks


def common_grid(
    windows: Sequence[tuple[NDArray[np.float64], int]], window: Window, unit: str = ""
) -> tuple[NDArray[np.float64], list[bool], list[str]]:
    """Find the times that all windows share, counted from their starts.

    Args:
        windows: For each window the stored times of its recording, and where it begins.
        window: How long windows are.
        unit: Unit of the times, for sentences.

    Returns:
        Times from 0, whether each window keeps them, and sentences about those that do not.

    Raises:
        ValueError: If more than half of the windows have times of their own.
    """
    unit, offsets = f" {unit}" if unit else "", window.every * np.arange(window.states)
    if not windows:
        raise ValueError("no window is left; take shorter windows or a smaller `--stride`.")
    relative = np.stack([times[start + offsets] - times[start] for times, start in windows])
    middle = np.median(relative, axis=0)
    error = np.abs(relative - middle).max(axis=1)
    allowed = _EVEN * float(np.diff(middle).min())
    kept = error <= allowed
    if kept.mean() <= 0.5:
        step = float(np.median(np.diff(windows[0][0])))
        raise ValueError(
            f"the stored times are uneven, so that windows differ in theirs by up to {error.max():.3g}{unit}; "
            f"interpolate with `--resample`, for example {step:.6g}."
        )
    notes = []
    grid = relative[kept].mean(axis=0)
    spread = float(np.abs(relative[kept] - grid).max())
    if spread > 1e-3 * allowed:
        notes.append(f"times of windows differ by up to {spread:.3g}{unit} and are stored as their mean")
    if not kept.all():
        # Interpolation keeps what is uneven, and leaves gaps out.
        step = float(middle[-1]) / (window.span - 1)
        left = [place for place, keep in zip(windows, kept.tolist(), strict=True) if not keep]
        longest = [float(np.diff(times[start : start + window.span]).max()) for times, start in left]
        uneven = min(longest) <= GAP * step
        more = f"; `--resample {step:.6g}` interpolates to even times and leaves out gaps only" if uneven else ""
        notes.append(f"{len(left)} of {len(windows)} windows left out: they lie across gaps or uneven times{more}")
    return grid, kept.tolist(), notes


def independent(count: int, config: Mapping[str, Any]) -> float:
    """Return about how many trajectories of a split have no times in common.

    Args:
        count: Trajectories in the split.
        config: Configuration of the dataset, which says how windows were cut, if they were.

    Returns:
        Their number: all of them where none overlap.

    Example:
        >>> independent(102, {"window": {"states": 6, "every": 10, "stride": 1}})
        2.0
        >>> independent(100, {})
        100.0
    """
    about = config.get("window")
    if not about:
        return float(count)
    window = Window(about["states"], about["every"], about["stride"])
    return count * min(1.0, window.stride / window.span)


def held_out(count: int, parts: int, config: Mapping[str, Any]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Divide the trajectories of a split into parts, and find those that have no times in common with each.

    Args:
        count: Trajectories in the split, in the order of time.
        parts: Number of parts.
        config: Configuration of the dataset, which says how windows were cut, if they were.

    Returns:
        The numbers of the trajectories of each part (:func:`part_of_each`), and of those that are left; none at all
        where a part would be worth less than two trajectories.

    Example:
        >>> [(part.tolist(), rest.tolist()) for part, rest in held_out(8, 2, {})]
        [([0, 1, 2, 3], [4, 5, 6, 7]), ([4, 5, 6, 7], [0, 1, 2, 3])]
        >>> overlapping = {"window": {"states": 2, "every": 1, "stride": 1, "blocks": [4, 4]}}
        >>> [(part.tolist(), rest.tolist()) for part, rest in held_out(8, 2, overlapping)]
        [([0, 1, 4, 5], [3, 7]), ([2, 3, 6, 7], [0, 4])]
    """
    if independent(count, config) < parts * FEWEST_INDEPENDENT:
        return []
    alike = math.ceil(count / independent(count, config)) - 1  # neighbours on either side that share times
    number, lengths, found = part_of_each(count, parts, config), _blocks(count, parts, config), []
    block = np.repeat(np.arange(len(lengths)), lengths)
    for i in range(parts):
        near = number == i
        for by in range(1, alike + 1):
            same = block[by:] == block[:-by]
            near[by:] |= same & (number[:-by] == i)
            near[:-by] |= same & (number[by:] == i)
        found.append((np.flatnonzero(number == i), np.flatnonzero(~near)))
    return found


def part_of_each(count: int, parts: int, config: Mapping[str, Any]) -> NDArray[np.int64]:
    """Number the parts that the trajectories of a split are divided into, so that each part lies as test data do.

    A part is a length of time of every block that the recording was cut into: it lies between the others.

    Args:
        count: Trajectories in the split, in the order of time.
        parts: Number of parts.
        config: Configuration of the dataset, which says how windows were cut, if they were.

    Returns:
        The number of the part of each trajectory.

    Example:
        >>> part_of_each(6, 2, {}).tolist()
        [0, 0, 0, 1, 1, 1]
        >>> part_of_each(6, 2, {"window": {"blocks": [4, 2]}}).tolist()
        [0, 0, 1, 1, 0, 1]
    """
    lengths = [np.diff(np.linspace(0, n, parts + 1).round().astype(int)) for n in _blocks(count, parts, config)]
    return np.concatenate([np.repeat(np.arange(parts), each) for each in lengths])


def _blocks(count: int, parts: int, config: Mapping[str, Any]) -> list[int]:
    """How many trajectories follow each other in time, block by block; one block if these are short, or not told."""
    told = list(config.get("window", {}).get("blocks", []))
    return told if sum(told) == count and min(told) >= parts else [count]
