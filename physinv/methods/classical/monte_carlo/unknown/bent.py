"""Coordinates of paths that follow the most probable path as unknown parameters change."""

from __future__ import annotations

__all__ = ["bent"]

import math
from dataclasses import replace

import torch
from torch import Tensor

from physinv.methods.classical.monte_carlo.laplace import Laplace, descend, linearise, newton
from physinv.methods.classical.monte_carlo.path import PathObjective
from physinv.methods.classical.monte_carlo.unknown.bend import Bend, LateEnd
from physinv.methods.problem import NotApplicableError

_NODES = (1.0, 2.0, 3.0)  # deviations of a parameter, up and down, at which the most probable path is sought
_DESCENTS, _STEPS = 4, 3  # Gauss-Newton steps to the minimum, and from one such path to the next
_TERMS = 6  # powers of the shift, as many as nodes


@torch.no_grad()
def bent(objective: PathObjective, reference: Laplace, late: float = 0.0) -> tuple[PathObjective, Laplace]:
    """Return the objective in coordinates in which the most probable path is a straight line of each parameter.

    Args:
        objective: Minus the log density of paths, one row for each observation.
        reference: Laplace's approximation near the minimum.
        late: Share of the steps, the last ones, whose noise is integrated out.

    Returns:
        The objective, and Laplace's approximation at its minimum, which the shift leaves as it is.

    Raises:
        NotApplicableError: If noise is to be integrated out given records, or with several parameters.
    """
    law, model = objective.model.law, objective.model
    first = law.gaussian.mean.numel()
    held, each = slice(first, law.numbers), model.step.draws * math.prod(model.simulator.shape)
    noise = min(int(late * (len(model.grid) - 1)) * each, objective.numbers - law.numbers)
    if noise and (objective.record is not None or law.numbers > first + 1):
        raise NotApplicableError("`late` takes whole final states and one unknown parameter; leave it out.")
    reference = descend(objective, reference.centre, _DESCENTS)
    centre, along, spread = reference.centre, reference.along(held), reference.variances(held).sqrt()
    terms, ends = [], [(0.0, reference)]
    for a in range(law.numbers - first):
        found = []
        for sign in (-1.0, 1.0):
            shift, before = torch.zeros_like(centre), 1.0
            for node in _NODES:
                line = centre + sign * node * spread[:, a, None] * along[:, a]
                c = line + shift * (node / before) ** 2
                for _ in range(_STEPS):
                    c = newton(objective, linearise(objective, c), held)
                shift, before = (c - line).nan_to_num(0.0, 0.0, 0.0), node
                found.append((sign * node, shift))
                if noise:
                    ends.append((sign * node, linearise(objective, c)))
        terms.append(_terms(found, spread[:, a]))
    bend = Bend(first, centre[:, held], _NODES[-1] * spread, torch.stack(terms, 1))
    end = _late_end(objective, ends, centre[:, first], spread[:, 0], noise) if noise else None
    some = replace(objective, bend=bend, end=end)
    return some, linearise(some, centre[:, : some.numbers])


def _terms(found: list[tuple[float, Tensor]], spread: Tensor) -> Tensor:
    """Coefficients ``(batch, k, D)`` of the powers of a parameter, by least squares."""
    t = spread.new_tensor([node for node, _ in found])
    powers = torch.stack([t ** (2 + k) for k in range(_TERMS)], 1)
    fitted = torch.linalg.pinv(powers) @ torch.stack([shift for _, shift in found], 1)
    terms: Tensor = fitted / torch.stack([spread ** (2 + k) for k in range(_TERMS)], 1)[..., None]
    return terms


def _late_end(
    objective: PathObjective, ends: list[tuple[float, Laplace]], middle: Tensor, spread: Tensor, noise: int
) -> LateEnd:
    """Covariances of the end of paths at several values of the parameter."""
    ends = sorted(ends, key=lambda pair: pair[0])
    factors = []
    for _, near in ends:
        unwhitened = _unwhitening(objective, near.centre)
        late = unwhitened @ (near.left @ near.rows[:, :, -noise:]).double()
        factors.append(torch.linalg.cholesky(unwhitened @ unwhitened.mT + late @ late.mT))
    nodes = middle.double()[:, None] + spread.double()[:, None] * spread.new_tensor([t for t, _ in ends]).double()
    place = objective.model.law.gaussian.mean.numel()
    return LateEnd(place, nodes, torch.stack(factors, 1), noise)


def _unwhitening(objective: PathObjective, c: Tensor) -> Tensor:
    """The root of the covariance of the last step's noise, by which residuals are differences of final states."""
    noise = objective.model.noise
    if noise is None:
        root: Tensor = torch.linalg.inv(objective.model.whitening.double())
        return root[None]
    return noise.directions * noise.variances(c).sqrt()[:, None]
