"""Divide the intervals between stored times into solver steps."""

from __future__ import annotations

__all__ = ["every", "parts", "refine", "spin_up_steps", "together"]

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import default_batch
from physinv.equations.sde import SDE

_MOST = 2**53  # parts of an interval that are counted
_LONGEST = 10**6  # solver steps before initial states


def parts(duration: float, longest: float | None) -> int:
    """Count the equal parts of a duration that are no longer than allowed, up to the rounding of times.

    Args:
        duration: Length of an interval, in units of time.
        longest: The longest step; None: not known, and one step.

    Returns:
        1 or more; 2^53 where no number of parts is enough, as of a longest step of 0 or NaN.

    Example:
        >>> parts(1.0, 0.3), parts(1.0, None)
        (4, 1)
    """
    if longest is None:
        return 1
    count = duration / longest - 1e-3 if longest > 0 else math.inf
    return max(1, math.ceil(count)) if count < _MOST else _MOST


def spin_up_steps(owner: object, name: str, duration: float, count: float) -> int:
    """Count the solver steps that a process takes before its initial states.

    Args:
        owner: The process, for messages.
        name: The parameter that says how long it runs.
        duration: Its value, in units of time.
        count: How many steps that are, before rounding.

    Returns:
        0 or more.

    Raises:
        ValueError: If there are more than 10^6, which would never end.

    Example:
        >>> spin_up_steps(object(), "spin_up", 1.0, 99.7)
        100
    """
    if count > _LONGEST:
        raise ValueError(
            f"`{name}` = {duration:g} of {type(owner).__name__} takes {count:.3g} solver steps before the initial "
            f"states, {_LONGEST} are the most; take a shorter time."
        )
    return round(count)


def refine(times: Float[Tensor, " time"], substeps: int | Sequence[int]) -> Float[Tensor, " fine"]:
    """Split intervals of time into equal parts.

    Args:
        times: Ends of the intervals, in units of time.
        substeps: Number of parts of every interval, or of each.

    Returns:
        All ends of parts, the first and the last of ``times`` included.

    Example:
        >>> refine(torch.tensor([0.0, 1.0, 3.0]), [2, 1])
        tensor([0.0000, 0.5000, 1.0000, 3.0000])
    """
    counts = torch.as_tensor([substeps] * (len(times) - 1) if isinstance(substeps, int) else list(substeps))
    a, b, n = (v.repeat_interleave(counts) for v in (times[:-1], times[1:], counts))
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    w = (torch.arange(len(n)) - first).to(times.dtype) / n
    return torch.cat([a * (1 - w) + b * w, times[-1:]])


def every(states: Iterator[Tensor], counts: Sequence[int]) -> Iterator[Tensor]:
    """Yield the first state, then the last of each group of the next ``counts[i]`` states.

    Args:
        states: States, one solver step after another.
        counts: Solver steps in each group.

    Yields:
        One state at the start, and one for each group.
    """
    yield next(states)
    for n in counts:
        yield collections.deque(itertools.islice(states, n), maxlen=1)[-1]


def together(process: SDE, x: Float[Tensor, "batch *state"]) -> int | None:
    """Return how many states a solver advances at the same time: as many as suit the cache of a CPU.

    Args:
        process: The process; where each state has a parameter of its own, they cannot be divided.
        x: States.

    Returns:
        A number of states; None: all of them.
    """
    own: list[str] = [f.name for f in dataclasses.fields(process)] if dataclasses.is_dataclass(process) else []
    divided = x.device.type == "cpu" and not any(isinstance(getattr(process, name), Tensor) for name in own)
    return default_batch(x) if divided else None
