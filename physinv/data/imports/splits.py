"""Divide what was recorded into trajectories, and these into splits."""

from __future__ import annotations

__all__ = ["BY_TIME", "Pick", "WindowSplits", "split_up", "window_of"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from physinv.config.seeds import seeds
from physinv.data.imports.choices import Choices
from physinv.data.imports.recording import Recording
from physinv.data.imports.windows import Window, blocks_of_time, common_grid, starts_in
from physinv.data.plan import SPLITS

Pick = tuple[Recording, int, int]
"""A trajectory: where it is, the number of its sample there, and the stored time at which it begins."""

_MANY = 3  # recordings, one for each split at least

BY_TIME = "blocks of time with gaps"
"""How recordings are divided where windows overlap."""


@dataclass(frozen=True, eq=False)
class WindowSplits:
    """Hold the trajectories of each split.

    Args:
        picks: The trajectories.
        grid: Times that all share, from 0.
        how: How they were divided, in a few words.
        notes: Sentences about what was left out.
    """

    picks: Mapping[str, Sequence[Pick]]
    grid: NDArray[np.float64]
    how: str
    notes: tuple[str, ...] = ()


def window_of(found: Mapping[str, Sequence[Recording]], choices: Choices) -> Window | None:
    """Return the window that a user asks for; too few trajectories to be split need one.

    Args:
        found: Recordings by split, or all under the name "".
        choices: What the user asks for.

    Raises:
        ValueError: If there is none where one is needed, or it is longer than a recording.
    """
    every = [r for recordings in found.values() for r in recordings]
    n, count = min(len(r.times) for r in every), sum(r.count for r in every)
    if choices.window is None:
        if "" in found and count < 3 and n > 3:
            some = "one recording" if count == 1 else f"{count} trajectories"
            raise ValueError(
                f"{every[0].path} holds {some} of {n} times; cut it into trajectories with `--window`, for example "
                f"{max(2, min(8, n // 8))}.{_runs(every[0])}"
            )
        return None
    window = Window(choices.window, choices.every, choices.stride or choices.every)
    if window.span > n:
        raise ValueError(
            f"`--window` spans {window.span} of the {n} stored times of {every[0].path}; take fewer states."
        )
    return window


def _runs(recording: Recording) -> str:
    """How an axis that nothing names is called, if its entries are no components, or positions, but trajectories."""
    if recording.ahead:
        return (
            f" If its axis `{recording.ahead}` numbers trajectories, it is no axis of space: name all axes with "
            "`--dims`, `sample` in its place."
        )
    if not (taken := recording.guessed):
        return ""
    return (
        f" The {taken} along an axis without a name are taken for components; if they are runs of an experiment, name "
        "the axes: `--dims time,sample`."
    )


def split_up(found: Mapping[str, Sequence[Recording]], window: Window | None, choices: Choices) -> WindowSplits:
    """Divide recordings into trajectories, and these into splits.

    Args:
        found: Recordings by split, or all under the name "", of one layout; without windows also of the same times.
        window: The window; None takes whole trajectories.
        choices: Shares, seed, and what is set aside.

    Returns:
        Whole trajectories at random, windows in blocks of time, or what the folders say.

    Raises:
        ValueError: If recordings are too short, or nothing is left for a split.
    """
    whole = "" in found
    if window is None:
        first = next(iter(found.values()))[0]
        grid = first.times[:: choices.every] - first.times[0]
        if len(grid) < 2:
            raise ValueError(
                f"`every` must leave 2 or more of the {len(first.times)} stored times, got {choices.every}."
            )
        picks = {s: [(r, i, 0) for r in rs for i in range(r.count)] for s, rs in found.items()}
        if not whole:
            return WindowSplits(picks, grid, "as the folders are")
        return WindowSplits(_shares(picks[""], choices), grid, "trajectories at random")

    # Where windows of each recording begin, in blocks of time for each split, or anywhere.
    by_time = whole and choices.split_by != "trajectory"
    starts: dict[str, list[tuple[Recording, int]]] = {s: [] for s in (SPLITS if by_time else found)}
    every = [r for recordings in found.values() for r in recordings]
    if by_time and sum(r.count for r in every) >= _MANY:  # the shortest one says how long windows may be
        shortest = min(len(r.times) for r in every)
        whole_ones = "set whole recordings aside with `--split-by trajectory`, "
        blocks_of_time(shortest, window, choices.valid, choices.test, whole_ones)
    for name, recordings in found.items():
        for r in recordings:
            n = len(r.times)
            if window.stride > n:
                raise ValueError(f"`--stride` must be at most {n}, the times of a recording, got {window.stride}.")
            blocks = blocks_of_time(n, window, choices.valid, choices.test) if by_time else [(name, 0, n)]
            for split, a, b in blocks:
                starts[split] += [(r, start) for start in starts_in(a, b, window)]

    # All windows have one grid of times, and those that do not keep it are left out.
    unit = str(next(iter(found.values()))[0].about.get("time_unit", ""))
    flat = [(r.times, start) for places in starts.values() for r, start in places]
    grid, kept, notes = common_grid(flat, window, unit)
    left = iter(kept)
    taken = {split: [place for place in places if next(left)] for split, places in starts.items()}
    picks = {split: _windows(places) for split, places in taken.items()}
    if choices.stride is None and choices.every > 1:
        notes.append(f"windows begin {window.stride} stored times apart (--stride 1 gives more of them)")
    how = "as the folders are"
    if by_time:
        how = BY_TIME
        notes += ["windows overlap, so splits are blocks of time, a window apart"] if window.overlaps else []
    elif whole:
        how, picks = "trajectories at random", _shares(picks[""], choices)
    if empty := [split for split, picked in picks.items() if not picked]:
        raise ValueError(f"no window is left for {', '.join(empty)}; take shorter windows or a smaller `--stride`.")
    return WindowSplits(picks, grid, how, tuple(notes))


def _windows(places: Sequence[tuple[Recording, int]]) -> list[Pick]:
    """All windows of one sample after the other, so that each is read in order."""
    starts: dict[Recording, list[int]] = {}
    for recording, start in places:
        starts.setdefault(recording, []).append(start)
    return [(r, i, a) for r, begins in starts.items() for i in range(r.count) for a in begins]


def _shares(every: Sequence[Pick], choices: Choices) -> dict[str, list[Pick]]:
    """A random set of trajectories for each split, with all their windows, each in the order of the files."""
    owners = list(dict.fromkeys((id(r), i) for r, i, _ in every))
    n = len(owners)
    aside = {name: max(1, round(share * n)) for name, share in (("valid", choices.valid), ("test", choices.test))}
    if n - sum(aside.values()) < 1:
        raise ValueError(f"`valid` and `test` must leave trajectories to train on, got {aside} of {n}.")
    order = torch.randperm(n, generator=seeds(choices.seed).child("import", "shares").generator()).tolist()
    a, b = aside["valid"], aside["valid"] + aside["test"]
    chosen = {"train": order[b:], "valid": order[:a], "test": order[a:b]}
    taken = {name: {owners[i] for i in which} for name, which in chosen.items()}
    return {name: [p for p in every if (id(p[0]), p[1]) in owned] for name, owned in taken.items()}
