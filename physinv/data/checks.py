"""Check that what a user hands in are trajectories of the process in question, from which something can be learned."""

from __future__ import annotations

__all__ = [
    "Blocks",
    "check_moving",
    "check_sizes",
    "check_splits",
    "check_trajectories",
    "few_warnings",
    "fingerprint",
    "number_warnings",
    "precision_warnings",
    "size_warnings",
    "value_warnings",
]

import math
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from physinv.config import checksums
from physinv.config.inputs import check_instance
from physinv.data.dataset import TrajectoryDataset
from physinv.data.imports.quantities import Quantity
from physinv.data.process import other_parameters
from physinv.equations.check_sde import state_shape
from physinv.equations.sde import SDE
from physinv.processes.layout import StateLayout

_LOOKED_AT = 256  # trajectories
_TELLING, _NUMBERS = 64, 2**18  # trajectories that tell data from others, and numbers in their states at one time
_SEARCHED = 4096  # trajectories, for numbers that stand for missing ones
_APART = 10.0  # times the range of all other numbers: no measured one lies so far away alone
_SIZES = 1e-20, 1e17  # between which squares of values, and their sums, are float32 numbers of full precision
_RESOLVED = 16.0  # roundings of float32 that the changes from one stored time to the next have to exceed


@runtime_checkable
class Blocks(Protocol):
    """Trajectories that are read in blocks: a dataset, or what an import would write."""

    @property
    def layout(self) -> StateLayout:
        """The layout of the states."""

    def blocks(self, limit: int | None = None) -> Iterator[Tensor]:
        """Read the first trajectories.

        Args:
            limit: How many; None for all.

        Returns:
            Blocks of states, one after the other.
        """


def few_warnings(splits: Mapping[str, Sized], times: int, *, cut: bool = False) -> list[str]:
    """Say which splits hold a single trajectory, from which no spread can be learned or measured.

    Args:
        splits: Trajectories by split.
        times: Stored times of a trajectory.
        cut: Whether trajectories are windows of a recording already.

    Returns:
        One sentence that names them and says what to do, or none.
    """
    single = [name for name, trajectories in splits.items() if len(trajectories) < 2]
    if not single:
        return []
    more = f", or cut them into shorter ones (`--window {times // 2} --split-by trajectory`)" if times > 3 else ""
    if cut:
        shorter = f"cut shorter windows (`--window {times // 2}`), or " if times > 3 else ""
        more = f", or {shorter}set more of the recording aside (`--valid 0.2 --test 0.2`)"
    return [
        f"a single trajectory for {', '.join(single)}: 2 are the least that shows a spread, and 100 or more are needed "
        f"to learn it; give more trajectories{more}."
    ]


def precision_warnings(data: Blocks) -> list[str]:
    """Say which parts of the state change too little for float32, in which data are stored.

    Numbers around 1e7 are rounded to whole ones: noise of .1 on top of them is lost.

    Args:
        data: The trajectories, of which the first 256 count.

    Returns:
        A sentence for each part of the state, with its size, its changes, and what to do.
    """
    names = [(name, place) for name, place in data.layout.parts() if name not in data.layout.static]
    square, count = dict.fromkeys(dict(names), 0.0), 0
    low, high = dict.fromkeys(dict(names), math.inf), dict.fromkeys(dict(names), -math.inf)
    for block in data.blocks(limit=_LOOKED_AT):
        count += len(block)
        for name, place in names:
            part = block[(..., *place)].double()
            low[name], high[name] = min(low[name], float(part.min())), max(high[name], float(part.max()))
            square[name] += float(part.diff(dim=1).square().flatten(1).mean(1).sum())
    found = []
    for name in square:
        size = max(-low[name], high[name])
        change, rounding = (square[name] / max(count, 1)) ** 0.5, torch.finfo(torch.float32).eps * size
        if change == 0:  # a constant, unless all changes are lost
            if size > 0 and high[name] - low[name] < _RESOLVED * rounding:
                found.append(
                    f"`{name}` has values up to {size:.3g} that never change, as float32 rounds them to "
                    f"{rounding:.2g}; if they should change, subtract a constant."
                )
        elif change < _RESOLVED * rounding:
            found.append(
                f"`{name}` has values up to {size:.3g} and changes by {change:.2g} from one stored time to the "
                f"next, which float32 rounds to {rounding:.2g}: subtract a constant, so that values are of the size "
                "of their changes."
            )
    return found


def number_warnings(data: Blocks) -> list[str]:
    """Say which parts of the state hold a number that may stand for a missing one, or are better handed in otherwise.

    A number far from all others, such as -9999, may stand for a missing one.  Positive numbers over several decades
    have a logarithm, angles that wrap a sine and cosine (:mod:`physinv.data.imports.quantities`).

    Args:
        data: The trajectories, of which the first 4096 count.

    Returns:
        Sentences for each part of the state, with what to do.
    """
    quantities: dict[str, Quantity] = {}
    layout, ends = data.layout, dict[str, list[float]]()  # the two least and the two largest numbers that differ
    for block in data.blocks(limit=_SEARCHED):
        for name, place in _numbers(layout):
            part = block[(..., *place)]
            part = part if layout.valid is None else part[..., layout.valid.to(part.device)]
            if not layout.positions:  # which wrap around their box
                quantities.setdefault(name, Quantity(name)).add(part)
            low, high = part.amin(), part.amax()
            inner = part[(part > low) & (part < high)]
            more = [inner.amin(), inner.amax()] if len(inner) else []
            ends[name] = sorted({*ends.get(name, []), *map(float, (low, high, *more))})
            ends[name] = [*ends[name][:2], *ends[name][2:][-2:]]
    found = []
    for name, numbers in ends.items():
        for odd, rest in ((numbers[0], numbers[1:]), (numbers[-1], numbers[:-1])):
            if len(rest) > 1 and min(abs(odd - x) for x in rest) > _APART * (rest[-1] - rest[0]):
                found.append(
                    f"{name} is {odd:.6g} somewhere, and lies between {rest[0]:.3g} and {rest[-1]:.3g} else: if that "
                    "stands for a missing number, leave it empty (netCDF: name it as `_FillValue`), and fill it."
                )
    return found + [text for quantity in quantities.values() for text in quantity.told()]


def _numbers(layout: StateLayout) -> list[tuple[str, tuple[Any, ...]]]:
    """Parts of a state that move, of which those of a vector are its components: these may be of different units."""
    moving = [(f"`{name}`", place) for name, place in layout.parts() if name not in layout.static]
    if layout.space or layout.positions or len(moving) > 1:
        return moving
    count = layout.moving(torch.zeros(layout.shape)).shape[0]
    return [(f"number {i} of {moving[0][0]}" if count > 1 else moving[0][0], (i,)) for i in range(count)]


def check_moving(data: TrajectoryDataset, name: str) -> None:
    """Raise ValueError if all trajectories hold one and the same state at all times.

    Args:
        data: The trajectories, which are read up to the first state that differs.
        name: Name of the argument, for the message.

    Raises:
        ValueError: If nothing moves.
    """
    first: torch.Tensor | None = None
    for block in data.blocks():
        first = block[0, 0] if first is None else first
        if not torch.equal(block, first.expand_as(block)):
            return
    if first is None:
        return
    low, high = float(first.min()), float(first.max())
    value = f"{low:.6g}" if low == high else f"values from {low:.6g} to {high:.6g}"
    raise ValueError(
        f"`{name}` must hold states that differ, got the same state, {value}, at all times of all "
        f"{data.n_trajectories} trajectories; choose what moves (`physinv import --variable`)."
    )


def check_sizes(data: TrajectoryDataset, name: str) -> None:
    """Raise ValueError if values are so large or so small that float32 cannot calculate with them.

    Args:
        data: The trajectories, of which the first 256 count.
        name: Name of the argument, for the message.

    Raises:
        ValueError: If :func:`size_warnings` says so.
    """
    for text in size_warnings(data):
        raise ValueError(f"`{name}` cannot be calculated with: {text}")


def check_trajectories(data: Any, name: str, sde: SDE) -> None:
    """Raise ValueError unless ``data`` is a trajectory dataset of states and parameters that a process has.

    Args:
        data: What was given.
        name: Name of the argument, for messages.
        sde: The physics.

    Raises:
        ValueError: If it is something else; one line says what was given and what to give.
    """
    check_instance(data, TrajectoryDataset, name, "give TrajectoryDataset(folder of a split)")
    shape = state_shape(sde)
    if shape is not None and tuple(data.shape) != shape:
        raise ValueError(
            f"`{name}` has states of shape {tuple(data.shape)}, those of {type(sde).__name__} {shape}; "
            "give data of the same process."
        )
    if told := other_parameters(data.config, sde):
        raise ValueError(f"`{name}` was made {told}; give the process that made the data.")


def check_splits(train: Any, valid: Any) -> None:
    """Raise ValueError unless both are trajectory datasets, with states of one shape.

    Args:
        train: What was given to train on.
        valid: What was given to validate on.

    Raises:
        ValueError: If one is something else, or they are of different processes.
    """
    for name, data in (("train", train), ("valid", valid)):
        check_instance(data, TrajectoryDataset, name, "give TrajectoryDataset(folder of a split)")
    if tuple(train.shape) != tuple(valid.shape):
        raise ValueError(
            f"`valid` has states of shape {tuple(valid.shape)}, those of `train` {tuple(train.shape)}; give two splits "
            "of one dataset."
        )


def size_warnings(data: Blocks) -> list[str]:
    """Say whether values are so large, or all so small, that float32 cannot hold their squares.

    Args:
        data: The trajectories, of which the first 256 count.

    Returns:
        A sentence with the largest value and what to do, if one is above 1e17, or if all that moves is below 1e-20.
    """
    sizes = {part: 0.0 for part, _ in data.layout.parts()}
    for block in data.blocks(limit=_LOOKED_AT):
        for part, place in data.layout.parts():
            sizes[part] = max(sizes[part], float(block[(..., *place)].abs().max()))
    least, most = _SIZES
    largest = max(sizes, key=lambda part: sizes[part])
    moving = max((part for part in sizes if part not in data.layout.static), key=lambda part: sizes[part])
    wrong = [largest] if sizes[largest] > most else [moving] if 0 < sizes[moving] < least else []
    return [
        f"`{part}` has values up to {sizes[part]:.3g}, and float32 holds squares of values between {least:.0e} and "
        f"{most:.0e} only; write the data in another unit."
        for part in wrong
    ]


def value_warnings(data: Blocks) -> list[str]:
    """Say what is wrong with the values of imported data.

    Args:
        data: The trajectories.

    Returns:
        What :func:`size_warnings`, :func:`precision_warnings` and :func:`number_warnings` say.
    """
    return [*size_warnings(data), *precision_warnings(data), *number_warnings(data)]


def fingerprint(data: TrajectoryDataset, times: Sequence[int]) -> str:
    """Compute a checksum that tells trajectories from others, by the states of the first ones at a few times.

    Args:
        data: The trajectories.
        times: Numbers of the stored times, such as 0 and -1.

    Returns:
        64 hexadecimal digits.
    """
    count = min(_TELLING, max(1, _NUMBERS // math.prod(data.shape)))
    states = {str(i): data.states(i, count).cpu() for i in times}
    return checksums.of_tensors(states, {"trajectories": str(data.n_trajectories)})
