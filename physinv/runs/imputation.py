"""Trajectories with missing entries as records: files of one's own, or datasets with entries hidden for a test."""

from __future__ import annotations

__all__ = ["hidden", "trajectories_with_gaps"]

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.laws.described import EntryText
from physinv.runs.physics import check_same_system
from physinv.runs.record_file import RecordData, read_numbers
from physinv.runs.run import Run
from physinv.runs.sampling.ends import rows_of_spread

_EXACT = 1e-6  # of the least deviation of a number: the noise of entries that are known exactly
_SPREAD_OF = 256  # trajectories, from the first on, that the noise of exact entries is chosen for, at most
_NEAR = 1e-6  # of the last time: how far stored times may be from those that are asked for
_FILES = (".hdf5", ".h5")
_KINDS = "every:N, after:T, entries:SHARE or places:SHARE"


def trajectories_with_gaps(
    run: Run,
    path: Path,
    *,
    hide: Sequence[str] = (),
    noise: float | None = None,
    variable: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    verify: bool = True,
) -> RecordData:
    """Read trajectories of which entries are missing.

    Args:
        run: The run that they are for.
        path: A dataset, or a file of numbers ``(trajectory, time, *state)`` at the stored times of the run, or of one
            trajectory; NaN where an entry is missing.
        hide: What is hidden of them besides (:func:`hidden`); what was there becomes the truth.
        noise: Standard deviation of the noise of the entries, in the unit of the state; None: they are exact.  Where
            entries are hidden, which is a test, the noise is added to what is left.
        variable: Variable of the file.
        limit: Number of trajectories that are wanted, from the first on; None: all.  Twice as many are returned, where
            there are, since some of those are answered with the last ones.
        seed: Seed of what is hidden and of the noise.
        verify: Whether a dataset is compared with its checksums.

    Returns:
        The entries that are left, as a record of every stored time.

    Raises:
        ValueError: If the file does not hold such trajectories, nothing is missing, or nothing is left.
    """
    shape = (len(run.times), *run.simulator.shape)
    first = rows_of_spread(math.prod(shape), _SPREAD_OF)
    if path.is_dir() or (path.suffix in _FILES and variable is None):
        data = TrajectoryDataset(path, verify=verify)
        check_same_system(run.info["simulator"], run.simulator, data)
        wanted = data.n_trajectories if limit is None else max(2 * limit, first)
        paths, x = list(data.paths), data.trajectories(slice(0, wanted))
    else:
        paths, x = [path], read_numbers(path, variable, "`--data`")
        bare = (shape[0], *shape[2:])  # of a field of one channel, as other files have it
        if run.simulator.layout.space and shape[1] == 1 and tuple(x.shape[-len(bare) :]) == bare:
            x = x.unsqueeze(-len(bare[1:]) - 1)
        x = x[None] if tuple(x.shape) == shape else x
    if tuple(x.shape[1:]) != shape:
        raise ValueError(f"`--data` must hold trajectories of shape {shape}, got {tuple(x.shape)}; see `physinv info`.")

    # What is left of them, and with which noise: neither depends on the limit, nor do samples, since those that are
    # answered together end before twice the limit.
    layout = run.simulator.layout
    valid = torch.ones((), dtype=torch.bool) if layout.valid is None else layout.valid
    few = x[:first]
    sigma = _EXACT * _least_spread(few, few.isfinite() & valid) if noise is None else noise
    x = x if limit is None else x[: 2 * limit]
    there = x.isfinite() & valid
    kept = there & ~hidden(hide, run.times, shape[1:], len(x), seed=seed)
    if not bool(kept.flatten(1).any(1).all()) or not len(x):
        raise ValueError(f"`--data` and `--hide` leave a trajectory of {path} without entries; hide less.")
    wanted_rows = kept[:limit]
    if bool(wanted_rows.eq(valid.expand(wanted_rows.shape)).all()):
        raise ValueError(f"`--data`: nothing is missing in {path}; write NaN there, or give `--hide` for a test.")
    seen = x
    if hide and noise is not None:
        streams = seeds(seed).child("observation", "noise")  # of each trajectory, whatever their number
        draws = [torch.randn(x.shape[1:], generator=streams.child(i).generator()) for i in range(len(x))]
        seen = x + noise * torch.stack(draws)
    y = torch.where(kept, seen, torch.nan).flatten(1)
    entries = tuple(EntryText(at=[float(t)], observe="everything", noise=sigma) for t in run.times)
    return RecordData(entries, y, tuple(paths), layout.emptied(x) if hide else None)


def hidden(
    words: Sequence[str], times: Float[Tensor, " time"], shape: tuple[int, ...], n: int, *, seed: int = 0
) -> Bool[Tensor, "n time *state"]:
    """Choose entries to hide.

    Args:
        words: ``every:N`` (all frames but each N-th), ``after:T`` (all later frames, a forecast), ``entries:SHARE``
            (single entries, at random), ``places:SHARE`` (numbers of a state, at all times, at random).
        times: Stored times.
        shape: Shape of a state.
        n: Number of trajectories.
        seed: Seed of what is random.

    Returns:
        True where an entry is hidden by any of the words.

    Raises:
        ValueError: If a word is none of these, or its number does not fit.

    Example:
        >>> hidden(["every:2"], torch.arange(4.0), (1,), 1)[0, :, 0].tolist()
        [False, True, False, True]
    """
    found = torch.zeros((n, len(times), *shape), dtype=torch.bool)
    frame = torch.arange(len(times)).reshape(-1, *[1] * len(shape))
    for i, word in enumerate(words):
        kind, _, text = word.partition(":")
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"`--hide` must be {_KINDS}, got {word!r}.") from None
        generator = seeds(seed).child("observation", "hidden", i).generator()
        if kind == "every" and value >= 2 and value.is_integer():
            found |= frame % int(value) != 0
        elif kind == "after" and float(times[0]) <= value < float(times[-1]):
            found |= times.reshape(frame.shape) > value + _NEAR * float(times[-1])
        elif kind == "entries" and 0 < value < 1:
            found |= torch.rand(found.shape, generator=generator) < value
        elif kind == "places" and 0 < value < 1:
            found |= torch.rand(shape, generator=generator) < value
        else:
            raise ValueError(
                f"`--hide` must be {_KINDS}, with N from 2, T before the last time and SHARE in (0, 1), got {word!r}."
            )
    return found


def _least_spread(x: Tensor, there: Tensor) -> float:
    """The smallest standard deviation of a number of the state that varies; 1 where none does."""
    z = torch.where(there, x.double(), torch.nan).flatten(2).flatten(0, 1)
    spread = (z - z.nanmean(0)).square().nanmean(0).sqrt()
    spread = spread[spread > 0]
    return float(spread.min()) if len(spread) else 1.0
