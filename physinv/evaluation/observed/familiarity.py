"""Say in words which observations are unlike the training data, and what would explain it."""

from __future__ import annotations

__all__ = ["Familiarity", "familiarity"]

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from physinv.evaluation.observed.final_law import FinalLaw

_FACTORS = (60.0, 3600.0)  # minutes and hours, and their inverses, beside the powers of ten
_POWERS = 15  # largest power of ten that is tried
_CONSTANT = "a constant of about"
_FEW = 6  # observations that a sentence lists by number
_NEARLY_ALL = 0.9  # of the observations: share for which one constant has to stand
_SAME = 0.5  # of the constant: what is far by one offset is off by many deviations of the means of single states


@dataclass(frozen=True)
class Familiarity:
    """How far observations lie from the final states of the training data.

    Args:
        distance: Distance of each observation, in standard deviations of what chance gives.
        limit: Distance beyond which chance does not explain it.
        causes: What would explain it, one for each observation; empty where it is not far.
    """

    distance: tuple[float, ...]
    limit: float
    causes: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        """Return one sentence for each cause, with the observations that it concerns."""
        said = []

        def kind(i: int) -> str:
            return self.causes[i].partition(_CONSTANT)[0]  # constants differ from observation to observation

        order = sorted((i for i, cause in enumerate(self.causes) if cause), key=lambda i: (kind(i), i))
        for _, group in itertools.groupby(order, key=kind):
            which = list(group)
            cause = _together([self.causes[i] for i in which])
            said.append(
                f"{_listed(which, len(self.causes))} from the final states of the training data by up to "
                f"{_size(max(self.distance[i] for i in which))} standard deviations, more than the {self.limit:.2g} "
                f"that chance explains: {cause}."
            )
        return said


def familiarity(law: FinalLaw, final: Float[Tensor, "n *state"]) -> Familiarity:
    """Measure how far observations lie from the training data, and look for the cause where it is too far.

    A factor (a power of ten, or one between units of time) or a constant, of all channels or of one, is
    named where the observation would lie within the limit without it.

    Args:
        law: Law of the final states of the training data.
        final: Observed final states.

    Returns:
        Distances and causes.
    """
    final = final.detach().double()
    distance = law.distance(final)
    far = (distance > law.limit).nonzero().flatten().tolist()
    causes = [""] * len(final)
    for i in far:
        causes[i] = _cause(law, final[i : i + 1])
    return Familiarity(tuple(distance.tolist()), law.limit, tuple(causes))


def _together(causes: Sequence[str]) -> str:
    """One clause for observations whose causes differ in a constant alone, an offset if nearly all have the same."""
    before, constant, _ = causes[0].partition(_CONSTANT)
    if not constant or len(causes) == 1:
        return causes[0]
    constants = [float(cause.partition(_CONSTANT)[2].partition(",")[0]) for cause in causes]
    middle = statistics.median(constants)
    if sum(abs(c - middle) <= _SAME * abs(middle) for c in constants) >= _NEARLY_ALL * len(constants):
        return f"{before}{_CONSTANT} {middle:.4g}, which looks like an offset"
    return f"{before}constants that differ ({min(constants):.4g} to {max(constants):.4g}), which is no common offset"


def _cause(law: FinalLaw, x: Tensor) -> str:
    """What would explain that a state is far, as a clause."""
    layout = law.layout
    axis = layout.channel_axis % x.ndim
    moving = layout.moving(x)
    channels = moving.shape[axis]
    if moving[0].numel() == 1:
        return "another unit, an offset, or an extrapolation"
    parts = [slice(None)] + ([slice(c, c + 1) for c in range(channels)] if layout.space and channels > 1 else [])
    names = [name for name in layout.names if name not in layout.static]

    def without(part: slice, change: Callable[[Tensor, Tensor], Tensor]) -> bool:
        """Whether the state is within the limit after a change of some channels."""
        place = (slice(None),) * axis + (part,)
        y = moving.clone()
        mean = law.mean[None].to(y)
        y[place] = change(y[place], mean[place])
        return bool(law.distance(layout.set_moving(y, x)) <= law.limit)

    for part in parts:
        whose = "the values" if part == slice(None) else f"the values of `{names[part.start]}`"
        place = (slice(None),) * axis + (part,)
        found = []
        for factor in _candidates(law, moving, part, axis):
            if without(part, lambda v, m, f=factor: v / f):  # type: ignore[misc]
                by = f"{factor:g} times too large" if factor > 1 else f"{1 / factor:g} times too small"
                found.append(f"if they were not {by}, which looks like another unit")
                break
        shift = float((moving[place] - law.mean[None].to(moving)[place]).mean())
        if without(part, lambda v, m, b=shift: v - b):  # type: ignore[misc]
            found.append(f"without {_CONSTANT} {shift:.4g}, which looks like an offset")
        if found:
            return f"{whose} would fit {', or '.join(found)}"
    return f"most of all {law.farthest(x)[0]}, where the method has to extrapolate"


def _candidates(law: FinalLaw, moving: Tensor, part: slice, axis: int) -> list[float]:
    """Factors that could turn the size of the values into that of the training data, the likeliest first."""
    place = (slice(None),) * axis + (part,)
    size = float(moving[place].square().mean().sqrt())
    usual = float(law.size[None].expand(1, *law.mean.shape)[place].square().mean().sqrt())
    if not (size > 0 and usual > 0 and math.isfinite(size)):
        return []
    ratio = size / usual
    powers = [10.0**p for p in range(-_POWERS, _POWERS + 1) if p]
    others = [*_FACTORS, *(1 / f for f in _FACTORS)]
    near = [f for f in (*powers, *others) if 0.2 < ratio / f < 5]
    return sorted(near, key=lambda f: (f not in powers, abs(math.log(ratio / f))))


def _listed(which: Sequence[int], count: int) -> str:
    """Observations by number, as the beginning of a sentence."""
    if count == 1:
        return "The observation differs"
    if len(which) == count:
        return f"All {count} observations differ"
    if len(which) == 1:
        return f"Observation {which[0]} differs"
    shown = ", ".join(map(str, which[:_FEW])) + (" ..." if len(which) > _FEW else "")
    return f"{len(which)} of {count} observations ({shown}) differ"


def _size(distance: float) -> str:
    return f"{distance:.2g}" if distance < 100 else f"{distance:.0f}" if distance < 1e5 else f"{distance:.1e}"
