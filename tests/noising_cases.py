"""Gaussian data under a noising process, whose reversals are linear: their moments without drawing a number."""

import itertools
import math

import torch

from physinv.equations.sde import Reverse
from physinv.models.references.linear import LinearReference

F64 = torch.float64
MEAN, VARIANCE = 0.7, 1.69


def gaussian(process, mean=MEAN, variance=VARIANCE, dim=1):
    """The exact law of N(mean, variance I) under a process."""
    return LinearReference(process, *(torch.full((dim,), v, dtype=F64) for v in (mean, variance)))


def moments(step, process, times, *, eta=1.0, law=None, start=None):
    """Mean and variance at the last of ``times`` of the law that a step makes of the exact one at the first."""
    law = gaussian(process) if law is None else law
    reverse, first = Reverse(process, law.score, eta), torch.tensor([float(times[0])], dtype=F64)
    mean, variance = law.mean_at(float(times[0])), float(law.spectrum(first, law.mean0[None]).now)
    if start is not None:
        mean, variance = torch.full((1, 1), start, dtype=F64), 0.0
    unit, noise = torch.tensor([[0.0], [1.0], [0.0]], dtype=F64), torch.tensor([[[0.0], [0.0], [1.0]]], dtype=F64)
    for a, b in itertools.pairwise(times.tolist()):
        t0, t1 = (torch.full((3,), t, dtype=F64) for t in (a, b))
        moved = step(reverse, mean + unit, t0, t1, math.sqrt(abs(b - a)) * noise)[:, 0].tolist()
        gain, kick = moved[1] - moved[0], moved[2] - moved[0]
        mean, variance = torch.full((1, 1), moved[0], dtype=F64), gain**2 * variance + kick**2
    return float(mean), variance
