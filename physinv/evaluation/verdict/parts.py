"""Which channel of a field or component of a vector has intervals that cannot be trusted: a sensor that drifts, say."""

from __future__ import annotations

__all__ = ["judge_parts", "part_names"]

from collections.abc import Sequence
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.series import mean_error
from physinv.evaluation.metrics import coverage
from physinv.processes.layout import StateLayout

_LEVEL, _OFF = 0.9, 0.03  # coverage, and errors of it that do no harm
_CHANCE = 0.01  # that a part of an exact posterior is named, of all its parts together
_NAMED = 5  # parts that are named, at most
_LEAST, _MOST = 2, 256  # parts that are told apart
_FAR = 5.0  # widths of its interval from which on a truth has nothing to do with the samples
_WIDTH = 8  # samples that an interval takes: that of two is often next to nothing


def judge_parts(
    samples: Float[Tensor, "n k *state"],
    truth: Float[Tensor, "n *state"],
    layout: StateLayout,
    names: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """Say which channels or components have 90 % intervals that are too narrow or too wide, and what the others have.

    Args:
        samples: Samples of each observation, 2 observations and more, in the order of time.
        truth: True initial states.
        layout: Layout of the states.
        names: Names of the channels or components that move; the names of the layout, or numbers, where they are not
            given.

    Returns:
        Sentences, and warnings; both empty for states of a single part, and of more than can be read.
    """
    each = _each(samples, truth, layout)
    if not _LEAST <= len(each) <= _MOST:
        return [], []
    names = part_names(layout, len(each), names)
    held = [torch.stack([coverage(x[None], y[None], _LEVEL) for x, y in zip(*part, strict=True)]) for part in each]
    shares = torch.stack(held).double()

    # Parts whose coverage is off by more than chance explains; 0 or all of few observations have no scatter to show.
    n, gap = shares.shape[1], shares.mean(1) - _LEVEL
    sure, apart = NormalDist().inv_cdf(1 - _CHANCE / 2 / len(each)), (_LEVEL * (1 - _LEVEL) / n) ** 0.5
    off = (gap.abs() > _OFF + sure * mean_error(shares).clamp(min=apart)).tolist()
    doubtful = (gap.abs() > _OFF + sure * apart).tolist()  # by more than it does were observations independent
    said, warned = [], []
    for word, sign in (("narrow", -1), ("wide", 1)):
        found = sorted((i for i in range(len(each)) if gap[i] * sign > 0), key=lambda i: -float(gap[i]) * sign)
        text = {i: f"{names[i]} ({100 * float(shares[i].mean()):.0f} %)" for i in found}
        if some := [text[i] for i in found if off[i]]:
            warned.append(f"Intervals of {_listed(some)} are too {word}, and cannot be trusted.")
        if some := [text[i] for i in found if doubtful[i] and not off[i]]:
            said.append(
                f"Intervals of {_listed(some)} may be too {word}: neighbouring observations are too much alike to say."
            )
    named, rest = sum(doubtful), [i for i in range(len(each)) if not doubtful[i]]
    if named and rest:
        share = float(shares[rest].mean())
        others = f"those of the other {len(rest)} hold" if len(rest) > 1 else f"those of {names[rest[0]]} hold"
        said.append(f"Without {'it' if named == 1 else 'them'}, {others} the truth in {100 * share:.1f} %.")
    return said, warned + _faults(each, names)


def part_names(layout: StateLayout, count: int, given: Sequence[str] = ()) -> list[str]:
    """Return a name for each channel of a field or component of a vector.

    Args:
        layout: Layout of the states.
        count: How many move.
        given: Their names, if they are known.

    Returns:
        These names, those of the layout, or numbers.
    """
    moving = [name for name in layout.names if name not in layout.static]
    for names in (list(given), moving):
        if len(names) == count:
            return names
    return [f"component {i}" for i in range(count)]


def _faults(each: Sequence[tuple[Tensor, Tensor]], names: Sequence[str]) -> list[str]:
    """A sentence where single truths are far from all samples, as where a sensor fails."""
    far = []
    for (drawn, true), name in zip(each, names, strict=True):
        if drawn.shape[1] < _WIDTH:
            break
        low, high = (torch.quantile(drawn, q, dim=1) for q in ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2))
        beyond = torch.maximum(low - true, true - high) > _FAR * (high - low)
        count = int(beyond.flatten(1).any(1).sum())
        if 0 < count <= len(true) // 10:  # more of them are no exceptions: the coverage says it
            far.append(f"{name} in {count} of {len(true)} observations")
    if not far:
        return []
    return [
        f"The truth lies more than {_FAR:.0f} widths of the interval away for {_listed(far)}: a fault of a sensor, or "
        "something that the training data do not hold."
    ]


def _each(samples: Tensor, truth: Tensor, layout: StateLayout) -> list[tuple[Tensor, Tensor]]:
    """Samples and truths of each part, at points that hold data."""
    ours, real = layout.moving(samples), layout.moving(truth)
    axis = layout.channel_axis % real.ndim
    found = [(ours.narrow(axis + 1, i, 1), real.narrow(axis, i, 1)) for i in range(real.shape[axis])]
    if layout.valid is None:
        return found
    keep = layout.valid.flatten()
    return [(x.flatten(-len(layout.axes))[..., keep], y.flatten(-len(layout.axes))[..., keep]) for x, y in found]


def _listed(words: Sequence[str]) -> str:
    """The first of many words, joined."""
    shown = list(words[:_NAMED])
    if more := len(words) - len(shown):
        shown.append(f"{more} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
